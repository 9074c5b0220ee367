"""The floor of a cloud: the large plane that lies across a given direction with next to nothing below it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.runtime.clouds.sampling import sampled_rows

Vector = NDArray[np.float64]

_POINTS = 4000
_SEEDS = 400
_NEIGHBOURS = 12
# How far from the plane a point of the floor may lie, in metres: noise of a depth camera at some metres.
_THICKNESS = 0.04
_BELOW = 0.10
# A floor of this share of all points, with nothing below it, is believed without reserve.
_SURE_SHARE = 0.10
_TOO_MUCH_BELOW = 0.05


@dataclass(frozen=True, eq=False)
class Floor:
    """normal: (3,) unit vector, upwards. offset: metres, normal . p = offset on the floor. confidence: 0..1,
    the share of points on it over 10 %, at most 1, less by the share below it, 0 at 5 %."""

    normal: Vector
    offset: float
    confidence: float

    def tilt_degrees(self, up: Vector) -> float:
        """The angle between the floor's normal and another direction."""
        return math.degrees(math.acos(min(1.0, max(-1.0, float(self.normal @ up)))))


def find_floor(points: NDArray[np.floating], *, up: Vector, most_tilt_degrees: float) -> Floor | None:
    """The floor of (N, 3) points in metres, its normal at most so many degrees from `up`; None without one.

    Planes through small neighbourhoods of evenly chosen points are judged by their confidence; the best is
    fitted again to all its points. The same cloud gives the same floor.
    """
    if len(points) < _NEIGHBOURS:
        return None
    some = points[sampled_rows(len(points), min(_POINTS, len(points)))].astype(np.float64)
    normals, middles = _local_planes(some)
    normals = normals * np.where(normals @ up < 0, -1.0, 1.0)[:, None]
    near = normals @ up > math.cos(math.radians(most_tilt_degrees))
    normals, middles = normals[near], middles[near]
    if not len(normals):
        return None
    offsets = np.einsum("ij,ij->i", normals, middles)
    confidence = _confidence(some @ normals.T - offsets)
    best = int(confidence.argmax())
    floor = _refined(some, Floor(normals[best], float(offsets[best]), float(confidence[best])))
    lies_across = floor.tilt_degrees(up) <= most_tilt_degrees
    return floor if floor.confidence > 0 and lies_across else None


def _local_planes(some: Vector) -> tuple[Vector, Vector]:
    """(S, 3) normals and (S, 3) middles of the neighbourhoods of evenly chosen points."""
    seeds = some[sampled_rows(len(some), min(_SEEDS, len(some)))]
    distance = (seeds**2).sum(axis=1)[:, None] + (some**2).sum(axis=1) - 2 * seeds @ some.T
    nearest = np.argpartition(distance, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
    patches = some[nearest]
    middles = patches.mean(axis=1)
    spread = patches - middles[:, None]
    _, vectors = np.linalg.eigh(spread.transpose(0, 2, 1) @ spread)
    normals: Vector = vectors[:, :, 0]
    return normals, middles


def _confidence(height: Vector) -> Vector:
    """(N, ...) heights above a plane -> (...) how much of a floor it is."""
    on = (np.abs(height) < _THICKNESS).mean(axis=0)
    below = (height < -_BELOW).mean(axis=0)
    result: Vector = np.minimum(on / _SURE_SHARE, 1.0) * np.maximum(1.0 - below / _TOO_MUCH_BELOW, 0.0)
    # Among floors that are beyond doubt the one with more points on it.
    result += on * 1e-6 * (result > 0)
    return result


def _refined(some: Vector, floor: Floor) -> Floor:
    for _ in range(4):
        on = some[np.abs(some @ floor.normal - floor.offset) < _THICKNESS]
        middle = on.mean(axis=0)
        _, vectors = np.linalg.eigh((on - middle).T @ (on - middle))
        normal = vectors[:, 0] * (1.0 if vectors[:, 0] @ floor.normal > 0 else -1.0)
        offset = float(normal @ middle)
        confidence = min(1.0, float(_confidence(some @ normal - offset)))
        floor = Floor(normal, offset, confidence)
    return floor
