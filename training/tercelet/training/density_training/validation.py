"""How good a density network is: its counts, and whether its densest cells hold the objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.training.density_training.frames import LabelledFrame, read_pixels
from tercelet.training.density_training.truth import weights_without
from tercelet.training.density_training.views import View, whole_view
from tercelet.training.detectors.density_net import DensityNet

# The share of a frame's cells that a closer look would be spent on.
DENSEST = 0.1


@dataclass(frozen=True)
class DensityFigures:
    """Over whole frames, ignored parts left out.

    count_error: mean absolute difference between the sum of the map and the number of objects. objects:
    their mean number a frame, to hold it against. coverage: share of all objects that lie in the densest
    tenth of the cells of their frame (1 if there are none).
    """

    count_error: float
    objects: float
    coverage: float


def validate(
    network: DensityNet, frames: Sequence[LabelledFrame], *, height: int, width: int
) -> DensityFigures:
    """Run an eval-mode network over frames letterboxed to a canvas of this size in pixels."""
    errors, objects, covered = [], 0, 0
    for frame in frames:
        view = whole_view(read_pixels(frame), frame, height=height, width=width)
        density = density_of(network, view.canvas)
        kept = weights_without(view.ignored, rows=len(density), columns=density.shape[1], cell=network.cell)
        inside = _cell_values(kept, view, network.cell) > 0
        errors.append(abs(float((density * kept).sum(dtype=np.float64)) - int(inside.sum())))
        objects += int(inside.sum())
        covered += int((_cell_values(_densest(density * kept), view, network.cell)[inside] > 0).sum())
    return DensityFigures(
        count_error=float(np.mean(errors)),
        objects=objects / len(frames),
        coverage=covered / objects if objects else 1.0,
    )


def density_of(network: DensityNet, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w) objects a cell of a canvas (H, W, 3) uint8 BGR."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        found: NDArray[np.float32] = network(images_from_bgr(canvas[None]).to(device))[0, 0].cpu().numpy()
    return found


def images_from_bgr(canvases: NDArray[np.uint8]) -> torch.Tensor:
    """Canvases (B, H, W, 3) uint8 BGR as a density network takes them: (B, 3, H, W) float32 RGB in 0..255."""
    rgb = np.ascontiguousarray(canvases[..., ::-1].transpose(0, 3, 1, 2))
    return torch.from_numpy(rgb).to(torch.float32)


def _densest(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 for the densest tenth of the cells, 0 elsewhere; of equal ones the first."""
    chosen = np.zeros(density.size, np.float32)
    count = max(round(DENSEST * density.size), 1)
    chosen[np.argsort(-density, axis=None, kind="stable")[:count]] = 1
    return chosen.reshape(density.shape)


def _cell_values(cells: NDArray[np.float32], view: View, cell: int) -> NDArray[np.float32]:
    """(N,) the value of the cell that each object's centre lies in."""
    columns, rows = (view.centres // cell).astype(int).T
    values: NDArray[np.float32] = cells[rows.clip(0, cells.shape[0] - 1), columns.clip(0, cells.shape[1] - 1)]
    return values
