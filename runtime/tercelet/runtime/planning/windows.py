"""Whole canvases as windows on the frame: where objects are everywhere, the best places for a few windows.

Small regions lose what surrounds their objects, and gutters take room. A window has neither fault, but
looks at whatever lies between its objects too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.plan import Region

# Canvas pixels a frame pixel that are tried, all windows of a plan alike.
_SCALES = (0.5, 0.6, 0.75, 0.9, 1.0, 1.25, 1.6, 2.0)
Gain = Callable[[float], NDArray[np.float32]]


def best_windows(
    gain: Gain,
    *,
    frame: tuple[int, int],
    cell: int,
    canvas: tuple[int, int],
    limit: int,
    least_scale: float,
    least_gain: float,
    margin: float = 0.0,
    first: int = 0,
) -> tuple[Region, ...]:
    """The windows that together bring most, taken one after the other; the first of equals.

    gain: of a scale, the (gh, gw) objects that each cell brings when it is shown at it. frame, canvas:
    (height, width) in pixels. cell: side of a cell in frame pixels. limit: the most windows. least_scale:
    smaller ones are not tried. least_gain: what a window must bring. margin: canvas pixels along its border
    in which objects may be cut; they do not count. first: number of the first canvas.
    """
    best, chosen = 0.0, tuple[Region, ...]()
    for scale in _SCALES:
        if scale < least_scale:
            continue
        regions, total = _windows_at(
            scale, gain(scale), frame, cell, canvas, limit, least_gain, margin, first
        )
        # What a window has to bring it must bring beyond what fewer windows of another scale do.
        net = total - least_gain * len(regions)
        if net > best:
            best, chosen = net, regions
    return chosen


def _windows_at(
    scale: float,
    gain: NDArray[np.float32],
    frame: tuple[int, int],
    cell: int,
    canvas: tuple[int, int],
    limit: int,
    least_gain: float,
    margin: float,
    first: int,
) -> tuple[tuple[Region, ...], float]:
    high, wide = min(int(canvas[0] / scale), frame[0]), min(int(canvas[1] / scale), frame[1])
    rows = _cells_inside(high, frame[0], cell, margin / scale)
    columns = _cells_inside(wide, frame[1], cell, margin / scale)
    left_over, total = gain.copy(), 0.0
    regions: list[Region] = []
    while len(regions) < limit:
        sums = _sums_of_windows(left_over, rows, columns)
        index = int(sums.argmax())
        row, column = divmod(index, sums.shape[1])
        found = float(sums[row, column])
        if found <= least_gain:
            break
        total += found
        left_over[row : row + rows, column : column + columns] = 0
        # Cells are coarser than windows: what is left over on both sides is shared.
        top = min(max(row * cell - (high - rows * cell) // 2, 0), frame[0] - high)
        left = min(max(column * cell - (wide - columns * cell) // 2, 0), frame[1] - wide)
        size = min(max(int(wide * scale), 1), canvas[1]), min(max(int(high * scale), 1), canvas[0])
        regions.append(Region(left, top, left + wide, top + high, first + len(regions), 0, 0, *size))
    return tuple(regions), total


def _cells_inside(length: int, frame: int, cell: int, margin: float) -> int:
    """Cells of a window of `length` pixels that its margins leave; nothing is cut at the frame's own
    border.
    """
    return -(-frame // cell) if length >= frame else max(int((length - 2 * margin) // cell), 1)


def _sums_of_windows(values: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float64]:
    """Sum of every window of rows x columns cells that lies inside, or of all where none does."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(values, axis=0, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    rows, columns = min(rows, values.shape[0]), min(columns, values.shape[1])
    found: NDArray[np.float64] = (
        table[rows:, columns:] - table[:-rows, columns:] - table[rows:, :-columns] + table[:-rows, :-columns]
    )
    return found
