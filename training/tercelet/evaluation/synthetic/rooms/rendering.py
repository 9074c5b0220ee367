"""A ray caster for solids in a room: every solid is met by the rays of the pixels that it may cover.

Rays start at the origin; a ray's direction has length 1 along the optical axis, so that the distance along
the ray is the depth of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.synthetic.rooms.solids import Shape, Solids

Floats = NDArray[np.float32]
NEAREST = 0.05
SHELL = -1


@dataclass(frozen=True, eq=False)
class Camera:
    """width, height: pixels. focal, middle (x, y): pixels, the middle of the first pixel is 0. axes: (3, 3)
    float64, columns right, forward, up in the frame of the solids."""

    width: int
    height: int
    focal: tuple[float, float]
    middle: tuple[float, float]
    axes: NDArray[np.float64]

    def directions(self) -> Floats:
        """(3, H, W) float32."""
        right = (np.arange(self.width) - self.middle[0]) / self.focal[0]
        up = -(np.arange(self.height) - self.middle[1]) / self.focal[1]
        a = self.axes
        rows = [a[i, 0] * right[None] + a[i, 1] + a[i, 2] * up[:, None] for i in range(3)]
        return np.stack(rows).astype(np.float32)

    def pixels(self, points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(..., 3) points -> (..., 2) column and row, and (...) depth; behind the camera: nonsense."""
        local = np.asarray(points, np.float64) @ self.axes
        depth = local[..., 1]
        safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        column = self.middle[0] + self.focal[0] * local[..., 0] / safe
        row = self.middle[1] - self.focal[1] * local[..., 2] / safe
        return np.stack((column, row), axis=-1), depth


@dataclass(frozen=True, eq=False)
class Hits:
    """depth: (H, W) float32 metres along the optical axis. solids: (H, W) int16, which solid, SHELL for the
    room's floor, ceiling and walls."""

    depth: Floats
    solids: NDArray[np.int16]


def cast(solids: Solids, camera: Camera, directions: Floats, shell: tuple[Floats, Floats]) -> Hits:
    """The nearest surface of each ray. shell: (3,) lowest and highest corner of the room, origin inside."""
    depth = _leaving(directions, shell)
    found = np.full(depth.shape, SHELL, np.int16)
    windows = _windows(solids, camera)
    with np.errstate(divide="ignore", invalid="ignore"):
        for number in np.flatnonzero(
            (windows[:, 1] > windows[:, 0]) & (windows[:, 3] > windows[:, 2])
        ).tolist():
            left, right, top, bottom = windows[number].tolist()
            part = (slice(top, bottom), slice(left, right))
            distance = _entering(solids, number, directions[:, part[0], part[1]])
            nearer = (distance > NEAREST) & (distance < depth[part])
            depth[part][nearer] = distance[nearer]
            found[part][nearer] = number
    return Hits(depth, found)


def local_axes(yaw: float | Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """x and y in a frame turned by yaw."""
    cosine, sine = np.cos(yaw, dtype=np.float32), np.sin(yaw, dtype=np.float32)
    return x * cosine + y * sine, y * cosine - x * sine


def _leaving(directions: Floats, shell: tuple[Floats, Floats]) -> Floats:
    """Where rays leave the box round the room."""
    low, high = shell
    distance = np.full(directions.shape[1:], np.inf, np.float32)
    with np.errstate(divide="ignore"):
        for axis in range(3):
            step = directions[axis]
            # A ray along a wall never meets it, from whichever side of zero its step is.
            wall = np.abs(np.where(step > 0, high[axis], low[axis]) / step)
            np.minimum(distance, wall, out=distance)
    return distance


def _windows(solids: Solids, camera: Camera) -> NDArray[np.int64]:
    """(n, 4) first and end column, first and end row that a solid may cover."""
    ends = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    local = ends * solids.halves[:, None]
    cosine, sine = np.cos(solids.yaws)[:, None], np.sin(solids.yaws)[:, None]
    corners = np.stack((local[..., 0] * cosine - local[..., 1] * sine,
                        local[..., 0] * sine + local[..., 1] * cosine, local[..., 2]), axis=-1)  # fmt: skip
    pixels, depth = camera.pixels(corners + solids.centres[:, None])
    low = np.floor(pixels.min(axis=1)).clip(0, (camera.width, camera.height))
    high = (np.ceil(pixels.max(axis=1)) + 1).clip(0, (camera.width, camera.height))
    # A corner behind the camera projects anywhere.
    partly = depth.min(axis=1) < NEAREST
    low[partly], high[partly] = 0, (camera.width, camera.height)
    high[depth.max(axis=1) < NEAREST] = 0
    return np.stack((low[:, 0], high[:, 0], low[:, 1], high[:, 1]), axis=1).astype(np.int64)


def _entering(solids: Solids, number: int, directions: Floats) -> Floats:
    """(h, w) distance at which rays enter the solid, infinite for those that miss it."""
    half, centre = solids.halves[number], solids.centres[number]
    yaw = float(solids.yaws[number])
    ox, oy = local_axes(yaw, -centre[0:1], -centre[1:2])
    origin = (ox[0] / half[0], oy[0] / half[1], -centre[2] / half[2])
    x, y = local_axes(yaw, directions[0], directions[1])
    ray = (x / half[0], y / half[1], directions[2] / half[2])
    shape = solids.shapes[number]
    if shape == Shape.BOX:
        return _kept(*_slabs(origin, ray, (0, 1, 2)))
    axes = (0, 1) if shape == Shape.CYLINDER else (0, 1, 2)
    first, last = _round(origin, ray, axes)
    if shape == Shape.CYLINDER:
        enter, leave = _slabs(origin, ray, (2,))
        first, last = np.maximum(first, enter), np.minimum(last, leave)
    return _kept(first, last)


def _slabs(
    origin: tuple[np.float32, ...], ray: tuple[Floats, ...], axes: tuple[int, ...]
) -> tuple[Floats, Floats]:
    first = last = None
    for axis in axes:
        inverse = np.float32(1) / ray[axis]
        one, other = (-1 - origin[axis]) * inverse, (1 - origin[axis]) * inverse
        enter, leave = np.minimum(one, other), np.maximum(one, other)
        first = enter if first is None else np.maximum(first, enter)
        last = leave if last is None else np.minimum(last, leave)
    assert first is not None
    assert last is not None
    return first, last


def _round(
    origin: tuple[np.float32, ...], ray: tuple[Floats, ...], axes: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """Where |origin + t ray| over these axes is 1; not a number where it never is."""
    a = sum((ray[axis] * ray[axis] for axis in axes), np.float32(0))
    b = sum((ray[axis] * origin[axis] for axis in axes), np.float32(0))
    c = np.float32(sum(origin[axis] * origin[axis] for axis in axes)) - np.float32(1)
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a


def _kept(first: Floats, last: Floats) -> Floats:
    return np.where(first <= last, first, np.float32(np.inf))
