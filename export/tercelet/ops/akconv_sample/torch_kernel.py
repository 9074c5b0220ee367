"""AKConvSample in torch: the kernel behind `tercelet::akconv_sample`, its gradient, the plain form of both.

The kernel reads each corner as one contiguous row of a channels-last copy of the map, and adds the four rows
up while it reads them. Same meaning as the specification's numpy reference, NaN and infinities included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import AttributeValue
from tercelet.ops.akconv_sample.spec import SPEC

_COORDINATES = (torch.float32, torch.float64)


class Axis(NamedTuple):
    """Where positions fall on one axis, all (B, N, h, w): lower and upper pixel (int64), the weight of each,
    and whether the position lies between two pixels, outside of which its gradient is zero."""

    low: Tensor
    high: Tensor
    of_low: Tensor
    of_high: Tensor
    is_inside: Tensor


class Corners(NamedTuple):
    """The corners of P samples, top left, top right, bottom left, bottom right: rows of the channels-last map
    and weights, both (P, 4); and the axes they come from."""

    rows: Tensor
    weights: Tensor
    vertical: Axis
    horizontal: Axis


def akconv_sample(x: Tensor, offset: Tensor, *, stride: int, grid: str, taps: Sequence[int]) -> Tensor:
    """x (B, C, H, W), offset (B, 2N, h, w) -> samples (B, C, N, h, w), contiguous, in the dtype of x.

    As `akconv_sample_reference`. x: any float; offset: float32 (or float64, for checking gradients), in which
    positions and weights are computed whatever x is; sums are rounded to the dtype of x once, at the end.
    Raises InputError for shapes, attributes or dtypes that do not fit.
    """
    _check(x, offset, stride=stride, grid=grid, taps=taps)
    batch, channels, count, height, width = _sizes(x, offset)
    if 0 in (batch, channels, height, width):
        return x.new_zeros(batch, channels, count, height, width)
    corners = _corners(x, offset, stride=stride, grid=grid, taps=taps)
    dtype = torch.promote_types(x.dtype, offset.dtype)
    summed = functional.embedding_bag(
        corners.rows, _channels_last(x.to(dtype)), mode="sum", per_sample_weights=corners.weights.to(dtype)
    )
    maps = summed.to(x.dtype).view(batch, count, height, width, channels)
    return maps.permute(0, 4, 1, 2, 3).contiguous()


def akconv_sample_backward(
    grad: Tensor, x: Tensor, offset: Tensor, *, stride: int, grid: str, taps: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Gradients of x (B, C, H, W) and of offset (B, 2N, h, w) from that of the samples (B, C, N, h, w).

    The pixel a position falls on is taken as fixed, as upstream does: an offset has a gradient through the
    weights alone, that of the pixel to its right where it lies exactly on one, and zero where it is clamped
    (p < 0, p >= L-1). A NaN position gives zero to x and to both of its offsets. Both results are contiguous,
    in the dtypes of x and offset; on a GPU the sum over x has no fixed order.
    """
    _check(x, offset, stride=stride, grid=grid, taps=taps)
    batch, channels, _, _, _ = _sizes(x, offset)
    if 0 in grad.shape:
        return x.new_zeros(x.shape), offset.new_zeros(offset.shape)
    corners = _corners(x, offset, stride=stride, grid=grid, taps=taps)
    dtype = torch.promote_types(x.dtype, offset.dtype)
    rows = _channels_last(x.to(dtype))
    given = grad.to(dtype).permute(0, 2, 3, 4, 1).reshape(-1, channels).contiguous()
    # A NaN would spread through every product below.
    weights = corners.weights.to(dtype).nan_to_num(nan=0.0)
    summed = torch.zeros_like(rows)
    slopes = []
    for corner in range(4):
        row = corners.rows[:, corner].contiguous()
        summed.index_add_(0, row, given * weights[:, corner, None])
        slopes.append((rows.index_select(0, row) * given).sum(1))
    grad_x = summed.view(batch, *x.shape[2:], channels).permute(0, 3, 1, 2).to(x.dtype)
    return grad_x.contiguous(), _offset_gradient(slopes, corners).to(offset.dtype)


def differentiable_composition(
    x: Tensor, offset: Tensor, *, stride: int, grid: str, taps: Sequence[int]
) -> Tensor:
    """The same samples in the manner AKConv was published: four gathers a tap over flattened maps.

    The yardstick for gradients, and what an export without the op would hold (static shapes): ordinary torch
    ops. The floor is detached; lower corner, upper corner and position are clamped each on its own, which is
    what doubles the border. offset must be finite: a NaN would be an index out of range. Raises InputError as
    `akconv_sample`.
    """
    _check(x, offset, stride=stride, grid=grid, taps=taps)
    batch, channels, count, height, width = _sizes(x, offset)
    row, column = _positions(offset, stride=stride, grid=grid, taps=taps)
    top, bottom, of_top, of_bottom = _clamped_axis(row, x.shape[2])
    left, right, of_left, of_right = _clamped_axis(column, x.shape[3])
    flat = x.flatten(2)
    sampled = torch.zeros((), dtype=x.dtype, device=x.device)
    for y, wy in ((top, of_top), (bottom, of_bottom)):
        for z, wz in ((left, of_left), (right, of_right)):
            index = (y * x.shape[3] + z).flatten(1).unsqueeze(1).expand(-1, channels, -1)
            values = flat.gather(2, index).view(batch, channels, count, height, width)
            sampled = sampled + values * (wy * wz).unsqueeze(1)
    return sampled.to(x.dtype)


