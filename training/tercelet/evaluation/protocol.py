"""The rules of a judgement: what is left out before matching, and how many detections a frame may have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import box_area
from tercelet.evaluation.datasets.dataset import ProtocolName

# From this share of its area inside ignored regions on, a box is left out.
IGNORED_SHARE = 0.5


@dataclass(frozen=True)
class Protocol:
    """max_detections: kept of a frame over all evaluated classes, best first, after ignored regions.

    max_dets: the evaluator's limits for a frame and class; AP is taken at the last. ignored_regions: whether
    boxes in them are left out.
    """

    name: ProtocolName
    max_detections: int
    max_dets: tuple[int, ...]
    ignored_regions: bool

    def limit(self, max_detections: int | None) -> int:
        """How many detections of a frame are kept: what was asked for, None for max_detections.

        InputError below 1.
        """
        if max_detections is not None and max_detections < 1:
            raise InputError(f"max_detections: expected at least 1, got {max_detections}")
        return self.max_detections if max_detections is None else max_detections

    def text(self, max_detections: int) -> str:
        """What is done, in words and in its order; max_detections as it was really set."""
        kept = f"the {max_detections} best detections of a frame are kept"
        matching = (
            "IoU 0.50:0.05:0.95, precision at 101 recall points (COCO evaluator), mean over classes with "
            f"ground truth; at most {self.max_dets[-1]} detections a frame and class"
        )
        if self.name == "coco":
            return (
                f"coco: detections of classes that are not evaluated are left out, then {kept}; crowd boxes "
                "(iscrowd) absorb detections by their share inside the box; frames without ground truth "
                f"count; {matching}"
            )
        return (
            "visdrone: categories 1 to 10 are evaluated, 11 (others) is not; detections of classes that are "
            "not evaluated are left out, then ground truth and detections with half or more of their area in "
            f"ignored regions (category 0, united), then {kept}; boxes with score 0 absorb detections by "
            f"their share inside the box; {matching}. "
            "The official toolkit integrates the precision curve in another way: compare like with like"
        )


PROTOCOLS: tuple[Protocol, ...] = (
    Protocol("coco", max_detections=300, max_dets=(1, 10, 100), ignored_regions=False),
    Protocol("visdrone", max_detections=500, max_dets=(1, 10, 100, 500), ignored_regions=True),
)


def protocol_named(name: str) -> Protocol:
    """The protocol of that name, or InputError."""
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    raise InputError(f"protocol: expected {' or '.join(p.name for p in PROTOCOLS)}, got {name!r}")


def inside_regions(boxes: NDArray[np.float64], regions: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether at least half of each box lies in the union of the regions. Both (., 4) xyxy, one unit."""
    area = box_area(boxes)
    inside: NDArray[np.bool_] = (shared_area(boxes, regions) >= IGNORED_SHARE * area) & (area > 0)
    return inside


def shared_area(boxes: NDArray[np.float64], regions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) area of each box that the union of the regions covers; exact, overlaps of regions count once.

    The borders of the regions cut the plane into cells, each of them covered whole or not at all.
    """
    xs, ys = np.unique(regions[:, 0::2]), np.unique(regions[:, 1::2])
    if len(xs) < 2 or len(ys) < 2:
        return np.zeros(len(boxes))
    left, right, top, bottom = xs[:-1], xs[1:], ys[:-1], ys[1:]
    covered = np.any(
        ((regions[:, 0, None] <= left) & (regions[:, 2, None] >= right))[:, :, None]
        & ((regions[:, 1, None] <= top) & (regions[:, 3, None] >= bottom))[:, None, :],
        axis=0,
    )
    width = (np.minimum(boxes[:, 2, None], right) - np.maximum(boxes[:, 0, None], left)).clip(0)
    height = (np.minimum(boxes[:, 3, None], bottom) - np.maximum(boxes[:, 1, None], top)).clip(0)
    area: NDArray[np.float64] = ((width @ covered) * height).sum(axis=1)
    return area
