"""Whole canvases as windows on the frame: where objects are everywhere, the best places for a few windows.

Small regions lose what surrounds their objects, and gutters take room. A window has neither fault, but
looks at whatever lies between its objects too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.plan import Region

# Canvas pixels a frame pixel that are tried, all windows of a plan alike; the larger ones where enlarging is
# said to bring more than the root of the scale.
SCALES = (0.7, 1.0, 1.3, 1.7)
LARGER_SCALES = (2.2, 2.9)
Gain = Callable[[float], NDArray[np.float32]]


@dataclass(frozen=True)
class Slot:
    """Room for one window: its canvas, and its corner and sides there in pixels."""

    canvas: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class WindowRules:
    """frame: (height, width) in pixels. cell: side of a cell in frame pixels. least_scale: smaller ones are
    not tried. least_gain: what a window of a whole canvas must bring, smaller ones in proportion. margin:
    canvas pixels along the border of a window in which objects may be cut; they do not count. scales: canvas
    pixels a frame pixel that are tried.
    """

    frame: tuple[int, int]
    cell: int
    least_scale: float
    least_gain: float
    margin: float = 0.0
    scales: tuple[float, ...] = SCALES


def best_windows(gain: Gain, slots: Sequence[Slot], rules: WindowRules) -> tuple[Region, ...]:
    """The windows that together bring most, taken one after the other, one a slot; the first of equals.

    gain: of a scale, the (gh, gw) objects that each cell brings when it is shown at it.
    """
    best, chosen = 0.0, tuple[Region, ...]()
    for scale in rules.scales:
        if scale < rules.least_scale:
            continue
        regions, net = _windows_at(scale, gain(scale), slots, rules, best)
        if net > best:
            best, chosen = net, regions
    return chosen


def _windows_at(
    scale: float, gain: NDArray[np.float32], slots: Sequence[Slot], rules: WindowRules, best: float
) -> tuple[tuple[Region, ...], float]:
    """Windows of one scale, and what they bring beyond what they must; none if that cannot exceed `best`."""
    left_over, total = gain.copy(), 0.0
    largest = max((slot.width * slot.height for slot in slots), default=1)
    regions: list[Region] = []
    for index, slot in enumerate(slots):
        high, wide = (
            min(int(slot.height / scale), rules.frame[0]),
            min(int(slot.width / scale), rules.frame[1]),
        )
        if high < 1 or wide < 1:
            continue
        rows = _cells_inside(high, rules.frame[0], rules.cell, rules.margin / scale)
        columns = _cells_inside(wide, rules.frame[1], rules.cell, rules.margin / scale)
        sums = _sums_of_windows(left_over, rows, columns)
        row, column = divmod(int(sums.argmax()), sums.shape[1])
        net = float(sums[row, column]) - rules.least_gain * slot.width * slot.height / largest
        if net <= 0:
            continue
        # Later windows bring no more than this one, and all together no more than there is.
        if total + min(net * (len(slots) - index), float(left_over.sum())) <= best:
            return (), 0.0
        total += net
        left_over[row : row + rows, column : column + columns] = 0
        # Cells are coarser than windows: what is left over on both sides is shared.
        top = min(max(row * rules.cell - (high - rows * rules.cell) // 2, 0), rules.frame[0] - high)
        left = min(max(column * rules.cell - (wide - columns * rules.cell) // 2, 0), rules.frame[1] - wide)
        size = max(int(wide * scale), 1), max(int(high * scale), 1)
        regions.append(Region(left, top, left + wide, top + high, slot.canvas, slot.x, slot.y, *size))
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
