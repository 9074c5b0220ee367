"""From metres on the ground to pixels: a curved street plan, seen obliquely by a camera in the air.

Three frames. Plan (u, v): metres along the two directions of the streets. World (x, z): metres to the right
and away from the camera, turned and gently bent against the plan, so that streets curve. Image (x, y): px.

The scale in pixels a metre is linear in the image row, as it is for a plane in perspective. The ground is
foreshortened less towards the horizon than it would be (power 0.6 of the scale), so that far places stay
legible. No matrix products: their rounding differs between machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

CAR_LENGTH_M = 4.5
# Longer side of the box of a car as it usually stands, neither along a side of the frame nor seen from above.
CAR_BOX_M = 3.9
_FORESHORTENING = 0.6
# Sideways lean of a vertical line at the left and right edge, in metres a metre of height.
_LEAN = 0.28
# Rows beyond the frame for which the projection holds, as a share of the frame's height.
_ABOVE, _BELOW = 0.12, 0.4


@dataclass(frozen=True)
class LocalView:
    """The projection around one point of the ground: px a metre to the right, away and up, each (x, y)."""

    x: float
    y: float
    right: tuple[float, float]
    away: tuple[float, float]
    up: tuple[float, float]
    scale: float

    def matrix(self, heading: float) -> Points:
        """(2, 3): px a metre forward, to the left and up, for a thing that heads `heading` rad from right."""
        c, s = math.cos(heading), math.sin(heading)
        return np.array(
            [
                [c * r + s * a, -s * r + c * a, u]
                for r, a, u in zip(self.right, self.away, self.up, strict=True)
            ]
        )

    def on_ground(self, x: float, z: float) -> tuple[float, float]:
        """Image point of the world offset (x, z) in metres from here."""
        return (
            self.x + self.right[0] * x + self.away[0] * z,
            self.y + self.right[1] * x + self.away[1] * z,
        )


class Ground:
    """The projection of one scene; everything about it is fixed by the arguments.

    far, near: px a metre at the upper and lower edge. elevation: rad, at the lower edge. turn: rad, of the
    plan in the world. bend: metres by which streets swing to either side, period: metres over 2 pi.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        far: float,
        near: float,
        elevation: float,
        turn: float = 0.0,
        bend: tuple[float, float] = (0.0, 0.0),
        period: float = 200.0,
    ) -> None:
        self.height, self.width = height, width
        self.far, self.near = far, near
        self.turn, self.bend, self.period = turn, bend, period
        self._slope = (near - far) / height
        self._sine = math.sin(elevation)
        lowest = -_ABOVE * height
        if self._slope > 0:
            lowest = max(lowest, -0.5 * far / self._slope)
        self._rows = np.linspace(lowest, (1 + _BELOW) * height, 4 * height + 1)
        scale = self.scale_at(self._rows)
        step = 1.0 / (scale * self.sine_at(self._rows))
        middle = 0.5 * (step[1:] + step[:-1]) * np.diff(self._rows)
        away = np.concatenate(([0.0], np.cumsum(middle)))
        self._away = float(np.interp(height, self._rows, away)) - away

    def scale_at(self, rows: Points) -> Points:
        """Px a metre at image rows."""
        return self.far + self._slope * rows

    def sine_at(self, rows: Points) -> Points:
        """Sine of the elevation of the view at image rows: the foreshortening of the ground."""
        ratio: Points = (self.scale_at(rows) / self.near) ** _FORESHORTENING
        return self._sine * np.minimum(ratio, 1.0)

    def row_of_scale(self, scale: float) -> float:
        """The image row where a metre is `scale` px; the middle row where it is the same everywhere."""
        return (scale - self.far) / self._slope if self._slope > 1e-9 else 0.5 * self.height

    def world_from_plan(self, plan: Points) -> Points:
        """(N, 2) plan to (N, 2) world."""
        u = plan[:, 0] + self.bend[0] * np.sin(plan[:, 1] / self.period)
        v = plan[:, 1] + self.bend[1] * np.sin(plan[:, 0] / self.period)
        c, s = math.cos(self.turn), math.sin(self.turn)
        return np.stack((c * u - s * v, s * u + c * v), axis=1)

    def image_from_plan(self, plan: Points) -> Points:
        """(N, 2) plan to (N, 2) image; rows far outside the frame are held at the edge of what is known."""
        world = self.world_from_plan(plan)
        rows = np.interp(world[:, 1], self._away[::-1], self._rows[::-1])
        return np.stack((0.5 * self.width + self.scale_at(rows) * world[:, 0], rows), axis=1)

    def world_from_image(self, image: Points) -> Points:
        """(N, 2) image to (N, 2) world."""
        away = np.interp(image[:, 1], self._rows, self._away)
        return np.stack(((image[:, 0] - 0.5 * self.width) / self.scale_at(image[:, 1]), away), axis=1)

    def plan_from_image(self, image: Points) -> Points:
        """(N, 2) image to (N, 2) plan, by fixed-point iteration to below a millimetre."""
        world = self.world_from_image(image)
        c, s = math.cos(self.turn), math.sin(self.turn)
        straight = np.stack((c * world[:, 0] + s * world[:, 1], -s * world[:, 0] + c * world[:, 1]), axis=1)
        plan = straight.copy()
        for _ in range(12):
            u = straight[:, 0] - self.bend[0] * np.sin(plan[:, 1] / self.period)
            v = straight[:, 1] - self.bend[1] * np.sin(plan[:, 0] / self.period)
            plan = np.stack((u, v), axis=1)
        return plan

    def heading(self, plan: Points, *, along: int) -> float:
        """World heading in rad of the plan direction `along` (0: u, 1: v) at the one point (1, 2)."""
        step = np.array([[0.5, 0.0]]) if along == 0 else np.array([[0.0, 0.5]])
        d = self.world_from_plan(plan + step)[0] - self.world_from_plan(plan - step)[0]
        return math.atan2(d[1], d[0])

    def view_at(self, x: float, y: float) -> LocalView:
        """The projection around an image point."""
        row = np.array([y])
        scale, sine = float(self.scale_at(row)[0]), float(self.sine_at(row)[0])
        offset = x - 0.5 * self.width
        cosine = math.sqrt(max(0.0, 1.0 - sine * sine))
        return LocalView(
            x=x,
            y=y,
            right=(scale, 0.0),
            away=(-offset * self._slope * sine, -scale * sine),
            up=(scale * _LEAN * sine * offset / (0.5 * self.width), -scale * cosine),
            scale=scale,
        )

    def outline(self, corners: Points, *, step: float = 12.0) -> Points:
        """Image polygon of a plan polygon (N, 2), its edges divided into pieces of at most `step` metres."""
        pieces = []
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            count = max(1, math.ceil(float(np.abs(end - start).max()) / step))
            shares = (np.arange(count) / count)[:, None]
            pieces.append(start + (end - start) * shares)
        return self.image_from_plan(np.concatenate(pieces))
