"""What lies about in rooms and is none of the ten classes: on the floor, on furniture and on walls."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tercelet.evaluation.synthetic.rooms.palette import (
    CARDBOARD,
    CERAMIC,
    DARK,
    FABRICS,
    LEAVES,
    LINEN,
    METAL,
    PAINTED,
    VIVID,
    WOODS,
    one_of,
    shaded,
    varied,
)
from tercelet.evaluation.synthetic.rooms.solids import Finish, Piece, Shape, Solid, block, piece

Rng = np.random.Generator


def bin_(rng: Rng) -> Piece:
    """A waste paper bin."""
    half, high = rng.uniform(0.12, 0.16), rng.uniform(0.26, 0.4)
    colour = one_of(rng, VIVID + PAINTED)
    side = (-half, half)
    inner = (-half + 0.02, half - 0.02)
    return piece("bin", [block(side, side, (0, high), colour, shape=Shape.CYLINDER),
                         block(inner, inner, (high, high + 0.004), DARK, shape=Shape.CYLINDER)])  # fmt: skip


def cardboard_box(rng: Rng) -> Piece:
    """One carton, or two that stand one on the other."""
    x, y, z = rng.uniform(0.25, 0.45, 3).tolist()
    colour = varied(rng, CARDBOARD)
    side, tape = (-x / 2, x / 2), (z * 0.8, z * 0.8 + 0.002)
    solids = [
        block(side, (-y / 2, y / 2), (0, z * 0.8), colour),
        block(side, (-0.025, 0.025), tape, shaded(colour, 1.2)),
    ]
    if rng.random() < 0.4:
        upper = Solid((0, 0, z * 0.8 + 0.112), (x * 0.7, y * 0.7, 0.22), varied(rng, CARDBOARD))
        solids.append(upper.moved(0, 0, yaw=rng.uniform(-0.3, 0.3)))
    return piece("carton", solids)


def plant(rng: Rng) -> Piece:
    """A pot with leaves."""
    return _plant(rng, rng.uniform(0.13, 0.18), rng.uniform(0.7, 1.25))


def small_plant(rng: Rng) -> Piece:
    """A pot to stand on furniture."""
    return _plant(rng, 0.055, rng.uniform(0.22, 0.34))


def _plant(rng: Rng, radius: float, high: float) -> Piece:
    pot, side = high * 0.3, (-radius, radius)
    stem = (-radius * 0.12, radius * 0.12)
    solids = [
        block(side, side, (0, pot), one_of(rng, VIVID + CERAMIC), shape=Shape.CYLINDER),
        block(stem, stem, (pot, high * 0.7), shaded(LEAVES, 0.7), shape=Shape.CYLINDER),
    ]
    for _ in range(9):
        x, y = rng.uniform(-radius, radius, 2).tolist()
        wide = radius * rng.uniform(0.7, 1.1)
        leaf = Solid((x, y, rng.uniform(0.55, 0.86) * high), (wide * 1.6, wide, high * 0.26),
                     varied(rng, LEAVES, by=0.3), Shape.ELLIPSOID)  # fmt: skip
        solids.append(leaf)
    return piece("plant", solids)


def floor_lamp(rng: Rng) -> Piece:
    """A foot, a pole and a shade."""
    return _lamp(rng, 0.14, 0.19, rng.uniform(1.35, 1.65))


def table_lamp(rng: Rng) -> Piece:
    """The same to stand on furniture."""
    return _lamp(rng, 0.06, 0.1, rng.uniform(0.3, 0.42))


def _lamp(rng: Rng, foot: float, shade: float, high: float) -> Piece:
    def pillar(radius: float, low: float, top: float, colour: tuple[float, float, float]) -> Solid:
        side = (-radius, radius)
        return block(side, side, (low, top), colour, shape=Shape.CYLINDER)

    stand = one_of(rng, (DARK, METAL, *WOODS))
    low = high - 1.7 * shade
    cloth = varied(rng, (0.93, 0.88, 0.74))
    return piece(
        "lamp",
        [pillar(foot, 0, 0.025, stand), pillar(0.014, 0.025, low, stand), pillar(shade, low, high, cloth)],
    )


def bag(rng: Rng) -> Piece:
    """A rucksack."""
    colour = one_of(rng, FABRICS + VIVID)
    return piece("bag", [block((-0.13, 0.13), (-0.17, 0.17), (0, 0.46), colour, shape=Shape.ELLIPSOID),
                         block((0.03, 0.16), (-0.12, 0.12), (0.03, 0.24), shaded(colour, 0.85),
                               shape=Shape.ELLIPSOID)])  # fmt: skip


def basin(rng: Rng) -> Piece:
    """A wash basin on a pillar, with its back at -x."""
    white = one_of(rng, CERAMIC)
    high = rng.uniform(0.82, 0.88)
    return piece("basin", [block((-0.22, 0.02), (-0.09, 0.09), (0, high - 0.16), white),
                           block((-0.23, 0.23), (-0.28, 0.28), (high - 0.17, high - 0.05), white,
                                 shape=Shape.ELLIPSOID),
                           block((-0.23, 0.22), (-0.28, 0.28), (high - 0.11, high), white),
                           block((-0.08, 0.17), (-0.2, 0.2), (high, high + 0.003), shaded(white, 0.72),
                                 shape=Shape.CYLINDER),
                           block((-0.2, -0.17), (-0.015, 0.015), (high, high + 0.13), METAL)])  # fmt: skip


def monitor(rng: Rng) -> Piece:
    """A screen on a foot, and a keyboard before it."""
    wide = rng.uniform(0.24, 0.31)
    solids = [
        block((-0.09, 0.07), (-0.11, 0.11), (0, 0.012), DARK),
        block((-0.05, -0.02), (-0.03, 0.03), (0, 0.2), DARK),
        block((-0.02, 0.012), (-wide, wide), (0.1, 0.1 + wide * 1.2), DARK),
        block((0.012, 0.014), (-wide + 0.015, wide - 0.015), (0.115, 0.085 + wide * 1.2), (0.10, 0.13, 0.18),
              finish=Finish.GLASS),
        block((0.14, 0.26), (-0.2, 0.2), (0, 0.018), shaded(DARK, 1.6)),
    ]  # fmt: skip
    return piece("monitor", solids)


def television(rng: Rng) -> Piece:
    """A wide screen on a foot."""
    wide = rng.uniform(0.35, 0.5)
    solids = [
        block((-0.1, 0.1), (-0.2, 0.2), (0, 0.015), DARK),
        block((-0.02, 0.02), (-0.04, 0.04), (0, 0.1), DARK),
        block((-0.025, 0.015), (-wide, wide), (0.06, 0.06 + wide * 1.15), DARK),
        block((0.015, 0.017), (-wide + 0.012, wide - 0.012), (0.075, 0.045 + wide * 1.15), (0.06, 0.07, 0.09),
              finish=Finish.GLASS),
    ]  # fmt: skip
    return piece("television", solids)


def books(rng: Rng) -> Piece:
    """A pile of two to four."""
    solids, low = [], 0.0
    for _ in range(int(rng.integers(2, 5))):
        high = rng.uniform(0.02, 0.045)
        solid = Solid((0, 0, low + high / 2), (rng.uniform(0.14, 0.2), rng.uniform(0.2, 0.26), high),
                      one_of(rng, VIVID))  # fmt: skip
        solids.append(solid.moved(0, 0, yaw=rng.uniform(-0.35, 0.35)))
        low += high
    return piece("books", solids)


def cup(rng: Rng) -> Piece:
    """A cup or a glass."""
    side = (-0.04, 0.04)
    return piece("cup", [block(side, side, (0, 0.1), one_of(rng, VIVID + CERAMIC), shape=Shape.CYLINDER)])


def laptop(rng: Rng) -> Piece:
    """Open, its screen at -x."""
    grey = varied(rng, METAL)
    return piece("laptop", [block((-0.11, 0.12), (-0.17, 0.17), (0, 0.018), grey),
                            block((-0.11, -0.1), (-0.17, 0.17), (0.018, 0.235), grey),
                            block((-0.1, -0.098), (-0.155, 0.155), (0.03, 0.225), (0.12, 0.16, 0.22),
                                  finish=Finish.GLASS)])  # fmt: skip


def rug(rng: Rng, half_x: float, half_y: float) -> Piece:
    """A rug with a border, 8 mm thick."""
    colour, border = one_of(rng, FABRICS + LINEN), one_of(rng, FABRICS)
    x, y = (-half_x, half_x), (-half_y, half_y)
    inner = ((-half_x + 0.12, half_x - 0.12), (-half_y + 0.12, half_y - 0.12))
    return piece("rug", [block(x, y, (0, 0.007), border, finish=Finish.FABRIC),
                         block(*inner, (0, 0.008), colour, finish=Finish.FABRIC)])  # fmt: skip


def window(rng: Rng) -> Piece:
    """Its back at -x on the wall, its sill 0.9 m above z = 0: a frame, bright panes, sometimes curtains."""
    wide, low, high = rng.uniform(0.45, 0.8), 0.9, rng.uniform(1.9, 2.15)
    white, x = varied(rng, (0.92, 0.92, 0.91), by=0.03), (0.0, 0.02)
    solids = [block((0.0, 0.012), (-wide, wide), (low, high), (0.80, 0.88, 0.96), finish=Finish.GLOW)]
    for y in (-wide, -0.03, wide - 0.06):
        solids.append(block(x, (y, y + 0.06), (low, high), white))
    for z in (low, high - 0.06):
        solids.append(block(x, (-wide, wide), (z, z + 0.06), white))
    if rng.random() < 0.6:
        cloth = one_of(rng, LINEN + FABRICS)
        for y in (-wide - 0.12, wide - 0.12):
            for fold in range(4):
                left = y + fold * 0.06
                shade, span = shaded(cloth, 1.0 - 0.09 * (fold % 2)), (low - 0.25, high + 0.1)
                solids.append(block(x, (left, left + 0.06), span, shade, finish=Finish.FABRIC))
    return piece_on_wall("window", solids)


def door(rng: Rng) -> Piece:
    """A closed door in its frame."""
    leaf, frame = one_of(rng, (*WOODS, (0.88, 0.87, 0.84))), varied(rng, (0.86, 0.85, 0.82))
    solids = [
        block((0, 0.018), (-0.48, 0.48), (0, 2.06), frame),
        block((0, 0.022), (-0.42, 0.42), (0, 2.0), leaf, finish=Finish.WOOD),
        block((0, 0.028), (-0.28, 0.28), (1.1, 1.8), shaded(leaf, 0.92), finish=Finish.WOOD),
        block((0, 0.028), (-0.28, 0.28), (0.25, 0.9), shaded(leaf, 0.92), finish=Finish.WOOD),
        block((0, 0.06), (0.32, 0.38), (1.0, 1.03), METAL),
    ]
    return piece_on_wall("door", solids)


def picture(rng: Rng) -> Piece:
    """Framed, at the height of one's eyes."""
    wide, high = rng.uniform(0.15, 0.45), rng.uniform(0.15, 0.32)
    middle = rng.uniform(1.5, 1.75)
    frame, paper, blot = one_of(rng, (*WOODS, DARK)), one_of(rng, LINEN), one_of(rng, VIVID)
    solids = [
        block((0, 0.014), (-wide, wide), (middle - high, middle + high), frame),
        block((0, 0.015), (-wide + 0.03, wide - 0.03), (middle - high + 0.03, middle + high - 0.03), paper),
        block((0, 0.016), (-wide * 0.6, wide * 0.1), (middle - high * 0.5, middle + high * 0.4), blot),
        block((0, 0.0165), (-wide * 0.1, wide * 0.6), (middle - high * 0.6, middle), one_of(rng, VIVID)),
    ]
    return piece_on_wall("picture", solids)


def piece_on_wall(name: str, solids: list[Solid]) -> Piece:
    """A piece that keeps its height above the floor and its back on x = 0."""
    high = max(solid.centre[2] + solid.size[2] / 2 for solid in solids)
    wide = max(abs(solid.centre[1]) + solid.size[1] / 2 for solid in solids)
    return Piece(name, tuple(solids), (0.03, 2 * wide, high))


def turned_by_chance(rng: Rng) -> float:
    """Radians."""
    return float(rng.uniform(-math.pi, math.pi))


ON_FLOOR: tuple[Callable[[Rng], Piece], ...] = (bin_, cardboard_box, plant, floor_lamp, bag)
ON_DESK: tuple[Callable[[Rng], Piece], ...] = (monitor, laptop, books, cup, table_lamp)
ON_TABLE: tuple[Callable[[Rng], Piece], ...] = (cup, books, small_plant, cup, laptop)
ON_CHEST: tuple[Callable[[Rng], Piece], ...] = (television, table_lamp, books, small_plant)
ON_NIGHT_STAND: tuple[Callable[[Rng], Piece], ...] = (table_lamp, books, cup)
