"""The plan of DMNet: windows where the density is high, joined to regions, one box a region.

Paper: Density Map Guided Object Detection in Aerial Images (Li et al., CVPRW 2020), section 3.2. Compatible
with Cli98/DMNet (no licence stated; none of its code is here). Deliberate differences unless `parity` is set:
no extra pixel row and column at the left and the top, frames smaller than the window, no box inside another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.density import DensityMap
from tercelet.contract.errors import InputError

WINDOW = 70
THRESHOLD = 0.08


def plan_dmnet(
    density: NDArray[np.floating] | DensityMap,
    *,
    window: int | tuple[int, int] = WINDOW,
    threshold: float = THRESHOLD,
    parity: bool = False,
) -> NDArray[np.int64]:
    """Boxes of dense regions: (N, 4) int64 left, top, right, bottom in frame pixels, half-open.

    density: (H, W) objects a pixel of the frame, or a DensityMap of any scale. Windows of `window` pixels
    (a number, or height and width) lie side by side from the left and top border; the last ones are moved
    back into the frame, and a frame smaller than the window has one as large as itself. A window counts if it
    holds at least `threshold` objects, compared as float32. Windows that share a side or overlap are one
    region, and its bounding box is planned. Boxes come row by row of their first window; one that lies inside
    another is left out. parity: as upstream, whose sums are float32 and whose boxes reach one pixel further
    to the left and the top. Raises InputError for a density that is not (H, W) and finite, and for an
    impossible window or threshold.
    """
    grid = _grid(density, window, threshold, parity=parity)
    regions = [_bounds(grid, members) for members in _regions(grid)]
    boxes = np.array(regions, np.int64).reshape(-1, 4)
    if not parity:
        return _outermost(boxes)
    # Upstream visits the empty cells around a region too; its half-open end then hides those on two sides
    # only.
    high, wide = (boxes[:, 3] - boxes[:, 1] + 1), (boxes[:, 2] - boxes[:, 0] + 1)
    large = high * wide >= math.prod(_sides(window))
    return (boxes[large] - (1, 1, 0, 0)).clip(0)


def window_mask(
    density: NDArray[np.floating] | DensityMap,
    *,
    window: int | tuple[int, int] = WINDOW,
    threshold: float = THRESHOLD,
    parity: bool = False,
) -> NDArray[np.bool_]:
    """(H, W) bool: which pixels of the frame lie in a window that counts; arguments as plan_dmnet."""
    grid = _grid(density, window, threshold, parity=parity)
    mask = np.zeros((grid.height, grid.width), bool)
    for row, column in zip(*np.nonzero(grid.on), strict=True):
        (top, bottom), (left, right) = grid.rows[row], grid.columns[column]
        mask[top:bottom, left:right] = True
    return mask


@dataclass(frozen=True)
class _Grid:
    """rows: (R, 2) top, bottom; columns: (C, 2) left, right; on: (R, C) whether the window counts."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    on: NDArray[np.bool_]
    height: int
    width: int


def _grid(
    density: NDArray[np.floating] | DensityMap,
    window: int | tuple[int, int],
    threshold: float,
    *,
    parity: bool,
) -> _Grid:
    tall, wide = _sides(window)
    if math.isnan(threshold):
        raise InputError("threshold: expected a number of objects, got NaN")
    found = density if isinstance(density, DensityMap) else _map_from_array(density)
    rows = _intervals(found.height, tall, parity=parity)
    columns = _intervals(found.width, wide, parity=parity)
    with np.errstate(invalid="ignore"):  # infinity less infinity, refused below
        sums = _float32_sums(found, rows, columns) if parity else found.grid_sum(rows, columns)
    if not np.isfinite(sums).all():
        raise InputError(
            "expected a density of finite numbers, got NaN or infinity in it; "
            "does the density network's export pass its parity check?"
        )
    return _Grid(rows, columns, sums.astype(np.float32) >= np.float32(threshold), found.height, found.width)


