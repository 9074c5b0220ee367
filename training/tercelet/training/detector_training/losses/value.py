"""What a loss gives, and how the processes of a distributed training share its normalisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class LossValue(NamedTuple):
    """total: float32 scalar with gradient, the sum of the parts times the images of the batch.

    parts: (3,) float32 without gradient, in the order of the loss's `names`, weighted by the gains, before
    the factor of the batch.
    """

    total: Tensor
    parts: Tensor


def _alone(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True)
class Sharing:
    """How W processes that hold parts of one batch make the loss of the whole batch.

    processes: W. total: sums a float32 vector without gradient over all processes, the same result in each;
    every call of a loss calls it once. Normalisers and the number of images are then those of the joint
    batch divided by W: the mean over the processes of W * total's gradient is the gradient of the total that
    one process gives for the joint batch, and the mean of `parts` is its parts. The processes may hold
    different numbers of images.
    """

    processes: int = 1
    total: Callable[[Tensor], Tensor] = _alone


ALONE = Sharing()
"""One process with the whole batch."""
