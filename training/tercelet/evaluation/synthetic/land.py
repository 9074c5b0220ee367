"""The ground of a scene: a map of materials, then colours and textures in perspective."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.synthetic.ground import Ground, Points
from tercelet.evaluation.synthetic.painting import Frame, fill_polygon
from tercelet.evaluation.synthetic.plan import Block, StreetPlan
from tercelet.evaluation.synthetic.solids import Colour

# Textures by row of `_textures`.
_SMOOTH, _ROUGH, _ROWS_U, _ROWS_V, _PAVED, _WATER, _MEADOW = range(7)
_TILE = 256
# Metres a texel of the fine and the coarse texture.
_FINE_M, _COARSE_M = 0.4, 3.0
_STRIP = 64


@dataclass(frozen=True)
class Material:
    """A mean colour BGR and a texture."""

    colour: Colour
    texture: int


ASPHALT = Material((98, 96, 95), _ROUGH)
LOT = Material((106, 103, 100), _ROUGH)
PAVEMENT = Material((140, 144, 148), _PAVED)
PAVING = Material((146, 156, 166), _PAVED)
CONCRETE = Material((148, 152, 154), _ROUGH)
GRASS = Material((66, 108, 92), _MEADOW)
LAWN = Material((60, 118, 96), _MEADOW)
VERGE = Material((72, 106, 100), _MEADOW)
EARTH = Material((96, 128, 150), _ROUGH)
WATER = Material((96, 88, 60), _WATER)
PATH = Material((140, 164, 178), _SMOOTH)
_CROPS: tuple[Colour, ...] = (
    (62, 128, 108),
    (74, 142, 140),
    (96, 164, 178),
    (88, 138, 168),
    (58, 104, 82),
    (84, 116, 138),
    (120, 176, 190),
)


class Land:
    """The map of materials of one frame, to be filled and then coloured."""

    def __init__(self, ground: Ground, base: Material = GRASS) -> None:
        self.ground = ground
        self.labels = np.zeros((ground.height, ground.width), np.uint8)
        self._materials = [base]

    def cover(self, corners: Points, material: Material) -> None:
        """Put a material onto a plan polygon (N, 2)."""
        if material not in self._materials:
            self._materials.append(material)
        image = self.ground.image_from_plan(corners)
        size = (self.ground.width, self.ground.height)
        margin = 0.15 * self.ground.width  # streets bend
        if (image.max(axis=0) > -margin).all() and (image.min(axis=0) < np.add(size, margin)).all():
            fill_polygon(self.labels, self.ground.outline(corners), self._materials.index(material))

    def coloured(self, rng: np.random.Generator) -> Frame:
        """(H, W, 3) uint8 BGR: colour of each material with its textures, brightness changing slowly."""
        height, width = self.labels.shape
        tint = rng.uniform(0.9, 1.08) * rng.uniform(0.96, 1.04, 3)
        palette = np.array([np.array(m.colour) * tint for m in self._materials], np.float32)
        kinds = np.array([m.texture for m in self._materials], np.int32) * (_TILE * _TILE)
        fine, coarse = _textures(rng)
        frame = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _STRIP):
            rows = slice(top, min(top + _STRIP, height))
            labels = self.labels[rows]
            u, v = self._straight_plan(rows)
            kind = kinds[labels]
            gain = fine[kind + _texels(u, v, _FINE_M)]
            gain += coarse[kind + _texels(u, v, _COARSE_M)]
            colours = palette[labels]
            colours *= gain[:, :, None]
            frame[rows] = colours.clip(0, 255, out=colours)
        return frame

    def _straight_plan(self, rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Plan coordinates of the pixels of some rows, streets taken as straight."""
        ground = self.ground
        ys = np.arange(rows.start, rows.stop) + 0.5
        edges = np.stack((np.zeros_like(ys), ys), axis=1)
        world = ground.world_from_image(edges)
        step = (1 / ground.scale_at(ys)).astype(np.float32)[:, None]
        x = world[:, :1].astype(np.float32) + np.arange(ground.width, dtype=np.float32) * step
        z = world[:, 1:].astype(np.float32)
        c, s = np.float32(math.cos(ground.turn)), np.float32(math.sin(ground.turn))
        u: NDArray[np.float32] = (c * x + s * z).astype(np.float32, copy=False)
        v: NDArray[np.float32] = (c * z - s * x).astype(np.float32, copy=False)
        return u, v


def _texels(u: NDArray[np.float32], v: NDArray[np.float32], metres: float) -> NDArray[np.int32]:
    """Flat index into a tile that repeats; the shift keeps the numbers above 0."""
    column = (u * np.float32(1 / metres) + np.float32(1 << 16)).astype(np.int32)
    column &= _TILE - 1
    row = (v * np.float32(1 / metres) + np.float32(1 << 16)).astype(np.int32)
    row &= _TILE - 1
    row *= _TILE
    row += column
    return row


