"""Non-maximum suppression, once a frame, after everything has been mapped to frame pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
    work = boxes[order].astype(np.float64)
    if not class_agnostic and len(order):
        # Classes are moved apart so that one pass serves all; in float64 the shift costs no precision.
        span = float(work.max() - work.min()) + 1.0
        work += (class_ids[order].astype(np.float64) * span)[:, None]
    areas = (work[:, 2] - work[:, 0]).clip(0) * (work[:, 3] - work[:, 1]).clip(0)
    kept: list[int] = []
    alive = np.arange(len(order))
    while len(alive) and len(kept) < max_detections:
        best, rest = alive[0], alive[1:]
        kept.append(int(best))
        sides = np.minimum(work[best, 2:], work[rest, 2:]) - np.maximum(work[best, :2], work[rest, :2])
        shared = sides[:, 0].clip(0) * sides[:, 1].clip(0)
        union = (areas[best] + areas[rest] - shared).clip(1e-12)
        alive = rest[shared <= iou_threshold * union]
    return order[np.asarray(kept, dtype=np.intp)]