def _check(x: Tensor, offset: Tensor, *, stride: int, grid: str, taps: Sequence[int]) -> None:
    attributes: dict[str, AttributeValue] = {"stride": stride, "grid": grid, "taps": tuple(taps)}
    SPEC.bind((x.shape, offset.shape), attributes)
    if not x.is_floating_point():
        raise InputError(f"AKConvSample: x: expected floats, got {x.dtype}")
    if offset.dtype not in _COORDINATES:
        raise InputError(
            f"AKConvSample: offset: expected float32 whatever x is, got {offset.dtype}, which cannot tell "
            "neighbouring positions apart; compute the offsets in float32"
        )


def _sizes(x: Tensor, offset: Tensor) -> tuple[int, int, int, int, int]:
    """Batch, channels, taps, and height and width of the output."""
    return x.shape[0], x.shape[1], offset.shape[1] // 2, offset.shape[2], offset.shape[3]


def _channels_last(x: Tensor) -> Tensor:
    """x (B, C, H, W) as contiguous rows (B * H * W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def _positions(offset: Tensor, *, stride: int, grid: str, taps: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows and columns (B, N, h, w) of the map that are sampled, in the dtype of offset."""
    height, width = offset.shape[2:]
    place = torch.arange(height * width, device=offset.device).view(height, width)
    if grid == "ij":
        rows, columns = place // max(width, 1) * stride, place % max(width, 1) * stride
    else:
        rows, columns = place % max(height, 1) * stride, place // max(height, 1) * stride
    table = torch.tensor(taps, device=offset.device).view(-1, 2, 1, 1)
    of_rows, of_columns = offset.chunk(2, 1)
    base_rows, base_columns = (rows + table[:, 0]).to(offset.dtype), (columns + table[:, 1]).to(offset.dtype)
    return of_rows + base_rows, of_columns + base_columns


def _corners(x: Tensor, offset: Tensor, *, stride: int, grid: str, taps: Sequence[int]) -> Corners:
    row, column = _positions(offset, stride=stride, grid=grid, taps=taps)
    vertical, horizontal = _axis(row, x.shape[2]), _axis(column, x.shape[3])
    rows, weights = [], []
    first = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1, 1) * x.shape[2]
    for y, wy in ((vertical.low, vertical.of_low), (vertical.high, vertical.of_high)):
        for z, wz in ((horizontal.low, horizontal.of_low), (horizontal.high, horizontal.of_high)):
            rows.append((((first + y) * x.shape[3]) + z).flatten())
            weights.append((wy * wz).flatten())
    return Corners(torch.stack(rows, 1), torch.stack(weights, 1), vertical, horizontal)


def _axis(p: Tensor, size: int) -> Axis:
    """Positions p on an axis of `size` pixels; no index is out of range, whatever p is."""
    is_after = p >= size - 1
    is_inside = (p >= 0) & ~is_after
    low = torch.where(is_inside, p, 0).floor()
    fraction = p - low
    outside = torch.where(p.isnan(), p, 1)
    of_low = torch.where(is_inside, 1 - fraction, outside)
    of_high = torch.where(is_inside, fraction, outside)
    low = torch.where(is_after, size - 1, low).long()
    return Axis(low, low + is_inside, of_low, of_high, is_inside)


def _offset_gradient(slopes: Sequence[Tensor], corners: Corners) -> Tensor:
    """(B, 2N, h, w) from the products (P) of gradient and pixel at each corner."""
    vertical, horizontal = corners.vertical, corners.horizontal
    of_left, of_right = horizontal.of_low, horizontal.of_high
    of_top, of_bottom = vertical.of_low, vertical.of_high
    top_left, top_right, bottom_left, bottom_right = (slope.view(of_top.shape) for slope in slopes)
    down = (bottom_left - top_left) * of_left + (bottom_right - top_right) * of_right
    across = (top_right - top_left) * of_top + (bottom_right - bottom_left) * of_bottom
    # Where the position on the other axis is NaN the product is, too; where its own is, it is not inside.
    rows = torch.where(vertical.is_inside & ~of_left.isnan(), down, 0)
    columns = torch.where(horizontal.is_inside & ~of_top.isnan(), across, 0)
    return torch.cat((rows, columns), 1)


def _clamped_axis(p: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lower and upper pixel (int64) of positions p, and the weight of each."""
    low = p.detach().floor()
    high = (low + 1).clamp(0, size - 1)
    low, p = low.clamp(0, size - 1), p.clamp(0, size - 1)
    return low.long(), high.long(), 1 + (low - p), 1 - (high - p)
