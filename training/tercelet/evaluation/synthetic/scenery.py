"""What stands about and is no object: trees and buildings, a few patches each, ordered by depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.synthetic.ground import LocalView, Points
from tercelet.evaluation.synthetic.painting import (
    Patch,
    Shade,
    convex_coverage,
    convex_hull,
    parallelogram_patch,
    window_of,
)
from tercelet.evaluation.synthetic.solids import Colour, Sun, projected

Corners = Sequence[tuple[float, float, float]]

_LEAVES: tuple[Colour, ...] = ((44, 92, 66), (38, 78, 58), (52, 104, 84), (44, 84, 78), (58, 98, 60))
_WALLS: tuple[Colour, ...] = (
    (196, 204, 210),
    (150, 170, 196),
    (110, 128, 170),
    (176, 178, 178),
    (150, 186, 206),
)
_TILES: tuple[Colour, ...] = ((62, 74, 140), (70, 92, 158), (84, 84, 92), (56, 62, 98), (96, 110, 132))
_METAL: tuple[Colour, ...] = (
    (158, 112, 62),
    (168, 164, 158),
    (130, 134, 132),
    (176, 160, 120),
    (70, 66, 140),
)
_FLAT: tuple[Colour, ...] = ((132, 134, 134), (112, 112, 116), (150, 154, 158), (104, 118, 128))
_GLASS = np.array((78, 66, 54), np.float32)
# Ratio between neighbouring sizes of the stock of tree crowns; smallest and largest radius in px.
_LADDER, _SMALLEST, _LARGEST = 1.22, 1.6, 110.0


@dataclass(frozen=True)
class Standing:
    """Patches from the far to the near, the ground row that orders it in depth, and its shadow's hull."""

    patches: tuple[Patch, ...]
    row: float
    shadow: Points


