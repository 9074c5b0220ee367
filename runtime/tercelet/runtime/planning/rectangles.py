"""Cells that are wanted into few rectangles that hold little else: recursive cuts, as in page layout.

Rows and columns of cells are integers of bits, which Python combines quicker than numpy does small arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Two rectangles must be this much cheaper than the one they came from.
_WORTH = 0.94


class CellBox(NamedTuple):
    """A rectangle of cells, half open."""

    left: int
    top: int
    right: int
    bottom: int


Cost = Callable[[CellBox], float]
Fits = Callable[[CellBox], bool]


def rectangles_of(wanted: NDArray[np.bool_], *, cost: Cost, fits: Fits) -> list[CellBox]:
    """Cut the wanted cells (gh, gw) into disjoint rectangles that hold all of them.

    cost: of looking at a rectangle. fits: whether it can be looked at in one piece; what does not is cut
    further, down to single cells. Rectangles come from top to bottom and left to right within a cut.
    """
    grid = _Bits(wanted)
    whole = grid.trimmed(CellBox(0, 0, wanted.shape[1], wanted.shape[0]))
    return [] if whole is None else _cut(grid, whole, cost, fits)


def _cut(grid: _Bits, box: CellBox, cost: Cost, fits: Fits) -> list[CellBox]:
    may_stay = fits(box)
    pieces = _best_cut(grid, box, cost, balanced=not may_stay)
    if pieces is None:
        return [box]
    first, second = pieces
    if may_stay and cost(first) + cost(second) > _WORTH * cost(box):
        return [box]
    return _cut(grid, first, cost, fits) + _cut(grid, second, cost, fits)


def _best_cut(grid: _Bits, box: CellBox, cost: Cost, *, balanced: bool) -> tuple[CellBox, CellBox] | None:
    """The cheapest of all cuts across, each side without its empty border; None for a single cell.

    balanced: of cuts that cost nearly the same, the one nearest to the middle.
    """
    best, found = None, None
    for first, second in grid.cuts(box):
        price = cost(first) + cost(second)
        if balanced:
            sides = (first.right - first.left) + (first.bottom - first.top)
            others = (second.right - second.left) + (second.bottom - second.top)
            price *= 1 + 0.15 * abs(sides - others) / (sides + others)
        if best is None or price < best:
            best, found = price, (first, second)
    return found


class _Bits:
    """The wanted cells, by row and by column."""

    def __init__(self, wanted: NDArray[np.bool_]) -> None:
        self.rows = _integers(wanted)
        self.columns = _integers(wanted.T)

    def trimmed(self, box: CellBox) -> CellBox | None:
        """The box without empty rows and columns at its border; None if nothing in it is wanted."""
        across = down = 0
        mask = ((1 << box.right) - 1) >> box.left << box.left
        for row in range(box.top, box.bottom):
            bits = self.rows[row] & mask
            if bits:
                across |= bits
                down |= 1 << row
        if not across:
            return None
        return CellBox(_lowest(across), _lowest(down), across.bit_length(), down.bit_length())

    def cuts(self, box: CellBox) -> Sequence[tuple[CellBox, CellBox]]:
        """All ways to cut a trimmed box in two, each part trimmed."""
        across = _halves(self.rows, (box.top, box.bottom), (box.left, box.right))
        along = _halves(self.columns, (box.left, box.right), (box.top, box.bottom))
        pairs = [(CellBox(b, a, c, d), CellBox(f, e, g, h)) for (a, b, d, c), (e, f, h, g) in across]
        return pairs + [(CellBox(a, b, d, c), CellBox(e, f, h, g)) for (a, b, d, c), (e, f, h, g) in along]


_Half = tuple[int, int, int, int]


def _halves(lines: Sequence[int], span: tuple[int, int], other: tuple[int, int]) -> list[tuple[_Half, _Half]]:
    """Cuts between lines: (first line, low bit, end of lines, end of bits) of both parts, trimmed."""
    start, stop = span
    mask = ((1 << other[1]) - 1) >> other[0] << other[0]
    ends: list[tuple[int, int]] = []
    bits, last = 0, start
    for line in range(start, stop):
        here = lines[line] & mask
        if here:
            bits |= here
            last = line + 1
        ends.append((last, bits))
    found: list[tuple[_Half, _Half]] = []
    bits, first = 0, stop
    for line in range(stop - 1, start, -1):
        here = lines[line] & mask
        if here:
            bits |= here
            first = line
        last, before = ends[line - 1 - start]
        if here and before:  # other cuts leave the same two parts
            found.append(
                (
                    (start, _lowest(before), last, before.bit_length()),
                    (first, _lowest(bits), stop, bits.bit_length()),
                )
            )
    return found


def _integers(wanted: NDArray[np.bool_]) -> list[int]:
    packed = np.packbits(wanted, axis=1, bitorder="little")
    width, data = packed.shape[1], packed.tobytes()
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]


def _lowest(bits: int) -> int:
    """Number of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1
