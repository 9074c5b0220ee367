"""Evidence: where in a frame objects are to be expected, and how large; on a grid of square cells.

It comes from a density network, from candidates of the full frame that are too weak to be believed, or from
what was found in the frame before. Of boxes in one cell the strongest counts; a density and boxes are
averaged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.density import DensityMap
from tercelet.contract.errors import InputError

# Cells along the longer side of a frame: fine enough to follow a street, coarse enough to be quick.
_CELLS = 60
_CELL_STEP = 8
# How far, in cells, and how much of the mass of a cell is shared with its neighbourhood.
_REACH = 3
_SHARED = 0.8
# Sizes: which part of the known ones is taken for typical, and how many there must be to fit a slope.
_QUANTILE = 0.3
_ENOUGH = 12


class Evidence:
    """Mass and size of objects by cell, in memory that is made once for a size of frame.

    height, width: the frame in pixels. cell: side of a cell in pixels. mass: (gh, gw) float32, objects
    expected in a cell. size: (gh, gw) float32, the side (square root of the area) of a typical object there
    in frame pixels, 0 where nobody knows.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width
        self.cell = max(_CELL_STEP, -(-max(height, width) // (_CELLS * _CELL_STEP)) * _CELL_STEP)
        shape = -(-height // self.cell), -(-width // self.cell)
        self.mass = np.zeros(shape, np.float32)
        self.size = np.zeros(shape, np.float32)
        self._best = np.zeros(shape, np.float32)

    def start(self) -> None:
        """Forget the last frame."""
        self.mass.fill(0)
        self.size.fill(0)

    def add_boxes(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], *, power: float, spread: int = 0
    ) -> None:
        """Objects that may be there. boxes: (N, 4) xyxy in frame pixels, the strongest first.

        scores: (N,) 0..1; to the power of `power` each is the mass of its box. Of the boxes with their centre
        in one cell the strongest counts. spread: how many cells a box may have moved in any direction since.
        """
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
        if not finite.all():
            boxes, scores = boxes[finite], scores[finite]
        if not len(boxes):
            return
        rows = ((boxes[:, 1] + boxes[:, 3]) * np.float32(0.5 / self.cell)).astype(np.intp)
        columns = ((boxes[:, 0] + boxes[:, 2]) * np.float32(0.5 / self.cell)).astype(np.intp)
        np.clip(rows, 0, self.mass.shape[0] - 1, out=rows)
        np.clip(columns, 0, self.mass.shape[1] - 1, out=columns)
        sides = np.sqrt(np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1))
        share = np.power(scores, np.float32(power)) * np.float32(1 / (1 + 2 * spread) ** 2)
        for down in range(-spread, spread + 1):
            for right in range(-spread, spread + 1):
                self._strongest(rows + down, columns + right, share, sides)

    def _strongest(
        self,
        rows: NDArray[np.intp],
        columns: NDArray[np.intp],
        masses: NDArray[np.float32],
        sides: NDArray[np.float32],
    ) -> None:
        inside = (rows >= 0) & (rows < self.mass.shape[0]) & (columns >= 0) & (columns < self.mass.shape[1])
        better = np.flatnonzero(inside)[::-1]  # of several values for a cell the one written last stays
        better = better[masses[better] > self.mass[rows[better], columns[better]]]
        at = rows[better], columns[better]
        self.mass[at], self.size[at] = masses[better], sides[better]

    def add_density(self, density: DensityMap) -> None:
        """What a density network counts; it says nothing of sizes. Negative densities count as nothing.

        Beside other evidence both have the same weight, and the total is the network's count.
        """
        if not np.isfinite(density.values).all():
            raise InputError(
                "expected a density of finite numbers, got NaN or infinity; the density network is damaged, "
                "export or train it anew"
            )
        positive = DensityMap(np.maximum(density.values, 0), self.height, self.width)
        self._best[...] = positive.grid_sum(self._bands(self.height), self._bands(self.width))
        counted, noticed = float(self._best.sum()), float(self.mass.sum())
        if counted > 0 and noticed > 0:
            np.multiply(self.mass, np.float32(0.5 * counted / noticed), out=self.mass)
            np.multiply(self._best, np.float32(0.5), out=self._best)
        np.add(self.mass, self._best, out=self.mass)

    def _bands(self, length: int) -> NDArray[np.int64]:
        """(n, 2) where the cells along an axis of `length` pixels begin and end."""
        starts = np.arange(0, length, self.cell)
        return np.stack((starts, np.minimum(starts + self.cell, length)), axis=1)

    def smooth(self) -> None:
        """Share the mass with the neighbourhood: where something was noticed, more of its kind is likely.

        The total stays, but for what leaves the frame.
        """
        wide = _box_mean(_box_mean(self.mass, _REACH), _REACH)
        np.multiply(self.mass, np.float32(1 - _SHARED), out=self.mass)
        wide *= np.float32(_SHARED)
        self.mass += wide

    def row_sizes(self, default: float) -> NDArray[np.float32]:
        """(gh,) the side of a small object in each row of cells, in frame pixels; `default` if none is known.

        Things further up are usually further away, so it is a straight line in the logarithm of the sizes,
        through their lower third: weak candidates are usually larger than what they stand for.
        """
        rows, columns = np.nonzero(self.size)
        if not len(rows):
            return np.full(self.size.shape[0], default, np.float32)
        weights = np.maximum(self.mass[rows, columns], 1e-6)
        weights = weights / weights.sum()
        logs, heights = np.log(self.size[rows, columns]), rows.astype(np.float32)
        mean, centre = float(weights @ logs), float(weights @ heights)
        spread = float(weights @ np.square(heights - centre))
        slope = 0.0
        if len(rows) >= _ENOUGH and spread > 1:
            slope = max(0.0, float(weights @ ((heights - centre) * (logs - mean))) / spread)
        rest = logs - slope * heights
        order = np.argsort(rest, kind="stable")
        lower = rest[order][min(np.searchsorted(np.cumsum(weights[order]), _QUANTILE), len(rows) - 1)]
        line = lower + slope * np.arange(self.size.shape[0], dtype=np.float32)
        return np.exp(np.clip(line, logs.min(), logs.max())).astype(np.float32)  # type: ignore[no-any-return]


def _box_mean(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Mean over a square of 2 * reach + 1 cells a side, zeros beyond the border."""
    length, span = values.shape, 2 * reach + 1
    rows = np.zeros((length[0] + 2 * reach + 1, length[1]), np.float32)
    np.cumsum(values, axis=0, out=rows[reach + 1 : reach + 1 + length[0]])
    rows[reach + 1 + length[0] :] = rows[reach + length[0]]
    columns = np.zeros((length[0], length[1] + 2 * reach + 1), np.float32)
    np.cumsum(rows[span:] - rows[:-span], axis=1, out=columns[:, reach + 1 : reach + 1 + length[1]])
    columns[:, reach + 1 + length[1] :] = columns[:, reach + length[1], None]
    mean: NDArray[np.float32] = (columns[:, span:] - columns[:, :-span]) * np.float32(1 / span**2)
    return mean
