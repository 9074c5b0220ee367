"""Whole canvases as windows on the frame: where objects are everywhere, the best places for a few windows.

Small regions lose what surrounds their objects, and gutters take room. A window has neither fault, but
looks at whatever lies between its objects too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.plan import Region

# Canvas pixels a frame pixel that are tried; the larger ones where enlarging is said to bring more than the
# root of the scale.
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
    pixels a frame pixel that are tried. is_mixed: windows of one plan may differ in scale.
    """

    frame: tuple[int, int]
    cell: int
    least_scale: float
    least_gain: float
    margin: float = 0.0
    scales: tuple[float, ...] = SCALES
    is_mixed: bool = False


def best_windows(gain: Gain, slots: Sequence[Slot], rules: WindowRules) -> tuple[Region, ...]:
    """The windows that together bring most, taken one after the other, one a slot; the first of equals.

    All at one scale, or with rules.is_mixed each at its own where that brings more. gain: of a scale, the
    (gh, gw) objects that each cell brings when it is shown at it.
    """
    gains = {scale: gain(scale) for scale in rules.scales if scale >= rules.least_scale}
    best, chosen = 0.0, tuple[Region, ...]()
    for scale, of_cells in gains.items():
        regions, net = _windows_at({scale: of_cells}, slots, rules, best)
        if net > best:
            best, chosen = net, regions
    if rules.is_mixed and len(gains) > 1:
        regions, net = _windows_at(gains, slots, rules, best)
        if net > best:
            chosen = regions
    return chosen


@dataclass(frozen=True)
class _Window:
    """A place for a slot. net: what it brings beyond what it must. rows, columns: its cells."""

    net: float
    scale: float
    rows: slice
    columns: slice
    region: Region


def _windows_at(
    gains: Mapping[float, NDArray[np.float32]], slots: Sequence[Slot], rules: WindowRules, best: float
) -> tuple[tuple[Region, ...], float]:
    """Windows of these scales, and what they bring beyond what they must; none where not above `best`."""
    left_over, total = {scale: values.copy() for scale, values in gains.items()}, 0.0
    largest = max((slot.width * slot.height for slot in slots), default=1)
    regions: list[Region] = []
    for index, slot in enumerate(slots):
        least = rules.least_gain * slot.width * slot.height / largest
        tried = [_best_place(scale, values, slot, rules, least) for scale, values in left_over.items()]
        window = max((w for w in tried if w is not None), key=lambda w: w.net, default=None)
        if window is None:
            continue
        # Later windows bring no more than this one, and all together no more than there is.
        if len(gains) == 1:
            there_is = float(left_over[window.scale].sum())
            if total + min(window.net * (len(slots) - index), there_is) <= best:
                return (), 0.0
        total += window.net
        regions.append(window.region)
        brought = gains[window.scale][window.rows, window.columns]
        for scale, values in left_over.items():
            part = values[window.rows, window.columns]
            np.minimum(part, np.maximum(gains[scale][window.rows, window.columns] - brought, 0), out=part)
    return tuple(regions), total


def _best_place(
    scale: float, left_over: NDArray[np.float32], slot: Slot, rules: WindowRules, least: float
) -> _Window | None:
    """Where a window of this scale brings most for a slot; None where that is not more than `least`."""
    high = min(int(slot.height / scale), rules.frame[0])
    wide = min(int(slot.width / scale), rules.frame[1])
    if high < 1 or wide < 1:
        return None
    rows = _cells_inside(high, rules.frame[0], rules.cell, rules.margin / scale)
    columns = _cells_inside(wide, rules.frame[1], rules.cell, rules.margin / scale)
    sums = _sums_of_windows(left_over, rows, columns)
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    net = float(sums[row, column]) - least
    if net <= 0:
        return None
    # Cells are coarser than windows: what is left over on both sides is shared.
    top = min(max(row * rules.cell - (high - rows * rules.cell) // 2, 0), rules.frame[0] - high)
    left = min(max(column * rules.cell - (wide - columns * rules.cell) // 2, 0), rules.frame[1] - wide)
    size = max(int(wide * scale), 1), max(int(high * scale), 1)
    region = Region(left, top, left + wide, top + high, slot.canvas, slot.x, slot.y, *size)
    return _Window(net, scale, slice(row, row + rows), slice(column, column + columns), region)


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
