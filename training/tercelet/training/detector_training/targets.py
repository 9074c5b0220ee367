"""What a batch of training images holds: the ground truth that losses read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Targets(NamedTuple):
    """Ground truth of a batch, in pixels of its canvases.

    boxes: (N, 4) float32 xyxy, inside the canvas. class_ids: (N,) int64. rows: (N,) int64, which image of the
    batch each box belongs to, ascending. ignored: (M, 4) float32 xyxy, parts that say nothing: what is found
    there is neither right nor wrong. ignored_rows: (M,) int64 as rows.
    """

    boxes: Tensor
    class_ids: Tensor
    rows: Tensor
    ignored: Tensor
    ignored_rows: Tensor

    def to(self, device: torch.device | str) -> Targets:
        """The same on another device."""
        return Targets(*(part.to(device, non_blocking=True) for part in self))


class Batch(NamedTuple):
    """images: (B, 3, H, W) uint8 RGB, contiguous. targets: what is on them."""

    images: Tensor
    targets: Targets
