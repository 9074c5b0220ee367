"""Fold BatchNorm into the convolution before it.

Precondition: an eval-mode module whose blocks name their convolution `conv`, their norm `bn`, and apply one
straight after the other, or are an AKConv, which folds itself. Postcondition: the same function (to rounding;
the fold is done in float64), every such norm replaced by the identity. Norms that stand behind an activation
(SEAM) are left alone.
"""

from __future__ import annotations

import torch
from torch import nn

from tercelet.training.detectors.akconv import AKConv


def fold_batchnorm(module: nn.Module) -> int:
    """Fold in place; returns how many norms were folded."""
    folded = 0
    for block in list(module.modules()):
        if isinstance(block, AKConv):
            folded += block.fold()
            continue
        conv, norm = getattr(block, "conv", None), getattr(block, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _fold(conv, norm)
            block.bn = nn.Identity()
            folded += 1
    return folded


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.double() - norm.running_mean.double() * scale
    bias = conv.bias.double() * scale if conv.bias is not None else torch.zeros_like(shift)
    conv.weight = nn.Parameter((conv.weight.double() * scale[:, None, None, None]).float())
    conv.bias = nn.Parameter((bias + shift).float())
