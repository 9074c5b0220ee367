"""How much of the ground truth a detector finds, by size, and how much that is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import box_area, intersection_area, pairwise_iou
from tercelet.evaluation.average_precision import JudgedFrame

MATCH_IOU = 0.5
# Square pixels, half open; "small" to "large" are COCO's, and "tiny" is a part of "small".
SIZE_AREAS: dict[str, tuple[float, float]] = {
    "all": (0.0, np.inf),
    "tiny": (0.0, 16.0**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}


@dataclass(frozen=True)
class FoundObjects:
    """Counts over all frames. objects, found: ground truth by size (keys of SIZE_AREAS), and what of it was
    found. wrong: detections without an object; those that lie on an ignored box do not count."""

    objects: Mapping[str, int]
    found: Mapping[str, int]
    wrong: int

    def recall(self, size: str = "all") -> float | None:
        """Share of the objects of that size that were found, None without any."""
        return self.found[size] / self.objects[size] if self.objects[size] else None

    @property
    def precision(self) -> float | None:
        """Share of the detections that are right, None without any."""
        right = self.found["all"]
        return right / (right + self.wrong) if right + self.wrong else None


def found_objects(frames: Sequence[JudgedFrame], *, limit: int | None = None) -> FoundObjects:
    """Match the detections of every frame to its ground truth, one to one.

    The best score chooses first, and takes the free object of its class with the highest IoU, 0.5 or more.
    Unlike in AP by size, an object's size decides only where it is counted: whoever finds it may have any.
    A detection without an object of which an ignored box of its class covers half or more counts for nothing.
    limit: the best so many of a frame and class.
    """
    pairs = [_matched(frame, limit) for frame in frames]
    areas = np.concatenate([np.zeros(0), *(frame.areas[~frame.ignore] for frame in frames)])
    hit = np.concatenate([np.zeros(0, bool), *(found for found, _ in pairs)])
    sizes = {name: (areas >= low) & (areas < high) for name, (low, high) in SIZE_AREAS.items()}
    return FoundObjects(
        objects={name: int(np.count_nonzero(of_size)) for name, of_size in sizes.items()},
        found={name: int(np.count_nonzero(of_size & hit)) for name, of_size in sizes.items()},
        wrong=sum(wrong for _, wrong in pairs),
    )


def _matched(frame: JudgedFrame, limit: int | None) -> tuple[NDArray[np.bool_], int]:
    """Which of the objects that are not ignored were found, and how many detections are wrong."""
    order = np.argsort(-frame.scores, kind="stable")
    if limit is not None:
        order = order[_rank_in_class(frame.found_class_ids[order]) < limit]
    boxes, class_ids = frame.found_boxes[order], frame.found_class_ids[order]
    counts = ~frame.ignore
    overlap = pairwise_iou(boxes, frame.boxes[counts])
    overlap[class_ids[:, None] != frame.class_ids[counts]] = 0
    found, lost = np.zeros(overlap.shape[1], bool), np.ones(len(order), bool)
    for index in np.flatnonzero((overlap >= MATCH_IOU).any(axis=1)):
        free = np.where(found, 0, overlap[index])
        best = int(free.argmax())
        if free[best] >= MATCH_IOU:
            found[best], lost[index] = True, False
    covered = intersection_area(boxes, frame.boxes[frame.ignore]) >= MATCH_IOU * box_area(boxes)[:, None]
    covered &= class_ids[:, None] == frame.class_ids[frame.ignore]
    return found, int(np.count_nonzero(lost & ~covered.any(axis=1)))


def _rank_in_class(class_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the same class came before each."""
    rank = np.zeros(len(class_ids), np.int64)
    for class_id in np.unique(class_ids):
        members = class_ids == class_id
        rank[members] = np.arange(np.count_nonzero(members))
    return rank
