"""The solids that rooms are built of, and pieces: solids that belong to one thing.

A piece has a frame of its own: x towards its front, y to its left, z up from the floor, metres; the middle of
its footprint is the origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # red, green, blue in 0..1, of the surface in white light
Span = tuple[float, float]


class Shape(IntEnum):
    """What fills a solid's box: all of it, an upright elliptic cylinder, or an ellipsoid."""

    BOX = 0
    CYLINDER = 1
    ELLIPSOID = 2


class Finish(IntEnum):
    """How a surface looks. GLOW shines by itself; depth sensors see neither it nor GLASS well."""

    PLAIN = 0
    WOOD = 1
    FABRIC = 2
    TILES = 3
    PLANKS = 4
    GLOW = 5
    GLASS = 6


@dataclass(frozen=True)
class Solid:
    """centre, size (full), yaw: as in `contract.box3d`, in the frame of whatever it belongs to."""

    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    colour: Colour
    shape: Shape = Shape.BOX
    finish: Finish = Finish.PLAIN
    yaw: float = 0.0

    def moved(self, x: float, y: float, z: float = 0.0, *, yaw: float = 0.0) -> Solid:
        """Turned by yaw about the origin, then moved."""
        cosine, sine = math.cos(yaw), math.sin(yaw)
        cx, cy, cz = self.centre
        centre = (cx * cosine - cy * sine + x, cx * sine + cy * cosine + y, cz + z)
        return replace(self, centre=centre, yaw=self.yaw + yaw)


@dataclass(frozen=True)
class Piece:
    """name: a class of SUN RGB-D or what else it is. size: full, metres: the tight box round the solids; it
    stands on z = 0 with the origin in its middle. top: height, x and y ranges on which things may stand."""

    name: str
    solids: tuple[Solid, ...]
    size: tuple[float, float, float]
    top: tuple[float, Span, Span] | None = None


def block(
    x: Span,
    y: Span,
    z: Span,
    colour: Colour,
    *,
    finish: Finish = Finish.PLAIN,
    shape: Shape = Shape.BOX,
) -> Solid:
    """The solid between these bounds."""
    low, high = np.array([x[0], y[0], z[0]]), np.array([x[1], y[1], z[1]])
    middle, size = ((low + high) / 2).tolist(), (high - low).tolist()
    return Solid((middle[0], middle[1], middle[2]), (size[0], size[1], size[2]), colour, shape, finish)


def piece(name: str, solids: Sequence[Solid], *, has_top: bool = False) -> Piece:
    """The solids as one piece, moved so that the box round them stands on the origin. has_top: whether things
    may stand on the highest solid that is wide."""
    low, high = bounds(solids)
    x, y = -(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2
    moved = tuple(solid.moved(x, y, -low[2]) for solid in solids)
    size = (high - low).tolist()
    top = None
    if has_top:
        inset = 0.04
        half_x, half_y = size[0] / 2 - inset, size[1] / 2 - inset
        top = (size[2], (-half_x, half_x), (-half_y, half_y))
    return Piece(name, moved, (size[0], size[1], size[2]), top)


def bounds(solids: Sequence[Solid]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest x, y, z of the solids, exact for boxes and for round ones that are not turned."""
    lows, highs = [], []
    for solid in solids:
        dx, dy, dz = solid.size
        cosine, sine = math.cos(solid.yaw), math.sin(solid.yaw)
        if solid.shape is Shape.BOX:
            reach = np.array([abs(dx * cosine) + abs(dy * sine), abs(dx * sine) + abs(dy * cosine), dz]) / 2
        else:
            reach = np.array([math.hypot(dx * cosine, dy * sine), math.hypot(dx * sine, dy * cosine), dz]) / 2
        centre = np.array(solid.centre)
        lows.append(centre - reach)
        highs.append(centre + reach)
    return np.min(lows, axis=0), np.max(highs, axis=0)


@dataclass(frozen=True, eq=False)
class Solids:
    """n solids of a room as arrays. centres, halves: (n, 3) float32, yaws: (n,) float32, colours: (n, 3)
    float32; shapes, finishes: (n,) uint8; owners: (n,) int16, the number of the thing each is part of."""

    centres: NDArray[np.float32]
    halves: NDArray[np.float32]
    yaws: NDArray[np.float32]
    colours: NDArray[np.float32]
    shapes: NDArray[np.uint8]
    finishes: NDArray[np.uint8]
    owners: NDArray[np.int16]

    def seen_from(self, origin: NDArray[np.float32]) -> Solids:
        """The same with `origin` (3,) as the origin."""
        return replace(self, centres=self.centres - origin)


def solids_as_arrays(solids: Sequence[Solid], owners: Sequence[int]) -> Solids:
    """One row a solid, in the order given."""
    return Solids(
        centres=np.array([s.centre for s in solids], np.float32).reshape(-1, 3),
        halves=np.array([s.size for s in solids], np.float32).reshape(-1, 3) / np.float32(2),
        yaws=np.array([s.yaw for s in solids], np.float32),
        colours=np.array([s.colour for s in solids], np.float32).reshape(-1, 3),
        shapes=np.array([s.shape for s in solids], np.uint8),
        finishes=np.array([s.finish for s in solids], np.uint8),
        owners=np.array(owners, np.int16),
    )
