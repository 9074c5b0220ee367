"""The fusion of DMNet's scripts: boxes of the frame and of its crops together, suppressed class by class.

Compatible with Cli98/DMNet (no licence stated; none of its code is here); for comparing with its results. The
runtime fuses by rules of its own. Deliberate difference unless `parity` is set: the best boxes are chosen
among the survivors, where upstream takes places in the list of survivors for places in the list of all boxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLD = 0.7
MAX_DETECTIONS = 500


def fuse_dmnet(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    class_ids: NDArray[np.int64],
    *,
    iou_threshold: float = IOU_THRESHOLD,
    max_detections: int = MAX_DETECTIONS,
    class_agnostic: bool = False,
    parity: bool = False,
) -> NDArray[np.intp]:
    """Indices kept of (N, 4) xyxy boxes in frame pixels, best first; of equal scores the lower index.

    Greedy suppression of every box whose IoU with a kept one of its class is above iou_threshold; a box from
    x1 to x2 is x2 - x1 + 1 pixels wide, as upstream has it. class_agnostic: of any class, the rule of
    upstream's inference script. parity: as upstream, the order by class then score where at most
    max_detections survive, and the wrong boxes where more do.
    """
    groups = [np.arange(len(boxes))]
    if not class_agnostic:
        groups = [np.flatnonzero(class_ids == label) for label in np.unique(class_ids)]
    kept = [_survivors(boxes[group], scores[group], iou_threshold) for group in groups]
    survivors = np.concatenate([*(g[k] for g, k in zip(groups, kept, strict=True)), np.zeros(0, np.intp)])
    if parity and len(survivors) <= max_detections:
        return survivors
    if parity:
        return np.argsort(-scores[survivors], kind="stable")[:max_detections]
    return survivors[np.lexsort((survivors, -scores[survivors]))][:max_detections]


def boxes_in_frame(boxes: NDArray[np.float64], *, left: float, top: float) -> NDArray[np.float64]:
    """(N, 4) xyxy in pixels of a crop whose corner is (left, top) -> (N, 4) xyxy in frame pixels."""
    return np.asarray(boxes, np.float64) + np.array((left, top, left, top), np.float64)


def _survivors(boxes: NDArray[np.float64], scores: NDArray[np.float64], limit: float) -> NDArray[np.intp]:
    """Greedy suppression of one group, best first."""
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    alive = np.argsort(-scores, kind="stable")
    kept = []
    while len(alive):
        best, rest = alive[0], alive[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = (np.minimum(boxes[best, 2:], boxes[rest, 2:]) - low + 1).clip(0)
        shared = sides[:, 0] * sides[:, 1]
        alive = rest[shared <= limit * (areas[best] + areas[rest] - shared)]
    return np.array(kept, np.intp)
