"""The loss of a density network: objects in a cell are counted things, so it is Poisson's."""

from __future__ import annotations

import torch
from torch import Tensor

# Objects a cell below which the logarithm gives way to a parabola; far below what a cell of an object holds.
_SMALLEST = 0.01


def density_loss(density: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Scalar. All (B, h, w): objects a cell as predicted and as they are, and which cells count.

    The negative log-likelihood of a Poisson variable, density - truth * log(density): its first part sums to
    the count of a view, its second says where the objects are, and crowds weigh no more than their objects.
    Below _SMALLEST a parabola goes on with the same value and slope, lowest at 0 where there is nothing, for
    networks that can give negative numbers. The mean over cells that count.
    """
    held = density.clamp(min=_SMALLEST)
    below = (density - held) / _SMALLEST
    likelihood = held - truth * torch.log(held)
    extended = below * (_SMALLEST - truth) + below.square() * (_SMALLEST / 2)
    return ((likelihood + extended) * weights).sum() / weights.sum().clamp(min=1)
