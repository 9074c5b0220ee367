"""The running average of the weights, which is what a training gives in the end."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Averaged = TypeVar("Averaged", bound=nn.Module)


class WeightAverage(Generic[Averaged]):
    """Exponential moving average of everything in a state dict that is a float; the rest is copied.

    It keeps decay * (1 - exp(-updates / ramp)) of itself at an update, so that it follows fast at first.
    """

    def __init__(self, network: Averaged, *, decay: float, ramp: float) -> None:
        self.network: Averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.updates = 0
        self._decay, self._ramp = decay, ramp

    def update(self, network: nn.Module) -> None:
        """Move towards the network's weights."""
        self.updates += 1
        kept = self._decay * (1 - math.exp(-self.updates / self._ramp)) if self._ramp > 0 else self._decay
        averages, values = [], []
        for average, value in _pairs(self.network, network):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        with torch.no_grad():
            torch._foreach_lerp_(averages, values, 1 - kept)


def _pairs(average: nn.Module, network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    mine, other = average.state_dict(), network.state_dict()
    return ((mine[name], other[name].detach()) for name in mine)
