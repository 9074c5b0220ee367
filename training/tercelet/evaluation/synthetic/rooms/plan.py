"""Where things stand in a room: its walls, the camera, and a place for each piece that hits no other.

The frame of a plan: x along the near wall, y to the far wall, z up from the floor, metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.iou3d import pairwise_overlap_from_above
from tercelet.evaluation.synthetic.rooms.solids import Piece, Span

Rng = np.random.Generator
Wide = NDArray[np.float64]

# What stays free between two pieces, and between a piece and a wall.
_GAP, _WALL_GAP = 0.02, 0.03
_TRIES = 48
# Round the camera nothing stands, and things are wanted in this half angle and range of it.
_FREE_ROUND_CAMERA = 0.55
_HALF_VIEW = math.radians(24)
_RANGE = (1.5, 6.5)
# Nearer than this nothing higher than a desk may hide the room.
_TALL, _TALL_FROM = 1.1, 2.2
_DIRECTIONS = (math.pi / 2, -math.pi / 2, 0.0, math.pi)  # into the room, from the near, far, left, right wall


@dataclass(frozen=True)
class Standpoint:
    """The camera: x, y, height; heading: radians, 0 looks along x; pitch: downwards; roll; radians."""

    x: float
    y: float
    height: float
    heading: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Thing:
    """A piece that stands at x, y, z turned by yaw. is_furniture: one of the ten classes."""

    piece: Piece
    x: float
    y: float
    z: float
    yaw: float
    is_furniture: bool

    def box(self) -> list[float]:
        """Centre, full size, yaw."""
        dx, dy, dz = self.piece.size
        return [self.x, self.y, self.z + dz / 2, dx, dy, dz, self.yaw]


@dataclass
class Plan:
    """width (x), depth (y), height: of the room. things: placed so far."""

    rng: Rng
    width: float
    depth: float
    height: float
    camera: Standpoint
    things: list[Thing] = field(default_factory=list)

    def against_wall(self, piece: Piece, *, is_furniture: bool = True, wanted: bool = True) -> Thing | None:
        """Stand a piece with its back to a wall that is in view; None if there is no room.

        wanted: it must be seen.
        """
        wall = self.rng.integers(0, 4, _TRIES)
        along, gap = self.rng.uniform(0, 1, _TRIES), self.rng.uniform(_WALL_GAP, 0.1, _TRIES)
        turn = self.rng.normal(0, math.radians(1.0), _TRIES)
        askew = self.rng.random() < 0.15
        if askew:
            turn = self.rng.normal(0, math.radians(7), _TRIES)
        yaw = np.array(_DIRECTIONS)[wall] + turn
        back = piece.size[0] / 2 + gap + np.abs(np.sin(turn)) * piece.size[1] / 2
        x = np.select([wall == 2, wall == 3], [back, self.width - back], along * self.width)
        y = np.select([wall == 0, wall == 1], [back, self.depth - back], along * self.depth)
        return self._first_free(piece, np.stack((x, y, yaw), axis=1), is_furniture, wanted)

    def in_the_open(self, piece: Piece, *, is_furniture: bool = True, wanted: bool = True) -> Thing | None:
        """Stand a piece anywhere, mostly turned as the walls are."""
        x = self.rng.uniform(0.3, self.width - 0.3, _TRIES)
        y = self.rng.uniform(0.3, self.depth - 0.3, _TRIES)
        yaw = np.array(_DIRECTIONS)[self.rng.integers(0, 4, _TRIES)]
        yaw = yaw + self.rng.normal(0, 0.1, _TRIES)
        if self.rng.random() < 0.3:
            yaw = self.rng.uniform(-math.pi, math.pi, _TRIES)
        return self._first_free(piece, np.stack((x, y, yaw), axis=1), is_furniture, wanted)

    def beside(
        self,
        anchor: Thing,
        piece: Piece,
        *,
        ahead: Span,
        aside: Span,
        turn: Span,
        is_furniture: bool = True,
    ) -> Thing | None:
        """Stand a piece relative to another: (lowest, highest) of how far its middle lies before the other's
        and to its left, and of the turn against the other's yaw."""
        forward, left, angle = (self.rng.uniform(low, high, 16) for low, high in (ahead, aside, turn))
        cosine, sine = math.cos(anchor.yaw), math.sin(anchor.yaw)
        x, y = anchor.x + forward * cosine - left * sine, anchor.y + forward * sine + left * cosine
        return self._first_free(
            piece, np.stack((x, y, anchor.yaw + angle), axis=1), is_furniture, wanted=False
        )

    def on_top(self, anchor: Thing, piece: Piece) -> Thing | None:
        """Stand a piece on another, clear of what is there already; None where it does not fit."""
        if anchor.piece.top is None:
            return None
        high, x, y = anchor.piece.top
        half_x, half_y = piece.size[0] / 2, piece.size[1] / 2
        if x[1] - x[0] < 2 * half_x or y[1] - y[0] < 2 * half_y:
            return None
        back = piece.name in ("monitor", "television", "lamp")
        for _ in range(6):
            ahead = x[0] + half_x if back else self.rng.uniform(x[0] + half_x, x[1] - half_x)
            aside = self.rng.uniform(y[0] + half_y, y[1] - half_y)
            cosine, sine = math.cos(anchor.yaw), math.sin(anchor.yaw)
            place = (anchor.x + ahead * cosine - aside * sine, anchor.y + ahead * sine + aside * cosine)
            thing = Thing(piece, *place, anchor.z + high, anchor.yaw, is_furniture=False)
            others = [other.box() for other in self.things if abs(other.z - thing.z) < 1e-6]
            if not others or not pairwise_overlap_from_above(np.array([thing.box()]), np.array(others)).any():
                self.things.append(thing)
                return thing
        return None

    def on_wall(self, piece: Piece, *, behind: bool = False) -> Thing | None:
        """Hang a piece on a wall, clear of the others on it. behind: it may hang behind what is tall."""
        for _ in range(12):
            wall = int(self.rng.choice((1, 2, 3), p=(0.5, 0.25, 0.25)))
            length = self.width if wall < 2 else self.depth
            half = piece.size[1] / 2 + 0.05
            if length <= 2 * half:
                return None
            along, yaw = self.rng.uniform(half, length - half), _DIRECTIONS[wall]
            x, y = [(along, 0.0), (along, self.depth), (0.0, along), (self.width, along)][wall]
            box = np.array([[x, y, 1, 0.2, 2 * half, 2, yaw]])
            others = [thing.box() for thing in self.things if thing.z > 0 or thing.piece.size[0] <= 0.03]
            if not behind:
                others += [thing.box() for thing in self.things if thing.piece.size[2] > 0.85]
            if not others or not pairwise_overlap_from_above(box, np.array(others)).any():
                thing = Thing(piece, x, y, 0.0, yaw, is_furniture=False)
                self.things.append(thing)
                return thing
        return None

    def flat(self, piece: Piece) -> Thing:
        """Lay a rug before everything else stands; things may stand on it."""
        x = self.width * self.rng.uniform(0.42, 0.58)
        thing = Thing(piece, x, self.depth * self.rng.uniform(0.5, 0.6), 0.0, self.rng.normal(0, 0.05), False)
        self.things.append(thing)
        return thing

    def _first_free(self, piece: Piece, places: Wide, is_furniture: bool, wanted: bool) -> Thing | None:
        """places: (n, 3) x, y, yaw."""
        boxes = np.empty((len(places), 7))
        boxes[:, :2], boxes[:, 2], boxes[:, 6] = places[:, :2], piece.size[2] / 2, places[:, 2]
        boxes[:, 3:6] = piece.size
        boxes[:, 3:5] += _GAP
        free = self._inside(boxes) & self._spares_the_camera(boxes, piece.size[2], wanted=wanted)
        blocking = [thing.box() for thing in self.things if thing.z == 0 and thing.piece.name != "rug"
                    and thing.piece.size[0] > 0.03]  # fmt: skip
        if blocking:
            free &= ~(pairwise_overlap_from_above(boxes, np.array(blocking)) > 0).any(axis=1)
        if not free.any():
            return None
        x, y, yaw = places[int(free.argmax())].tolist()
        thing = Thing(piece, x, y, 0.0, math.remainder(yaw, 2 * math.pi), is_furniture)
        self.things.append(thing)
        return thing

    def _inside(self, boxes: Wide) -> NDArray[np.bool_]:
        cosine, sine = np.abs(np.cos(boxes[:, 6])), np.abs(np.sin(boxes[:, 6]))
        reach_x = (boxes[:, 3] * cosine + boxes[:, 4] * sine) / 2
        reach_y = (boxes[:, 3] * sine + boxes[:, 4] * cosine) / 2
        spare_x = np.minimum(boxes[:, 0], self.width - boxes[:, 0]) - reach_x
        spare_y = np.minimum(boxes[:, 1], self.depth - boxes[:, 1]) - reach_y
        inside: NDArray[np.bool_] = np.stack((spare_x, spare_y)).min(axis=0) > 0
        return inside

    def _spares_the_camera(self, boxes: Wide, height: float, *, wanted: bool) -> NDArray[np.bool_]:
        dx, dy = boxes[:, 0] - self.camera.x, boxes[:, 1] - self.camera.y
        cosine, sine = math.cos(self.camera.heading), math.sin(self.camera.heading)
        ahead, aside = dx * cosine + dy * sine, np.abs(dy * cosine - dx * sine)
        side = 2 * _FREE_ROUND_CAMERA
        zone = np.array([[self.camera.x, self.camera.y, 1, side, side, 2, self.camera.heading]])
        free: NDArray[np.bool_] = pairwise_overlap_from_above(boxes, zone)[:, 0] <= 0
        if height > _TALL:
            free &= (ahead > _TALL_FROM) | (aside > ahead * math.tan(_HALF_VIEW))
        if wanted:
            free &= (ahead > _RANGE[0]) & (ahead < _RANGE[1]) & (aside < ahead * math.tan(_HALF_VIEW))
        return free


def drawn_standpoint(rng: Rng, width: float, depth: float) -> Standpoint:
    """Near the middle of the near wall, or in one of its corners, looking across the room, a little down."""
    if rng.random() < 0.5:
        x, y = width * rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.35)
        heading = math.pi / 2 + rng.normal(0, 0.2)
    else:
        x, y = rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.4)
        heading = math.atan2(depth * rng.uniform(0.7, 0.95) - y, width * rng.uniform(0.5, 0.8) - x)
        if rng.random() < 0.5:
            x, heading = width - x, math.pi - heading
    pitch, roll = math.radians(rng.uniform(9, 24)), math.radians(rng.normal(0, 1.2))
    return Standpoint(x, y, rng.uniform(1.2, 1.7), heading, pitch, roll)
