"""What a structured-light depth camera makes of true depth: noise, and pixels where it sees nothing.

The noise along the ray has the standard deviation 1.2 mm + 1.9 mm (z - 0.4)^2 with z in metres, as Nguyen,
Izadi and Lovell (3DIMPVT 2012) measured a Kinect; half of its variance is shared by neighbours. Nothing is
seen where the projector, 7.5 cm to the side, is hidden (the shadows beside things), on most pixels at edges
of depth, at grazing angles, on glass and screens, nearer than 0.5 m, beyond the range, and in a few blobs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.synthetic.rooms.rendering import Floats
from tercelet.evaluation.synthetic.rooms.solids import Finish

Rng = np.random.Generator

NEAREST_M = 0.5
_BASELINE_M = 0.075
_EDGE_SHARE = 0.7
_EDGE = 0.03  # of the depth, between neighbours
_GRAZING = 0.24  # cosine below which fewer and fewer pixels see anything
_COARSE = 4


@dataclass(frozen=True)
class Sensor:
    """range_m: farthest depth. scale: of the noise. spill: share of single pixels that see nothing."""

    range_m: float
    scale: float
    spill: float


def drawn_sensor(rng: Rng) -> Sensor:
    """One camera of many."""
    return Sensor(float(rng.uniform(5.0, 7.5)), float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.002, 0.01)))


def noise_deviation(depth: Floats) -> Floats:
    """Metres, standard deviation along the optical axis at scale 1."""
    beyond = np.maximum(depth - np.float32(0.4), np.float32(0))
    deviation: Floats = np.float32(0.0012) + np.float32(0.0019) * beyond * beyond
    return deviation


def sensed(
    rng: Rng, sensor: Sensor, depth: Floats, facing: Floats, finish: NDArray[np.uint8], focal: float
) -> NDArray[np.uint16]:
    """(H, W) millimetres, 0 where nothing is seen.

    depth: (H, W) metres. facing: (H, W) cosine between the surface's normal and the view.
    """
    fine = rng.standard_normal(depth.shape, np.float32)
    noise = (fine + _smooth_noise(rng, depth.shape)) * np.float32(np.sqrt(0.5))
    measured = depth + sensor.scale * noise_deviation(depth) * noise
    lost = (depth > sensor.range_m) | (depth < NEAREST_M) | _hidden_from_projector(depth, focal)
    chance = rng.random(depth.shape, np.float32)
    lost |= _edges(depth) & (chance < _EDGE_SHARE)
    lost |= chance * np.float32(_GRAZING) > facing
    lost |= (finish == Finish.GLOW) & (chance < 0.95)
    lost |= (finish == Finish.GLASS) & (chance < 0.75)
    lost |= rng.random(depth.shape, np.float32) < sensor.spill
    lost |= _smooth_noise(rng, depth.shape, coarse=14) > 2.6
    measured[lost] = 0
    return np.round(measured * 1000).clip(0, 65535).astype(np.uint16)


def _smooth_noise(rng: Rng, shape: tuple[int, ...], coarse: int = _COARSE) -> Floats:
    """(H, W) standard normal, blended between values on a grid of every `coarse` pixels."""
    rows, columns = (side // coarse + 2 for side in shape)
    grid = rng.standard_normal((rows, columns), np.float32)
    for axis in (0, 1):
        place = np.arange(shape[axis], dtype=np.float32) / coarse
        low = place.astype(np.int64)
        part = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        # Weights whose squares add up to 1 keep the variance.
        norm = np.sqrt(part * part + (1 - part) * (1 - part))
        blended = (np.take(grid, low, axis) * (1 - part) + np.take(grid, low + 1, axis) * part) / norm
        grid = blended.astype(np.float32)
    return grid


def _hidden_from_projector(depth: Floats, focal: float) -> NDArray[np.bool_]:
    """(H, W): a pixel's column in the projector's picture must lie left of those of all pixels to its right;
    otherwise something nearer stands in the way."""
    place = np.arange(depth.shape[1], dtype=np.float32) - focal * np.float32(_BASELINE_M) / depth
    farthest = np.maximum.accumulate(place[:, ::-1] * -1, axis=1)[:, ::-1] * -1
    hidden: NDArray[np.bool_] = place > farthest + 1.0
    return hidden


def _edges(depth: Floats) -> NDArray[np.bool_]:
    """(H, W): the farther of two neighbours across a jump, and the pixel behind it."""
    found = np.zeros(depth.shape, bool)
    step = np.float32(_EDGE) * depth
    right, down = np.diff(depth, axis=1), np.diff(depth, axis=0)
    found[:, 1:] |= right > step[:, 1:]
    found[:, :-1] |= -right > step[:, :-1]
    found[1:] |= down > step[1:]
    found[:-1] |= -down > step[:-1]
    wider = found.copy()
    wider[:, 1:] |= found[:, :-1]
    wider[:, :-1] |= found[:, 1:]
    return wider
