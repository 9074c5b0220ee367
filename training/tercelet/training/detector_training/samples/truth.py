"""Ground truth of a frame, and where it lies once the frame has been placed on a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import clip_boxes
from tercelet.evaluation.datasets import Dataset, DatasetImage

# Smaller than this on either side, or thinner, and a box is nothing to learn from; reference: the candidate
# filter of YOLOv5 and its successors.
MIN_SIDE = 2.0
MAX_ASPECT = 100.0
# Share of its area that an object of a whole frame must have left.
MIN_AREA_LEFT = 0.1
TO_BE_IGNORED = -1


@dataclass(frozen=True)
class Truth:
    """boxes: (N, 4) float64 xyxy. class_ids: (N,) int64. ignored: (M, 4) float64 xyxy; all in pixels."""

    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    ignored: NDArray[np.float64]


@dataclass(frozen=True)
class Placement:
    """A frame on a canvas: frame point p lies at linear @ p + shift, drawn inside `area` only.

    linear: (2, 2), shift: (2,), continuous pixel coordinates (pixel (0, 0) covers 0..1). area: left, top,
    right, bottom in whole canvas pixels.
    """

    linear: NDArray[np.float64]
    shift: NDArray[np.float64]
    area: tuple[int, int, int, int]


def truth_of_image(image: DatasetImage, mapping: NDArray[np.int64] | None) -> Truth:
    """The frame's objects, cut at its borders, in frame pixels; boxes of no area are left out.

    mapping: detector class of each category, TO_BE_IGNORED for those that it does not know; None keeps the
    categories. What the data set ignores, boxes and regions, is ignored.
    """
    mapped = image.class_ids if mapping is None else mapping[image.class_ids]
    ignore = image.ignore | (mapped == TO_BE_IGNORED)
    boxes = clip_boxes(image.boxes, height=image.height, width=image.width)
    regions = clip_boxes(image.ignored_regions, height=image.height, width=image.width)
    extent = (boxes[:, 2:] > boxes[:, :2]).all(1)
    ignored = np.concatenate((boxes[ignore & extent], regions[(regions[:, 2:] > regions[:, :2]).all(1)]))
    counted = ~ignore & extent
    return Truth(boxes[counted], mapped[counted].astype(np.int64), ignored)


def check_mapping(dataset: Dataset, mapping: ArrayLike | None) -> NDArray[np.int64] | None:
    """The mapping as an array; InputError unless it names a class, or -1, for each of the categories."""
    if mapping is None:
        return None
    array = np.asarray(mapping)
    if array.shape != (len(dataset.categories),) or array.dtype.kind not in "iu" or array.min(initial=0) < -1:
        raise InputError(
            f"{dataset.source}: classes: expected a whole number, -1 for ignored, for each of its "
            f"{len(dataset.categories)} categories, got {array.dtype} {array.shape}"
        )
    return array.astype(np.int64)


def placed_truth(truth: Truth, place: Placement, *, min_visible: float) -> Truth:
    """What is visible of the truth in the placement's area, in canvas pixels, cut at its borders.

    A box whose frame is turned or slanted becomes the smallest upright box around it. Of the objects stay
    those with sides above 2 pixels, sides less than 100 times as long as each other, and at least
    `min_visible` of the area; what else is visible of them is ignored.
    """
    boxes, share = _placed(truth.boxes, place)
    ignored, ignored_share = _placed(truth.ignored, place)
    side = boxes[:, 2:] - boxes[:, :2]
    short, long = side.min(1, initial=np.inf), side.max(1, initial=0)
    kept = (short > MIN_SIDE) & (share >= min_visible) & (long < MAX_ASPECT * short)
    dropped = boxes[~kept & (share > 0)]
    return Truth(
        boxes[kept], truth.class_ids[kept], np.concatenate((ignored[ignored_share > 0], dropped), axis=0)
    )


def _placed(boxes: NDArray[np.float64], place: Placement) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 4) boxes in the area and (N,) which share of each one's area that is."""
    centres = (boxes[:, :2] + boxes[:, 2:]) @ (place.linear.T / 2) + place.shift
    halves = (boxes[:, 2:] - boxes[:, :2]) @ (np.abs(place.linear).T / 2)
    low = np.maximum(centres - halves, place.area[:2])
    high = np.minimum(centres + halves, place.area[2:])
    side = (high - low).clip(0)
    share = side[:, 0] * side[:, 1] / (4 * halves[:, 0] * halves[:, 1])
    return np.concatenate((low, high), axis=1), share


def joined(parts: Sequence[Truth]) -> Truth:
    """The truth of several pieces of one canvas."""
    if len(parts) == 1:
        return parts[0]
    return Truth(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
        np.concatenate([part.ignored for part in parts]),
    )
