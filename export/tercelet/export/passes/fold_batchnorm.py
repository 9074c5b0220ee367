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
        pair = _pair_of(block)
        if pair is not None:
            _fold(*pair)
            block.bn = nn.Identity()
            folded += 1
    return folded


def folded_scales(module: nn.Module) -> dict[str, torch.Tensor]:
    """By the name of a weight that `fold_batchnorm` would change: (outputs,) float64, what it multiplies."""
    scales = {}
    for name, block in module.named_modules():
        if isinstance(block, AKConv) and isinstance(block.conv[1], nn.BatchNorm2d):
            scales[f"{name}.conv.0.weight"] = _scale_of(block.conv[1])
        elif not isinstance(block, AKConv) and (pair := _pair_of(block)) is not None:
            scales[f"{name}.conv.weight"] = _scale_of(pair[1])
    return scales


def _pair_of(block: nn.Module) -> tuple[nn.Conv2d | nn.Conv1d, nn.BatchNorm2d | nn.BatchNorm1d] | None:
    conv, norm = getattr(block, "conv", None), getattr(block, "bn", None)
    fits = isinstance(conv, nn.Conv2d | nn.Conv1d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d)
    return (conv, norm) if fits else None  # type: ignore[return-value]


@torch.no_grad()
def _scale_of(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> torch.Tensor:
    assert norm.running_var is not None
    return norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)


@torch.no_grad()
def _fold(conv: nn.Conv2d | nn.Conv1d, norm: nn.BatchNorm2d | nn.BatchNorm1d) -> None:
    assert norm.running_mean is not None
    scale = _scale_of(norm)
    shift = norm.bias.double() - norm.running_mean.double() * scale
    bias = conv.bias.double() * scale if conv.bias is not None else torch.zeros_like(shift)
    conv.weight = nn.Parameter(
        (conv.weight.double() * scale.reshape(-1, *(1,) * (conv.weight.ndim - 1))).float()
    )
    conv.bias = nn.Parameter((bias + shift).float())
