"""Non-maximum suppression, once a frame, after everything has been mapped to frame pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.runtime.suppression import Suppressor, groups_by_class


def non_maximum_suppression(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    class_agnostic: bool = False,
) -> NDArray[np.intp]:
    """Greedy suppression; returns the indices kept, best first, at most max_detections.

    boxes: (N, 4) xyxy, any one unit. scores: (N,). class_ids: (N,). A candidate counts if its score is
    strictly greater than score_threshold and its box is finite; it is dropped if its IoU with a kept one of
    its class (of any class with class_agnostic) is strictly greater than iou_threshold. Of equal scores the
    lower index goes first, so the result does not depend on the sort.
    """
    chosen = np.flatnonzero((scores > score_threshold) & np.isfinite(boxes).all(axis=1))
    order = chosen[np.argsort(-scores[chosen], kind="stable")]
    # In float64, so that a box right at the threshold is judged by what it is and not by rounding.
    suppressor = Suppressor(np.float64)
    groups = [order] if class_agnostic else groups_by_class(order, class_ids[order])
    kept = [group[suppressor.survivors(boxes[group], iou=iou_threshold)] for group in groups]
    together = np.concatenate(kept) if kept else order
    # Back into one order, by place and not by score: equal scores keep theirs.
    place = np.empty(len(scores), np.intp)
    place[order] = np.arange(len(order))
    return together[np.argsort(place[together], kind="stable")][:max_detections]
