"""From the proposals of a VoteNet or an ImVoteNet to boxes: those with points inside, the best of a heap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import Floats, bounds_of_boxes, count_points_in_boxes
from tercelet.contract.errors import InputError


@dataclass(frozen=True)
class SelectedBoxes:
    """K boxes in the frame of the proposals.

    boxes: (K, 7) float32 as in `contract.box3d`. scores: (K,) float32, objectness times the score of the
    class. class_ids: (K,) int64. proposals: (K,) int64, which proposal each comes from.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    proposals: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)


def select_boxes(
    boxes: Floats,
    objectness: Floats,
    class_scores: Floats,
    points: Floats,
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.25,
    least_points: int = 5,
    per_class: bool = False,
) -> SelectedBoxes:
    """Proposals with more than `least_points` points inside, suppressed, objectness above `score_threshold`.

    boxes: (P, 7). objectness: (P,) 0..1. class_scores: (P, C) 0..1. points: (N, 3 or more columns), the cloud
    that the proposals come from, in their frame. Suppression goes by objectness, the lower index first among
    equals, and a box goes only before one of the same best class (`suppress_boxes`). Only then does the score
    threshold count. A proposal with a number that is not finite is never kept.

    Without per_class: one box a proposal, its best class, best score first. With it: each proposal C times,
    all with class 0 first, in the order of the proposals within a class: what average precision is
    measured on; most of these scores are close to 0. Raises InputError for shapes that do not fit.
    """
    _check_shapes(boxes, objectness, class_scores, points)
    best = class_scores.argmax(axis=1) if len(boxes) else np.zeros(0, np.int64)
    sound = np.isfinite(boxes).all(axis=1) & np.isfinite(objectness) & np.isfinite(class_scores).all(axis=1)
    filled = np.flatnonzero(sound & (count_points_in_boxes(points, boxes) > least_points))
    survivors = suppress_boxes(boxes[filled], objectness[filled], best[filled], iou_threshold=iou_threshold)
    kept = np.sort(filled[survivors])
    kept = kept[objectness[kept] > score_threshold]
    scores = objectness[kept, None] * class_scores[kept]
    if per_class:
        classes = class_scores.shape[1]
        rows, class_ids = np.tile(kept, classes), np.repeat(np.arange(classes), len(kept))
        return _selected(boxes, rows, scores.T.reshape(-1), class_ids)
    own = scores[np.arange(len(kept)), best[kept]]
    order = np.argsort(-own, kind="stable")
    return _selected(boxes, kept[order], own[order], best[kept[order]])


def suppress_boxes(
    boxes: Floats, scores: Floats, class_ids: NDArray[np.integer], *, iou_threshold: float
) -> NDArray[np.intp]:
    """Greedy suppression of (P, 7) boxes by the IoU of their axis-aligned bounds; indices kept, best first.

    scores: (P,), of equal ones the lower index goes first. class_ids: (P,); a box is dropped if its IoU with
    a kept one of its class is above iou_threshold. Two boxes without volume have no IoU: the later is
    dropped, whatever their classes.
    """
    order = np.argsort(-scores, kind="stable")
    overlap = iou_of_bounds(bounds_of_boxes(boxes[order].astype(np.float64)))
    other = class_ids[order][:, None] != class_ids[order][None, :]
    overlap[other & ~np.isnan(overlap)] = 0.0
    drives_out = ~(overlap <= iou_threshold)
    gone = np.zeros(len(order), bool)
    kept = []
    for index in range(len(order)):
        if not gone[index]:
            kept.append(index)
            gone |= drives_out[index]
    return order[np.array(kept, np.intp)]


def iou_of_bounds(bounds: Floats) -> Floats:
    """(P, 6) low x, y, z, high x, y, z -> (P, P) intersection over union, NaN between two without volume."""
    low = np.maximum(bounds[:, None, :3], bounds[None, :, :3])
    high = np.minimum(bounds[:, None, 3:], bounds[None, :, 3:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    volume = (bounds[:, 3:] - bounds[:, :3]).prod(axis=-1)
    with np.errstate(invalid="ignore"):
        overlap: Floats = shared / (volume[:, None] + volume[None, :] - shared)
    return overlap


def _selected(
    boxes: Floats, rows: NDArray[np.intp], scores: Floats, class_ids: NDArray[np.integer]
) -> SelectedBoxes:
    return SelectedBoxes(
        boxes=boxes[rows].astype(np.float32),
        scores=scores.astype(np.float32),
        class_ids=class_ids.astype(np.int64),
        proposals=rows.astype(np.int64),
    )


def _check_shapes(boxes: Floats, objectness: Floats, class_scores: Floats, points: Floats) -> None:
    count = len(boxes)
    fits = boxes.shape == (count, 7) and objectness.shape == (count,)
    fits &= class_scores.ndim == 2 and len(class_scores) == count and class_scores.shape[-1] > 0
    if not fits:
        raise InputError(
            "expected boxes (P, 7), objectness (P,) and class_scores (P, C), got "
            f"{boxes.shape}, {objectness.shape} and {class_scores.shape}"
        )
    if points.ndim != 2 or points.shape[1] < 3:
        raise InputError(f"points: expected (N, 3) or more columns, x y z first, got {points.shape}")
