"""Matching two sets of detections of one frame, one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.geometry import pairwise_iou


@dataclass(frozen=True)
class Matches:
    """pairs: (P, 2) int64, index into a and into b. iou: (P,) float64 of each pair. only_a, only_b: indices
    without a partner, ascending."""

    pairs: NDArray[np.int64]
    iou: NDArray[np.float64]
    only_a: NDArray[np.int64]
    only_b: NDArray[np.int64]


def match_detections(a: Detections, b: Detections, iou: float = 0.5) -> Matches:
    """Match detections of the same class id greedily, one to one.

    The detections of `a` choose in order of their score, the earlier first among equals. Each takes the free
    detection of `b` of its class with the highest IoU, at least `iou`; among equals the one with the higher
    score, then the earlier. Pairs come in the order they were made.
    """
    overlap = pairwise_iou(a.boxes.astype(np.float64), b.boxes.astype(np.float64))
    overlap[a.class_ids[:, None] != b.class_ids[None, :]] = -1.0
    preferred = np.argsort(-b.scores, kind="stable")
    free = np.ones(len(b), bool)
    pairs: list[tuple[int, int]] = []
    for index in np.argsort(-a.scores, kind="stable"):
        candidates = preferred[free[preferred]]
        if not len(candidates):
            break
        best = candidates[overlap[index, candidates].argmax()]
        if overlap[index, best] >= iou and a.class_ids[index] == b.class_ids[best]:
            free[best] = False
            pairs.append((int(index), int(best)))
    made = np.array(pairs, np.int64).reshape(-1, 2)
    return Matches(
        pairs=made,
        iou=overlap[made[:, 0], made[:, 1]],
        only_a=np.setdiff1d(np.arange(len(a)), made[:, 0]),
        only_b=np.setdiff1d(np.arange(len(b)), made[:, 1]),
    )
