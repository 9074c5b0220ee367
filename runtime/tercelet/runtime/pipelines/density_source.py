"""A density network beside the detector: the frame on a small canvas of its own, objects by cell out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.density import DensityMap
from tercelet.contract.errors import InputError
from tercelet.contract.geometry import Letterbox
from tercelet.contract.manifest import Manifest
from tercelet.contract.preprocess import ColorOrder, ResizeInto, fill_canvas
from tercelet.contract.session import DensitySession


class DensitySource:
    """Runs an opened density bundle on frames; owns its canvas."""

    def __init__(self, manifest: Manifest, session: DensitySession, *, resize_into: ResizeInto) -> None:
        _, self._record = manifest.density_parts()
        self._preprocess = manifest.preprocess
        _check_cell(manifest, self._record.cell)
        self._session = session
        self._resize_into = resize_into
        self._canvas = np.empty((1, manifest.preprocess.height, manifest.preprocess.width, 3), np.uint8)
        self._run = session.bind(self._canvas)

    def density_of(self, frame: NDArray[np.uint8], *, color: ColorOrder) -> DensityMap:
        """The density of a frame (H, W, 3); its values are overwritten by the next call.

        Cells of the padding around a frame of other proportions are left out; a cell that the frame's border
        cuts belongs to the frame if its middle does.
        """
        place = fill_canvas(
            self._canvas[0], frame, self._preprocess, color=color, resize_into=self._resize_into
        )
        values = self._run()[0]
        rows, columns = _cells_of(place, self._record.cell, values.shape)
        return DensityMap(values[rows, columns], frame.shape[0], frame.shape[1])

    def close(self) -> None:
        """Release the engine."""
        self._session.close()


def _check_cell(manifest: Manifest, cell: int) -> None:
    network, _ = manifest.density_parts()
    canvas = manifest.preprocess.height, manifest.preprocess.width
    shape = tuple(network.outputs[0].shape[-2:])
    if cell < 1 or (shape[0] * cell, shape[1] * cell) != canvas:
        raise InputError(
            f"manifest.json: density.cell: expected a side such that {shape[0]}x{shape[1]} cells "
            f"cover the canvas of {canvas[0]}x{canvas[1]}, got {cell}; export the density network anew"
        )


def _cells_of(place: Letterbox, cell: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of cells whose middle lies on the frame; at least one each."""
    found = []
    for start, length, count in (
        (place.top, place.height, shape[0]),
        (place.left, place.width, shape[1]),
    ):
        first = min(max(round(start / cell), 0), count - 1)
        last = min(max(round((start + length) / cell), first + 1), count)
        found.append(slice(first, last))
    return found[0], found[1]
