"""Boxes left out at random while training, so that the cloud is not forgotten over the picture."""

from __future__ import annotations

import torch
from torch import Tensor


def half_of_boxes(boxes: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """boxes (K, 6) -> (ceil(K / 2), 6), drawn without putting back, in their order."""
    kept = torch.randperm(len(boxes), generator=generator)[: -(-len(boxes) // 2)]
    return boxes[kept.sort().values]