class Trees:
    """Tree crowns, drawn once for each size and variety and used again."""

    def __init__(self, rng: np.random.Generator, sun: Sun) -> None:
        self._seed = int(rng.integers(1 << 31))
        self._sun = sun
        self._stock: dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def tree(self, view: LocalView, *, radius: float, height: float, variety: int) -> Standing:
        """A tree of crown radius and height in metres at the view's point. variety: any number."""
        size = min(max(radius * view.scale, _SMALLEST), _LARGEST)
        step = round(math.log(size / _SMALLEST) / math.log(_LADDER))
        colour, alpha = self._crown(step, variety % 10)
        middle = max(height - radius, 0.6 * radius)
        x, y = view.x + view.up[0] * middle, view.y + view.up[1] * middle
        half = alpha.shape[0] / 2
        patch = Patch(round(x - half), round(y - half), colour, alpha)
        right, away = self._sun.shadow_of(middle)
        angles = np.linspace(0, 2 * math.pi, 12, endpoint=False).tolist()
        rim = [view.on_ground(right + radius * math.cos(a), away + radius * math.sin(a)) for a in angles]
        trunk = view.on_ground(0.0, 0.0)
        return Standing((patch,), view.y, convex_hull(np.array([*rim, trunk])))

    def _crown(self, step: int, variety: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if (step, variety) not in self._stock:
            rng = np.random.Generator(np.random.PCG64([self._seed, step, variety]))
            leaves = _LEAVES[variety % len(_LEAVES)]
            self._stock[step, variety] = _crown(rng, _SMALLEST * _LADDER**step, leaves, self._sun)
        return self._stock[step, variety]


def _crown(
    rng: np.random.Generator, radius: float, leaves: Colour, sun: Sun
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Clumps of leaves inside a circle, lighter towards the sun: colour times alpha, and alpha."""
    half = math.ceil(radius * 1.15) + 1
    at = np.arange(-half, half, dtype=np.float32) + np.float32(0.5)
    alpha, light = np.zeros((2 * half, 2 * half), np.float32), np.zeros((2 * half, 2 * half), np.float32)
    count = 3 if radius < 4 else 9 if radius < 14 else 22
    for k in range(count):
        angle, reach = rng.uniform(0, 6.283), radius * 0.72 * math.sqrt(rng.uniform(0, 1))
        size = radius * rng.uniform(0.32, 0.55) if k else radius * 0.8
        x, y = (reach * math.cos(angle), reach * math.sin(angle)) if k else (0.0, 0.0)
        dx, dy = (at - np.float32(x)) / np.float32(size), ((at - np.float32(y)) / np.float32(size))[:, None]
        cover = ((1 - np.sqrt(dx * dx + dy * dy)) * np.float32(size * 0.8) + np.float32(0.5)).clip(0, 1)
        lit = np.float32(0.8) + np.float32(0.32) * (dx * np.float32(sun.right) - dy * np.float32(sun.away))
        lit += np.float32(0.22 * (x * sun.right - y * sun.away) / radius + rng.uniform(-0.06, 0.06))
        light += (lit - light) * cover
        np.maximum(alpha, cover, out=alpha)
    grain = 1 + 0.1 * rng.standard_normal(light.shape, np.float32)
    shade = (light * grain).clip(0.35, 1.5) * alpha
    return shade[:, :, None] * np.array(leaves, np.float32), alpha


@dataclass(frozen=True)
class Building:
    """Half sides and height in metres; `gable`: how far its roof rises above the walls, 0 if flat."""

    half_length: float
    half_width: float
    height: float
    gable: float
    wall: Colour
    roof: Colour
    window_m: float

    def corners(self, *, raised: bool) -> Points:
        """(4, 3) corners of the ground, or of the upper rim of the walls, in local metres."""
        a, b, h = self.half_length, self.half_width, self.height if raised else 0.0
        return np.array([(-a, -b, h), (a, -b, h), (a, b, h), (-a, b, h)])


def house(rng: np.random.Generator) -> Building:
    """A dwelling house with a tiled roof."""
    wall, roof = _WALLS[int(rng.integers(5))], _TILES[int(rng.integers(5))]
    half = rng.uniform(4.5, 7.0)
    return Building(half, rng.uniform(3.6, 4.6), rng.uniform(3, 6), rng.uniform(1.6, 2.8), wall, roof, 2.6)


def block_of_flats(rng: np.random.Generator, half_length: float) -> Building:
    """A slab of flats with a flat roof."""
    wall, roof = _WALLS[int(rng.integers(5))], _FLAT[int(rng.integers(4))]
    return Building(half_length, rng.uniform(5.5, 7.5), rng.uniform(9, 22), 0.0, wall, roof, 3.0)


def hall(rng: np.random.Generator, half_length: float, half_width: float) -> Building:
    """A works or a warehouse with a low metal roof."""
    wall, roof = (182.0, 184.0, 184.0), _METAL[int(rng.integers(5))]
    return Building(half_length, half_width, rng.uniform(5, 9), rng.uniform(0.8, 2.0), wall, roof, 0.0)


def tall_window(building: Building, view: LocalView, heading: float) -> tuple[float, float, float, float]:
    """The image box xyxy that the whole building covers, ground included."""
    corners = np.concatenate((building.corners(raised=False), building.corners(raised=True)))
    corners[4:, 2] += building.gable
    image = projected(corners, view.matrix(heading)) + np.array([view.x, view.y])
    (x1, y1), (x2, y2) = image.min(axis=0).tolist(), image.max(axis=0).tolist()
    return x1, y1, x2, y2


def stand_building(
    rng: np.random.Generator,
    building: Building,
    view: LocalView,
    heading: float,
    sun: Sun,
    *,
    size: tuple[int, int],
) -> Standing:
    """Draw walls, then the roof. size: (height, width) of the frame, outside which nothing is drawn."""
    artist = _BuildingArtist(rng, building, view, heading, sun, size)
    patches = [*artist.walls(), *artist.roof()]
    rims = np.concatenate((building.corners(raised=False), building.corners(raised=True)))
    c, s = math.cos(heading), math.sin(heading)
    points = []
    for x, y, z in rims.tolist():
        right, away = sun.shadow_of(z)
        points.append(view.on_ground(c * x - s * y + right, s * x + c * y + away))
    return Standing(tuple(patches), view.y, convex_hull(np.array(points)))


class _BuildingArtist:
    """The patches of one building under one view."""

    def __init__(
        self,
        rng: np.random.Generator,
        building: Building,
        view: LocalView,
        heading: float,
        sun: Sun,
        size: tuple[int, int],
    ) -> None:
        self._rng, self._building, self._size = rng, building, size
        self._matrix = view.matrix(heading)
        self._origin = np.array([view.x, view.y])
        c, s = math.cos(heading), math.sin(heading)
        self._light = (c * sun.right + s * sun.away, -s * sun.right + c * sun.away, sun.up)
        (a, b, e), (d, f, g) = self._matrix.tolist()
        self._toward = (b * g - e * f, e * d - a * g, a * f - b * d)
        if self._toward[2] < 0:
            self._toward = (-self._toward[0], -self._toward[1], -self._toward[2])

    def _image(self, points: Corners) -> Points:
        image: Points = projected(np.array(points), self._matrix) + self._origin
        return image

    def _gain(self, normal: tuple[float, float, float]) -> float:
        return 0.6 + 0.5 * max(0.0, sum(n * v for n, v in zip(normal, self._light, strict=True)))

    def _sees(self, normal: tuple[float, float, float]) -> bool:
        return float(sum(n * v for n, v in zip(normal, self._toward, strict=True))) > 0

    def walls(self) -> list[Patch]:
        """The walls that can be seen, with windows, and gables."""
        b = self._building
        base = b.corners(raised=False)
        patches: list[Patch] = []
        normals = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
        for i, normal in enumerate(normals):
            if not self._sees(normal):
                continue
            p, q = base[i].tolist(), base[(i + 1) % 4].tolist()
            rim = [(p[0], p[1], 0.0), (q[0], q[1], 0.0), (p[0], p[1], b.height)]
            length = 2 * (b.half_width if i % 2 else b.half_length)
            colour = np.array(b.wall, np.float32) * np.float32(self._gain(normal))
            patches += self._quad(rim, self._wall_shade(colour, length))
            if b.gable and i % 2:
                side = 1.0 if i == 1 else -1.0
                tip = (side * b.half_length, 0.0, b.height + b.gable)
                triangle = [(p[0], p[1], b.height), (q[0], q[1], b.height), tip]
                patches += self._polygon(triangle, colour)
        return patches

    def roof(self) -> list[Patch]:
        """Two slopes, or a flat roof with a rim and machines."""
        b = self._building
        if not b.gable:
            return self._flat_roof()
        patches: list[Patch] = []
        a, w, h, top = b.half_length + 0.4, b.half_width + 0.4, b.height - 0.1, b.height + b.gable
        for side in (1.0, -1.0):
            normal = (0.0, side * b.gable, b.half_width)
            norm = math.hypot(b.gable, b.half_width)
            normal = (0.0, normal[1] / norm, normal[2] / norm)
            if not self._sees(normal):
                continue
            colour = np.array(b.roof, np.float32) * np.float32(self._gain(normal))
            corners = [(-a, side * w, h), (a, side * w, h), (-a, 0.0, top)]
            patches += self._quad(corners, self._ribbed(colour, 2 * a))
        return patches

    def _flat_roof(self) -> list[Patch]:
        b, rng = self._building, self._rng
        colour = np.array(b.roof, np.float32) * np.float32(self._gain((0.0, 0.0, 1.0)))
        h, a, w = b.height, b.half_length, b.half_width
        rim_s, rim_t = 0.4 / a, 0.4 / w

        def shade(s: NDArray[np.float32], t: NDArray[np.float32]) -> NDArray[np.float32]:
            inner = (s > rim_s) & (s < 1 - rim_s) & (t > rim_t) & (t < 1 - rim_t)
            return np.where(inner[:, :, None], colour, colour * np.float32(1.3))

        patches = self._quad([(-a, -w, h), (a, -w, h), (-a, w, h)], shade)
        for _ in range(int(rng.integers(2, 7))):
            x, y = rng.uniform(-0.8, 0.8) * a, rng.uniform(-0.6, 0.6) * w
            u, v = rng.uniform(0.6, 2.0), rng.uniform(0.6, 1.6)
            grey = np.full(3, rng.uniform(110, 200), np.float32)
            for high, shown in ((h + 0.1, grey * np.float32(0.55)), (h + 1.0, grey)):
                box = [(x - u, y - v, high), (x + u, y - v, high), (x - u, y + v, high)]
                patches += self._quad(box, _plain(shown))
        return patches

    def _wall_shade(self, colour: NDArray[np.float32], length: float) -> Shade:
        b = self._building
        if not b.window_m:
            return _plain(colour)
        across, up = max(1, round(length / b.window_m)), max(1, round(b.height / 3.0))
        fine = float(np.abs(self._matrix).max()) * b.window_m
        glass: NDArray[np.float32] = colour * np.float32(0.25) + _GLASS * np.float32(0.75)
        faint: NDArray[np.float32] = colour * np.float32(0.72) + glass * np.float32(0.28)

        def shade(s: NDArray[np.float32], t: NDArray[np.float32]) -> NDArray[np.float32]:
            if fine < 3.5:
                return faint
            x, y = s * across % 1.0, t * up % 1.0
            open_ = (x > 0.22) & (x < 0.78) & (y > 0.3) & (y < 0.82)
            shown: NDArray[np.float32] = np.where(open_[:, :, None], glass, colour)
            return shown

        return shade

    def _ribbed(self, colour: NDArray[np.float32], length: float) -> Shade:
        ribs = max(2, round(length / 1.6))
        fine = float(np.abs(self._matrix).max()) * 1.6
        depth = np.float32(0.1 if fine > 4 else 0.0)

        def shade(s: NDArray[np.float32], t: NDArray[np.float32]) -> NDArray[np.float32]:
            rib = (s * ribs % 1.0 < 0.3).astype(np.float32)
            shown: NDArray[np.float32] = colour * (1 - depth * rib)[:, :, None]
            return shown

        return shade

    def _quad(self, corners: Corners, shade: Shade) -> list[Patch]:
        p, q, r = self._image(corners)
        patch = parallelogram_patch(
            (p[0], p[1]), tuple(q - p), tuple(r - p), shade, height=self._size[0], width=self._size[1]
        )
        return [] if patch is None else [patch]

    def _polygon(self, corners: Corners, colour: NDArray[np.float32]) -> list[Patch]:
        image = self._image(corners)
        window = window_of(image, *self._size)
        if window is None:
            return []
        alpha = convex_coverage(image, window)
        return [Patch(window[0], window[1], alpha[:, :, None] * colour, alpha)]


def _plain(colour: NDArray[np.float32]) -> Shade:
    return lambda s, t: colour
