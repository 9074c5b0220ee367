"""Binary cross-entropy where almost every target is 0, without writing the targets down."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _SparseEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, where: Tensor, values: Tensor, kept: Tensor | None) -> Tensor:
        ctx.save_for_backward(logits, where, values, kept)
        wide = logits.float()
        # log(1 + exp(x)) without overflow; vectorised, which softplus is not on every CPU.
        each, positive = wide.abs().neg_().exp_().log1p_(), wide.relu()
        if kept is not None:
            each, positive = each * kept, positive * kept
        return each.sum() + positive.sum() - torch.dot(wide.reshape(-1)[where], values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        logits, where, values, kept = ctx.saved_tensors
        (grad,) = grads
        slope = logits.float().sigmoid().contiguous()
        if kept is not None:
            slope *= kept
        slope.view(-1)[where] -= values
        return slope.mul_(grad).to(logits.dtype), None, None, None


def sparse_cross_entropy(logits: Tensor, where: Tensor, values: Tensor, kept: Tensor | None = None) -> Tensor:
    """The sum over all logits of the binary cross-entropy with targets that are 0 but for a few, float32.

    logits: any shape and float type. where: (M,) int64 positions in the flattened logits, none twice. values:
    (M,) float32, the targets there. kept: float32 1 or 0, broadcast over logits; where it is 0 the logit
    counts for nothing (it must be 1 at `where`), None for all 1.
    """
    result: Tensor = _SparseEntropy.apply(logits, where, values, kept)  # type: ignore[no-untyped-call]
    return result
