"""Density maps: how many objects lie in each cell of a frame, with the scale of the cells made explicit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError

_Edge = TypeVar("_Edge", np.float32, np.float64, np.int64)


@dataclass(frozen=True)
class DensityMap:
    """Objects by cell over a whole frame; the sum of any part is the number of objects in it.

    values: (h, w) float32, objects a cell. height, width: the frame in pixels; a cell is height / h by
    width / w pixels, whole or not. So the sum over a window of frame pixels means the same at every size.
    """

    values: NDArray[np.float32]
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or 0 in self.values.shape:
            raise InputError(f"expected a density map (h, w) with at least one cell, got {self.values.shape}")
        if self.height < 1 or self.width < 1:
            raise InputError(f"expected a frame of at least 1x1 pixels, got {self.height}x{self.width}")

    @property
    def count(self) -> float:
        """The number of objects in the frame, as the map has it."""
        return float(self.values.sum(dtype=np.float64))

    @property
    def cell(self) -> tuple[float, float]:
        """Height and width of a cell in frame pixels."""
        return self.height / self.values.shape[0], self.width / self.values.shape[1]

    def resized(self, height: int, width: int) -> DensityMap:
        """The same frame with height x width cells and the same count, to float32 rounding.

        Along an axis that gets more cells: bilinear, pixel centres aligned, borders repeated; by a whole
        factor that is the plain bilinear map divided by the factor. By another one it misses the count by a
        little, which is made up for in proportion to each cell's absolute value. Along an axis that gets
        fewer cells: every new cell takes the share of each old one that it covers. Raises InputError for a
        size below 1x1.
        """
        if height < 1 or width < 1:
            raise InputError(f"expected a density map of at least 1x1 cells, got {height}x{width}")
        values = _resized_rows(self.values, height)
        values = np.ascontiguousarray(_resized_rows(np.ascontiguousarray(values.T), width).T)
        missing, spread = self.values.sum(dtype=np.float64) - values.sum(), np.abs(values).sum()
        if spread > 0:
            values += np.abs(values) * (missing / spread)
        return DensityMap(values.astype(np.float32), self.height, self.width)

    def window_sum(self, boxes: NDArray[_Edge]) -> NDArray[np.float64]:
        """(N, 4) left, top, right, bottom in frame pixels, whole or not -> (N,) float64 objects in each.

        A cell that a window cuts counts with the share of its area that lies inside. Whatever lies outside
        the frame holds nothing; a window turned inside out holds nothing either.
        """
        table = np.asarray(boxes, np.float64).reshape(-1, 4)
        rows, columns = self.values.shape
        x = table[:, 0::2].clip(0, self.width) * (columns / self.width)
        y = table[:, 1::2].clip(0, self.height) * (rows / self.height)
        x[:, 1], y[:, 1] = np.maximum(x[:, 0], x[:, 1]), np.maximum(y[:, 0], y[:, 1])
        total = np.zeros((rows + 1, columns + 1))
        np.cumsum(self.values, axis=0, dtype=np.float64, out=total[1:, 1:])
        np.cumsum(total[1:, 1:], axis=1, out=total[1:, 1:])
        sums = _at(total, y[:, 1], x[:, 1]) - _at(total, y[:, 0], x[:, 1])
        return sums - _at(total, y[:, 1], x[:, 0]) + _at(total, y[:, 0], x[:, 0])

    def grid_sum(self, rows: NDArray[_Edge], columns: NDArray[_Edge]) -> NDArray[np.float64]:
        """The window sums of a grid: (R, 2) top, bottom and (C, 2) left, right in frame pixels -> (R, C).

        The edges lie inside the frame. The same numbers as window_sum to float64 rounding, several times
        quicker.
        """
        high, wide = self.values.shape
        bands = _band_sums(self.values, np.asarray(rows, np.float64) * (high / self.height))
        return _band_sums(bands.T, np.asarray(columns, np.float64) * (wide / self.width)).T


def _band_sums(
    values: NDArray[np.float32] | NDArray[np.float64], bands: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(h, w) and (n, 2) first and last place along h, fractional -> (n, w) float64 sums between the two."""
    places = bands.ravel()
    whole = np.minimum(places.astype(np.int64), len(values))
    cuts = np.unique(np.append(whole[whole < len(values)], 0))
    # Down to each cut; reading the map once, however many bands there are.
    above = np.zeros((len(cuts) + 1, values.shape[1]))
    np.cumsum(np.add.reduceat(values, cuts, axis=0, dtype=np.float64), axis=0, out=above[1:])
    reached = above[np.searchsorted(cuts, whole)]
    share = (places - whole)[:, None]
    if share.any():
        reached += values[np.minimum(whole, len(values) - 1)] * share
    return reached[1::2] - reached[0::2]


def _resized_rows(values: NDArray[np.float32] | NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(h, w) -> (count, w), the sum of each column kept, up to what bilinear sampling misses."""
    height = len(values)
    if count == height:
        return values.astype(np.float64)
    if count < height:
        edges = np.arange(count + 1) * (height / count)
        return _band_sums(values, np.stack((edges[:-1], edges[1:]), axis=1))
    centres = ((np.arange(count) + 0.5) * (height / count) - 0.5).clip(0, height - 1)
    return _rows_at(values.astype(np.float64), centres) * (height / count)


def _rows_at(values: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of (h, w) at fractional places 0 to h - 1, linear between two rows -> (places, w)."""
    low = np.minimum(places.astype(np.int64), max(len(values) - 2, 0))
    high = np.minimum(low + 1, len(values) - 1)
    share = (places - low)[:, None]
    between: NDArray[np.float64] = values[low] * (1 - share) + values[high] * share
    return between


def _at(total: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral image between its points: exact, because density is even inside a cell."""
    top, left = (np.minimum(p.astype(np.int64), n - 2) for p, n in zip((y, x), total.shape, strict=True))
    v, u = y - top, x - left
    upper = total[top, left] * (1 - u) + total[top, left + 1] * u
    lower = total[top + 1, left] * (1 - u) + total[top + 1, left + 1] * u
    return upper * (1 - v) + lower * v  # type: ignore[no-any-return]
