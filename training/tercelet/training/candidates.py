"""What a detector hands out: every anchor with all its class scores, or the K best (anchor, class) pairs."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Candidates(NamedTuple):
    """Every anchor of a batch, before any selection.

    boxes: (B, A, 4) xyxy in pixels of the input, not cut at its borders. scores: (B, A, C) in 0..1.
    A runs over the levels P3, P4, P5, row by row inside a level; YOLOv5 runs anchor-major inside a level
    and its score is objectness times class probability.
    """

    boxes: Tensor
    scores: Tensor


class TopCandidates(NamedTuple):
    """The K best (anchor, class) pairs of each image, best first.

    boxes: (B, K, 4) xyxy in pixels of the input. scores: (B, K) in 0..1. class_ids: (B, K) int64.
    """

    boxes: Tensor
    scores: Tensor
    class_ids: Tensor