def _sides(window: int | tuple[int, int]) -> tuple[int, int]:
    sides = tuple(window) if isinstance(window, (tuple, list)) else (window, window)
    if len(sides) != 2 or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in sides):
        raise InputError(f"window: expected a whole number of pixels, or height and width, got {window!r}")
    return int(sides[0]), int(sides[1])


def _map_from_array(density: NDArray[np.floating]) -> DensityMap:
    values = np.asarray(density)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise InputError(
            f"expected a density (H, W) of numbers as large as the frame, got {values.shape} {values.dtype}"
        )
    return DensityMap(values, *values.shape)  # of any type: summed in float64


def _intervals(length: int, window: int, *, parity: bool) -> NDArray[np.int64]:
    """(n, 2) start and end of the windows along one axis."""
    starts = np.minimum(np.arange(0, length, window), length - window)
    if parity:
        # A start below zero counts from the far end there, as a slice does.
        return np.array([slice(s, s + window).indices(length)[:2] for s in starts.tolist()], np.int64)
    starts = starts.clip(0)
    return np.stack((starts, np.minimum(starts + window, length)), axis=1)


def _float32_sums(
    density: DensityMap, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What numpy gives for each window of the full-size map: near the threshold float32 decides."""
    if density.values.shape != (density.height, density.width):
        density = density.resized(density.height, density.width)
    values = density.values.astype(np.float32, copy=False)
    sums = [[values[t:b, left:r].sum() for left, r in columns] for t, b in rows]
    return np.array(sums, np.float64)


def _regions(grid: _Grid) -> list[NDArray[np.int64]]:
    """The windows of each region as (n, 2) row, column; regions in the order of their first window.

    Where the last windows were moved back they overlap those before, so that neighbours across the corner
    touch along a side as well.
    """
    rows, columns = grid.on.shape
    # A column of closed windows at the right end, so that no neighbour is found around the corner.
    padded = np.pad(grid.on, ((0, 0), (0, 1)))
    stride = columns + 1
    last_rows = (rows - 2) * stride if _overlap(grid.rows) else rows * stride
    last_columns = columns - 2 if _overlap(grid.columns) else columns
    open_windows = dict.fromkeys(np.flatnonzero(padded).tolist())
    found = []
    while open_windows:
        members = [next(iter(open_windows))]
        del open_windows[members[0]]
        for member in members:
            near = [member - stride, member - 1, member + 1, member + stride]
            if member >= last_rows:
                other = member + stride if member < last_rows + stride else member - stride
                near += [other - 1, other + 1]
            if member % stride >= last_columns:
                other = member + 1 if member % stride == last_columns else member - 1
                near += [other - stride, other + stride]
            for window in near:
                if window in open_windows:
                    del open_windows[window]
                    members.append(window)
        found.append(np.stack(np.divmod(np.array(members), stride), axis=1))
    return found


def _overlap(intervals: NDArray[np.int64]) -> bool:
    """Whether the last window had to be moved back over the one before it."""
    return len(intervals) > 1 and bool(intervals[-1, 0] < intervals[-2, 1])


def _bounds(grid: _Grid, members: NDArray[np.int64]) -> tuple[int, int, int, int]:
    (top, left), (bottom, right) = members.min(axis=0).tolist(), members.max(axis=0).tolist()
    return (
        int(grid.columns[left, 0]),
        int(grid.rows[top, 0]),
        int(grid.columns[right, 1]),
        int(grid.rows[bottom, 1]),
    )


def _outermost(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The boxes that lie in no other; of equal ones the first."""
    inner, outer = boxes[:, None], boxes[None]
    inside = (inner[..., :2] >= outer[..., :2]).all(-1) & (inner[..., 2:] <= outer[..., 2:]).all(-1)
    # In an equal pair only the later one is inside the earlier.
    inside &= ~(inside.T & np.tri(len(boxes), dtype=bool).T)
    return boxes[~inside.any(axis=1)]
