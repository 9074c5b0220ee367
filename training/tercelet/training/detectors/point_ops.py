"""What PointNet++ does with points: sample the furthest, find those in a ball, gather, interpolate.

Frame: any, metres; points are (B, N, 3) float32, features (B, C, N). Distances are float32 in every
precision, (dx * dx + dy * dy) + dz * dz in this order and never by the expansion of the square, whose error
moves points across a radius. Indices are int64 and pass no gradient on; what is gathered does. What decides
is an op of the kit, so that an exported graph has one node for it and decides the same.

Papers: Qi et al., "PointNet++", NeurIPS 2017. Compatible with: the point operators of mmcv 1.x (Apache-2.0),
whose order of equal distances is the tie rule "mmcv". Nothing is copied. Deliberate differences: "lowest" is
a second rule, the same on every device; products are not contracted, so the last bit is that of the formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from tercelet.ops.bindings.torch import torch_op

TieRule = Literal["lowest", "mmcv"]
TIE_RULES: tuple[TieRule, ...] = ("lowest", "mmcv")
Weighting = Literal["distance", "squared"]
WEIGHTINGS: tuple[Weighting, ...] = ("distance", "squared")

_sample = torch_op("FurthestPointSample")
_query = torch_op("BallQuery")
_interpolate = torch_op("ThreeInterpolate")
_abstraction = torch_op("SetAbstraction")


def furthest_point_sample(points: Tensor, count: int, *, ties: TieRule = "lowest") -> Tensor:
    """(B, N, 3) -> (B, count) indices: the first is 0, each further one is furthest from those before it.

    ties: which of equally far points it is. "lowest": that of the lowest index. "mmcv": that which mmcv's
    reduction over threads leaves, the one whose index modulo the block, 2 ** floor(log2 N) up to 1024, is
    smallest with its bits in reverse, of these the lowest. Where no distance is left, index 0 comes again.
    """
    found: Tensor = _sample(points.detach().float(), count, ties)
    return found.long()


def ball_query(
    points: Tensor, centres: Tensor, *, radius: float, samples: int, least_radius: float = 0.0
) -> Tensor:
    """Points (B, N, 3), centres (B, M, 3) -> (B, M, samples): the first points in the ball, by index.

    A point is in if its squared distance is below radius ** 2, in float32, and not below least_radius ** 2,
    or if it is the centre itself. Slots beyond the last hit repeat the first; without a hit all are 0.
    """
    found: Tensor = _query(points.detach().float(), centres.detach().float(), radius, samples, least_radius)
    return found.long()


def three_interpolate(
    points: Tensor, known: Tensor, features: Tensor, *, weighting: Weighting = "distance"
) -> Tensor:
    """Features (B, C, N) of known (B, N, 3) -> (B, C, M) at points (B, M, 3), of the three nearest.

    weighting: by 1 / (distance + 1e-8) ("distance") or 1 / max(distance ** 2, 1e-10) ("squared"), which then
    sum to 1. Of equally near points the lower index comes first; where fewer than three are known, what is
    missing weighs nothing. The gradient takes the weights as fixed.
    """
    found: Tensor = _interpolate(points.detach().float(), known.detach().float(), features, weighting)
    return found


def gather_points(points: Tensor, indices: Tensor) -> Tensor:
    """Points (B, N, 3), indices (B, ...) -> (B, ..., 3)."""
    flat = indices.flatten(1)[:, :, None].expand(-1, -1, points.shape[2])
    return points.gather(1, flat).reshape(*indices.shape, points.shape[2])


def gather_features(features: Tensor, indices: Tensor) -> Tensor:
    """Features (B, C, N), indices (B, ...) -> (B, C, ...)."""
    channels = features.shape[1]
    flat = indices.flatten(1)[:, None].expand(-1, channels, -1)
    return features.gather(2, flat).reshape(features.shape[0], channels, *indices.shape[1:])


def group(
    points: Tensor, centres: Tensor, features: Tensor | None, indices: Tensor, *, radius: float
) -> Tensor:
    """What lies around each centre, (B, 3 + C, M, S): first (point - centre) / radius, then the features.

    points (B, N, 3), centres (B, M, 3), features (B, C, N), indices (B, M, S) into points and features.
    """
    offsets = (gather_points(points, indices) - centres[:, :, None]) / radius
    around = offsets.permute(0, 3, 1, 2)
    if features is None:
        return around
    if _is_training_step():
        rows = torch.cat((offsets.to(features.dtype), _gathered_rows(features, indices)), 3)
        return rows.permute(0, 3, 1, 2)
    return torch.cat((around.to(features.dtype), gather_features(features, indices)), 1)


def set_abstraction(
    points: Tensor,
    centres: Tensor,
    features: Tensor,
    indices: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    *,
    radius: float,
) -> Tensor:
    """`group`, three layers of weight (outputs, inputs), bias and ReLU, the largest of each row: (B, C, M).

    As one op of the kit; passes no gradient on.
    """
    weights = (item for layer in layers for item in layer)
    found: Tensor = _abstraction(points, centres, indices.int(), features, *weights, radius)
    return found


def largest(around: Tensor) -> Tensor:
    """(B, C, M, S) -> (B, C, M), the largest of each row; of equal ones the first takes the gradient."""
    if _is_training_step():
        found: Tensor = _Largest.apply(around)  # type: ignore[no-untyped-call]
        return found
    return around.amax(3)


class _Largest(torch.autograd.Function):
    """The largest of each row of (B, C, M, S), channels last in memory; back, one number a row into zeros."""

    @staticmethod
    def forward(ctx: Any, around: Tensor) -> Tensor:
        samples = around.shape[3]
        values, places = functional.max_pool2d_with_indices(around, (1, samples))
        ctx.save_for_backward(places.remainder_(samples).permute(0, 2, 3, 1))
        ctx.samples = samples
        return values.squeeze(3)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (places,) = ctx.saved_tensors
        batch, centres, _, channels = places.shape
        spread = grad.new_zeros((batch, centres, ctx.samples, channels))
        spread.scatter_(2, places, grad.transpose(1, 2)[:, :, None])
        return spread.permute(0, 3, 1, 2)


def _is_training_step() -> bool:
    """Whether a gradient may be asked for, and nobody writes down what is done."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _gathered_rows(features: Tensor, indices: Tensor) -> Tensor:
    """Features (B, C, N), indices (B, ...) -> (B, ..., C), as whole rows: what a training step is quicker
    with, forth, in the convolutions after it, and back."""
    batch, channels, count = features.shape
    first = torch.arange(batch, device=indices.device).view(-1, *(1 for _ in indices.shape[1:])) * count
    rows = features.transpose(1, 2).reshape(batch * count, channels)
    flat = (indices + first).reshape(-1, 1).expand(-1, channels)
    return rows.gather(0, flat).reshape(*indices.shape, channels)
