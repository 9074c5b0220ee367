"""Density maps: how many objects lie in each cell of a frame, with the scale of the cells made explicit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError


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
