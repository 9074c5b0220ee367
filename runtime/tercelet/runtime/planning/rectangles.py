"""Cells that are wanted into few rectangles that hold little else: recursive cuts, as in page layout.

Rows and columns of cells are integers of bits, which Python combines quicker than numpy does small arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Two rectangles must be this much cheaper than the one they came from.
_WORTH = 0.94
# Where a rectangle has to be cut, halves of equal size are preferred to ones that differ wholly by this much.
_BALANCE = 0.15


class CellBox(NamedTuple):
    """A rectangle of cells, half open."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Prices:
    """What a rectangle costs: its area on a canvas, borders included.

    scales: canvas pixels a cell, by row of cells; that of the middle row counts. around: canvas pixels
    that both sides are longer by. largest: (width, height) in canvas pixels of what can be looked at in one
    piece, the borders included.
    """

    scales: Sequence[float]
    around: float
    largest: tuple[float, float]

    def of(self, box: CellBox) -> float:
        """Canvas pixels that a rectangle takes."""
        left, top, right, bottom = box
        scale = self.scales[(top + bottom) // 2]
        return ((right - left) * scale + self.around) * ((bottom - top) * scale + self.around)

    def fits(self, box: CellBox) -> bool:
        """Whether it can be looked at in one piece."""
        left, top, right, bottom = box
        scale = self.scales[(top + bottom) // 2]
        wide, high = (right - left) * scale + self.around, (bottom - top) * scale + self.around
        return wide <= self.largest[0] and high <= self.largest[1]


def rectangles_of(wanted: NDArray[np.bool_], prices: Prices) -> list[CellBox]:
    """Cut the wanted cells (gh, gw) into disjoint rectangles that hold all of them.

    A rectangle is cut where its parts are cheaper, and where it does not fit, down to single cells. They come
    from top to bottom and from left to right within a cut.
    """
    grid = _Grid(_integers(wanted), _integers(wanted.T), prices)
    whole = grid.trimmed(CellBox(0, 0, wanted.shape[1], wanted.shape[0]))
    return [] if whole is None else grid.cut(whole)


class _Grid:
    """The wanted cells, by row and by column."""

    def __init__(self, rows: list[int], columns: list[int], prices: Prices) -> None:
        self._rows = rows
        self._columns = columns
        self._prices = prices

    def cut(self, box: CellBox) -> list[CellBox]:
        """The rectangles of a trimmed box."""
        may_stay = self._prices.fits(box)
        price, axis, place = self._best_cut(box, must=not may_stay)
        if place < 0 or (may_stay and price > _WORTH * self._prices.of(box)):
            return [box]
        left, top, right, bottom = box
        if axis == 0:
            parts = CellBox(left, top, right, place), CellBox(left, place, right, bottom)
        else:
            parts = CellBox(left, top, place, bottom), CellBox(place, top, right, bottom)
        found = []
        for part in parts:
            trimmed = self.trimmed(part)
            if trimmed is not None:
                found += self.cut(trimmed)
        return found

    def trimmed(self, box: CellBox) -> CellBox | None:
        """The box without empty rows and columns at its border; None if nothing in it is wanted."""
        across = down = 0
        mask = ((1 << box.right) - 1) >> box.left << box.left
        for row in range(box.top, box.bottom):
            bits = self._rows[row] & mask
            if bits:
                across |= bits
                down |= 1 << row
        if not across:
            return None
        return CellBox(_lowest(across), _lowest(down), across.bit_length(), down.bit_length())

    def _best_cut(self, box: CellBox, *, must: bool) -> tuple[float, int, int]:
        """Price, axis (0 between rows) and place of the cheapest cut; a place below 0 for a single cell.

        must: of cuts that cost nearly the same, prefer the one into equal parts.
        """
        left, top, right, bottom = box
        best, chosen, place = float("inf"), 0, -1
        for axis, lines, span, other in (
            (0, self._rows, (top, bottom), (left, right)),
            (1, self._columns, (left, right), (top, bottom)),
        ):
            price, at = self._cheapest(lines, span, other, along=axis == 1, must=must)
            if price < best:
                best, chosen, place = price, axis, at
        return best, chosen, place

    def _cheapest(
        self,
        lines: list[int],
        span: tuple[int, int],
        other: tuple[int, int],
        *,
        along: bool,
        must: bool,
    ) -> tuple[float, int]:
        """The cheapest cut between lines `span`, of which the bits `other` belong to the box."""
        start, stop = span
        mask = ((1 << other[1]) - 1) >> other[0] << other[0]
        first = self._parts(lines, range(start, stop), mask, along=along)
        second = self._parts(lines, range(stop - 1, start - 1, -1), mask, along=along)
        best, place = float("inf"), -1
        for line in range(start + 1, stop):
            if not lines[line] & mask:
                continue  # the cut before the next line that holds something leaves the same two parts
            price, side = first[line - 1 - start]
            other_price, other_side = second[stop - 1 - line]
            price += other_price
            if must:
                price *= 1 + _BALANCE * abs(side - other_side) / (side + other_side)
            if price < best:
                best, place = price, line
        return best, place

    def _parts(self, lines: list[int], order: range, mask: int, *, along: bool) -> list[tuple[float, int]]:
        """Price, and length of both sides in cells, of what lies up to each line in this order, trimmed."""
        scales, around = self._prices.scales, self._prices.around
        begin, step = order.start, order.step
        bits = low = high = 0
        found: list[tuple[float, int]] = []
        latest = (0.0, 0)
        for line in order:
            here = lines[line] & mask
            if here:
                if here | bits != bits:
                    bits |= here
                    low, high = (bits & -bits).bit_length() - 1, bits.bit_length()
                length = (line - begin) * step + 1
                scale = scales[(low + high) // 2 if along else (begin + line + 1) // 2]
                price = ((high - low) * scale + around) * (length * scale + around)
                latest = price, high - low + length
            found.append(latest)
        return found


def _integers(wanted: NDArray[np.bool_]) -> list[int]:
    packed = np.packbits(wanted, axis=1, bitorder="little")
    width, data = packed.shape[1], packed.tobytes()
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]


def _lowest(bits: int) -> int:
    """Number of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1