def _textures(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors around 1 (fine) and 0 (coarse), each one row of _TILE x _TILE a texture, flat."""
    white = rng.standard_normal((_TILE, _TILE), np.float32)
    soft, cloud = _spread(white, 1), _clouds(rng, 3)
    at = np.arange(_TILE)
    furrow = np.where((at // 2) % 4 < 2, 1.0, -1.0).astype(np.float32)
    joints = np.where(at % 8 == 0, -1.0, 0.0).astype(np.float32)
    grid = np.minimum(joints[:, None], joints[None, :])
    flat = np.ones((_TILE, _TILE), np.float32)
    fine = (
        flat + 0.015 * white,
        flat + 0.035 * white + 0.02 * soft,
        flat + 0.05 * white + 0.07 * furrow[:, None],
        flat + 0.05 * white + 0.07 * furrow[None, :],
        flat + 0.02 * white + 0.1 * grid,
        flat + 0.02 * soft,
        flat + 0.06 * white + 0.06 * soft,
    )
    strength = (0.04, 0.05, 0.09, 0.09, 0.04, 0.06, 0.11)
    coarse = [np.float32(share) * cloud for share in strength]
    return np.stack(fine).astype(np.float32).ravel(), np.stack(coarse).ravel()


def _spread(values: NDArray[np.float32], passes: int) -> NDArray[np.float32]:
    """Smoothed on the torus, brought back to standard deviation 1."""
    for _ in range(passes):
        for axis in (0, 1):
            values = 2 * values + np.roll(values, 1, axis) + np.roll(values, -1, axis)
    return _normalised(values)


def _clouds(rng: np.random.Generator, octaves: int) -> NDArray[np.float32]:
    """Noise of several sizes that repeats without a seam; standard deviation 1."""
    total = np.zeros((_TILE, _TILE), np.float32)
    for octave in range(octaves):
        cell = 32 >> octave
        values = rng.standard_normal((_TILE // cell, _TILE // cell), np.float32)
        for axis in (0, 1):
            share = ((np.arange(cell, dtype=np.float32) + 0.5) / cell)[:, None]
            first = np.moveaxis(values, axis, 0)
            second = np.roll(first, -1, axis=0)
            mixed = first[:, None] * (1 - share[None]) + second[:, None] * share[None]
            joined: NDArray[np.float32] = mixed.reshape(-1, *first.shape[1:]).astype(np.float32, copy=False)
            values = np.moveaxis(joined, 0, axis)
        total += values * np.float32(0.6**octave)
    return _normalised(total)


def _normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brought to standard deviation 1."""
    scaled: NDArray[np.float32] = (values / values.std()).astype(np.float32)
    return scaled


def cover_land(rng: np.random.Generator, land: Land, plan: StreetPlan) -> None:
    """Blocks with their uses, then verges, pavements and carriageways."""
    for block in plan.blocks:
        _cover_block(rng, land, block)
    for street in plan.streets:
        side = PAVEMENT if street.lanes > 2 else VERGE
        land.cover(street.corners(street.half_width + 2.6), side)
    for street in plan.streets:
        land.cover(street.corners(street.half_width), ASPHALT)


def _cover_block(rng: np.random.Generator, land: Land, block: Block) -> None:
    if block.use == "field":
        colour = _CROPS[int(rng.integers(len(_CROPS)))]
        gain = (0.92, 1.0, 1.07)[int(rng.integers(3))]
        crop = (colour[0] * gain, colour[1] * gain, colour[2] * gain)
        land.cover(block.corners(), Material(crop, _ROWS_U if rng.random() < 0.5 else _ROWS_V))
    elif block.use == "park":
        land.cover(block.corners(), LAWN)
        middle = 0.5 * (block.corners()[0] + block.corners()[2])
        for corner in block.corners()[: 2 + int(rng.integers(3))]:
            land.cover(_band(corner, middle, 1.4), PATH)
        land.cover(_blob(rng, middle, 9.0), PATH)
    elif block.use == "lake":
        reach = 0.42 * min(block.u1 - block.u0, block.v1 - block.v0)
        middle = 0.5 * (block.corners()[0] + block.corners()[2])
        blob = _blob(rng, middle, reach)
        land.cover(middle + 1.06 * (blob - middle), EARTH)
        land.cover(blob, WATER)
    elif block.use == "square":
        land.cover(block.corners(), PAVING)
    elif block.use == "works":
        land.cover(block.corners(1.5), CONCRETE)
    elif block.use == "flats":
        land.cover(block.corners(1.0), LAWN if rng.random() < 0.5 else PAVEMENT)


def _band(start: Points, end: Points, half: float) -> Points:
    d = end - start
    side = np.array([-d[1], d[0]]) * (half / max(1e-9, math.hypot(d[0], d[1])))
    return np.array([start - side, end - side, end + side, start + side])


def _blob(rng: np.random.Generator, middle: Points, reach: float) -> Points:
    """A round outline of 40 corners with three gentle waves."""
    angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    radius = np.full(40, 0.85)
    for wave in (2, 3, 5):
        radius += 0.12 / wave * 2 * np.sin(wave * angle + rng.uniform(0, 6.28))
    ring: Points = middle + reach * radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return ring
