"""ThreeInterpolate in torch: the kernel behind `tercelet::three_interpolate`, and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.ops.three_interpolate.spec import LEAST_DISTANCE, LEAST_SQUARE, SPEC

_COORDINATES = (torch.float32, torch.float64)
_NEAREST = 3


def three_interpolate(unknown: Tensor, known: Tensor, features: Tensor, *, weighting: str) -> Tensor:
    """unknown (B, n, 3), known (B, m, 3), features (B, C, m) -> features (B, C, n), contiguous.

    As `three_interpolate_reference`. features: any float, kept; coordinates: float32 (or float64, for
    checking gradients). Raises InputError for shapes, attributes or dtypes that do not fit.
    """
    index, weights = _neighbours(unknown, known, features, weighting)
    dtype = torch.promote_types(features.dtype, weights.dtype)
    parts = [
        _gathered(features.to(dtype), index[..., place]) * weights[:, None, :, place].to(dtype)
        for place in range(3)
    ]
    return ((parts[0] + parts[1]) + parts[2]).to(features.dtype).contiguous()


def three_interpolate_backward(
    grad: Tensor, unknown: Tensor, known: Tensor, features: Tensor, *, weighting: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of unknown, known and features from that of the result (B, C, n).

    The weights are taken as fixed, as upstream does: coordinates have the gradient zero. On a GPU the sum
    over features has no fixed order.
    """
    index, weights = _neighbours(unknown, known, features, weighting)
    dtype = torch.promote_types(features.dtype, weights.dtype)
    summed = torch.zeros(features.shape, dtype=dtype, device=features.device)
    for place in range(3):
        target = index[:, None, :, place].expand(-1, features.shape[1], -1)
        summed.scatter_add_(2, target, grad.to(dtype) * weights[:, None, :, place].to(dtype))
    return torch.zeros_like(unknown), torch.zeros_like(known), summed.to(features.dtype)


def _gathered(features: Tensor, index: Tensor) -> Tensor:
    """features (B, C, m), index (B, n) -> (B, C, n)."""
    return features.gather(2, index[:, None].expand(-1, features.shape[1], -1))


@torch.no_grad()
def _neighbours(unknown: Tensor, known: Tensor, features: Tensor, weighting: str) -> tuple[Tensor, Tensor]:
    """Indices and weights (B, n, 3) of the three nearest."""
    SPEC.bind((unknown.shape, known.shape, features.shape), {"weighting": weighting})
    if not features.is_floating_point():
        raise InputError(f"ThreeInterpolate: features: expected floats, got {features.dtype}")
    for name, points in (("unknown", unknown), ("known", known)):
        if points.dtype not in _COORDINATES:
            raise InputError(
                f"ThreeInterpolate: {name}: expected float32 whatever features are, got {points.dtype}"
            )
    dx, dy, dz = (known[:, None, :, axis] - unknown[:, :, None, axis] for axis in range(3))
    squares = (dx * dx + dy * dy) + dz * dz
    squares = torch.where(squares.isfinite(), squares, torch.inf)
    if squares.shape[2] < _NEAREST:
        missing = _NEAREST - squares.shape[2]
        squares = torch.cat((squares, squares.new_full((*squares.shape[:2], missing), torch.inf)), 2)
    nearest, index = _smallest(squares)
    index = torch.where(nearest.isinf(), 0, index)
    if weighting == "squared":
        inverse = 1 / nearest.clamp(min=float(LEAST_SQUARE))
    else:
        inverse = 1 / (nearest.sqrt() + float(LEAST_DISTANCE))
    total = (inverse[..., 0] + inverse[..., 1]) + inverse[..., 2]
    return index, inverse / total[..., None]


def _smallest(squares: Tensor) -> tuple[Tensor, Tensor]:
    """The three smallest (B, n, 3) of each row of squares (B, n, m), m >= 3, and their indices; of equal ones
    the lower index first. Three searches are quicker than a sort. squares is spoilt."""
    values, places = [], []
    for _ in range(_NEAREST):
        place = squares.argmin(2, keepdim=True)  # the first of equal ones
        values.append(squares.gather(2, place))
        places.append(place)
        squares.scatter_(2, place, torch.inf)
    return torch.cat(values, 2), torch.cat(places, 2)
