"""What the map of a view should be: one Gaussian an object, its mass in the cells that it covers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def density_from_centres(
    centres: NDArray[np.float64], *, rows: int, columns: int, cell: int, sigma: float
) -> NDArray[np.float32]:
    """(rows, columns) float32 objects a cell, whose sum is the number of centres.

    centres: (N, 2) x, y in canvas pixels, on the canvas. cell, sigma: side of a cell and standard deviation,
    in canvas pixels. The Gaussian is integrated over every cell; what would fall outside goes to the cells
    at the border.
    """
    if not len(centres):
        return np.zeros((rows, columns), np.float32)
    across = _shares(centres[:, 0], columns, cell, sigma)
    down = _shares(centres[:, 1], rows, cell, sigma)
    return (down.T @ across).astype(np.float32)


def weights_without(
    ignored: NDArray[np.float64], *, rows: int, columns: int, cell: int
) -> NDArray[np.float32]:
    """(rows, columns) 1 where a cell counts, 0 where its centre lies in an ignored part (canvas pixels)."""
    weights = np.ones((rows, columns), np.float32)
    for left, top, right, bottom in np.rint(ignored / cell).clip(min=0).astype(int):
        weights[top:bottom, left:right] = 0
    return weights


def _shares(positions: NDArray[np.float64], cells: int, cell: int, sigma: float) -> NDArray[np.float64]:
    """(N, cells) the part of each object's mass in each cell along one side; rows sum to 1."""
    borders = np.arange(cells + 1) * float(cell)
    # The outermost borders stand open, so that a row never sums to 0.
    borders[0], borders[-1] = -np.inf, np.inf
    scaled = (borders - positions[:, None]) / (sigma * np.sqrt(2.0))
    below: NDArray[np.float64] = torch.special.erf(torch.from_numpy(scaled)).numpy() / 2
    return np.diff(below, axis=1)
