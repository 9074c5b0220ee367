"""Furniture to lie and sit on: bed, sofa, chair, toilet, and the bathtub."""

from __future__ import annotations

import math

import numpy as np

from tercelet.evaluation.synthetic.rooms.palette import (
    CERAMIC,
    DARK,
    FABRICS,
    LINEN,
    METAL,
    PAINTED,
    WOODS,
    one_of,
    shaded,
    varied,
)
from tercelet.evaluation.synthetic.rooms.sizes import drawn_size
from tercelet.evaluation.synthetic.rooms.solids import Colour, Finish, Piece, Shape, Solid, block, piece

Rng = np.random.Generator


def bed(rng: Rng) -> Piece:
    """Head at -x with a headboard up to the full height; frame, mattress, cover, one or two pillows."""
    length, width, height = drawn_size(rng, "bed")
    wood, linen, cover = one_of(rng, WOODS), one_of(rng, LINEN), one_of(rng, LINEN + FABRICS)
    lie = min(rng.uniform(0.45, 0.62), height - 0.15)
    low = lie - rng.uniform(0.18, 0.26)
    x0, x1, y0, y1 = -length / 2, length / 2, -width / 2, width / 2
    solids = [
        block((x0, x0 + 0.06), (y0, y1), (0, height), wood, finish=Finish.WOOD),
        block((x0 + 0.06, x1), (y0, y1), (0.06, low), wood, finish=Finish.WOOD),
        block((x0 + 0.06, x1 - 0.02), (y0 + 0.03, y1 - 0.03), (low, lie), linen, finish=Finish.FABRIC),
    ]
    fold = x0 + length * rng.uniform(0.28, 0.5)
    solids.append(
        block((fold, x1), (y0, y1), (low * rng.uniform(0.6, 1), lie + 0.035), cover, finish=Finish.FABRIC)
    )
    solids += [block((x, x + 0.06), (y, y + 0.06), (0, 0.06), wood)
               for x in (x0 + 0.06, x1 - 0.06) for y in (y0, y1 - 0.06)]  # fmt: skip
    pillows = 2 if width > 1.35 else 1
    for index in range(pillows):
        middle = y0 + width * (index + 0.5) / pillows
        half = min(0.34, width / pillows / 2 - 0.06)
        span = (x0 + 0.10, x0 + 0.52)
        soft = (lie - 0.04, lie + 0.13)
        solids.append(
            block(span, (middle - half, middle + half), soft, varied(rng, (0.92, 0.91, 0.88)),
                  finish=Finish.FABRIC, shape=Shape.ELLIPSOID)
        )  # fmt: skip
    return piece("bed", solids)


def sofa(rng: Rng) -> Piece:
    """Back at -x; plinth, back, two arms, and two or three cushions to sit on and to lean against."""
    depth, width, height = drawn_size(rng, "sofa")
    colour = one_of(rng, FABRICS)
    seat, arm, back = rng.uniform(0.38, 0.46), rng.uniform(0.12, 0.24), rng.uniform(0.16, 0.26)
    rest = min(seat + rng.uniform(0.14, 0.26), height - 0.05)
    x0, x1, y0, y1 = -depth / 2, depth / 2, -width / 2, width / 2
    fabric = Finish.FABRIC
    solids = [
        block((x0, x1 - 0.02), (y0, y1), (0.07, seat - 0.14), shaded(colour, 0.9), finish=fabric),
        block((x0, x0 + back), (y0, y1), (0.07, height - 0.06), colour, finish=fabric),
        block((x0, x1), (y0, y0 + arm), (0.07, rest), colour, finish=fabric),
        block((x0, x1), (y1 - arm, y1), (0.07, rest), colour, finish=fabric),
    ]
    solids += _feet(x0, x1, y0, y1, DARK)
    count = 3 if width > 1.75 else 2
    inner = (width - 2 * arm) / count
    for index in range(count):
        side = (y0 + arm + inner * index + 0.008, y0 + arm + inner * (index + 1) - 0.008)
        tint = varied(rng, shaded(colour, 1.07), by=0.03)
        solids.append(block((x0 + back, x1 - 0.01), side, (seat - 0.14, seat), tint, finish=fabric))
        solids.append(block((x0 + back, x0 + back + 0.15), side, (seat, height), tint, finish=fabric))
    if rng.random() < 0.6:
        tint, place = one_of(rng, FABRICS + LINEN), rng.choice((y0 + arm + 0.22, y1 - arm - 0.22))
        lean = (x0 + back + 0.13, x0 + back + 0.31)
        solids.append(block(lean, (place - 0.2, place + 0.2), (seat, min(seat + 0.36, height)), tint,
                            finish=fabric, shape=Shape.ELLIPSOID))  # fmt: skip
    return piece("sofa", solids)


def _feet(x0: float, x1: float, y0: float, y1: float, colour: Colour) -> list[Solid]:
    return [block((x, x + 0.05), (y, y + 0.05), (0, 0.07), colour)
            for x in (x0 + 0.03, x1 - 0.08) for y in (y0 + 0.03, y1 - 0.08)]  # fmt: skip


def chair(rng: Rng) -> Piece:
    """Back at -x: on four legs, or an office chair on a star."""
    return _office_chair(rng) if rng.random() < 0.35 else _plain_chair(rng)


def _plain_chair(rng: Rng) -> Piece:
    depth, width, height = drawn_size(rng, "chair")
    wood = one_of(rng, WOODS + PAINTED)
    soft = one_of(rng, FABRICS) if rng.random() < 0.5 else wood
    seat, leg = rng.uniform(0.42, 0.48), rng.uniform(0.03, 0.045)
    x0, x1, y0, y1 = -depth / 2, depth / 2, -width / 2, width / 2
    solids = [
        block((x, x + leg), (y, y + leg), (0, high), wood, finish=Finish.WOOD)
        for x, high in ((x0, height), (x1 - leg, seat - 0.04))
        for y in (y0, y1 - leg)
    ]
    solids.append(block((x0, x1), (y0, y1), (seat - 0.05, seat), soft, finish=Finish.FABRIC))
    if rng.random() < 0.5:
        solids.append(block((x0, x0 + 0.035), (y0, y1), (seat + 0.1, height), soft, finish=Finish.FABRIC))
    else:
        for low in np.linspace(seat + 0.12, height - 0.1, int(rng.integers(2, 4))):
            solids.append(block((x0 + 0.005, x0 + 0.03), (y0, y1), (low, low + 0.09), wood))
    if rng.random() < 0.3:
        for y in (y0, y1 - leg):
            solids.append(block((x0, x1 - 0.05), (y, y + leg), (seat + 0.19, seat + 0.23), wood))
            solids.append(block((x1 - 0.09, x1 - 0.05), (y, y + leg), (seat, seat + 0.2), wood))
    return piece("chair", solids)


def _office_chair(rng: Rng) -> Piece:
    depth, width, height = drawn_size(rng, "chair")
    height = max(height, 0.82)
    colour = one_of(rng, (*FABRICS, DARK))
    seat = rng.uniform(0.44, 0.52)
    x0, y0 = -depth / 2, -width / 2
    solids = [
        Solid((0, 0, 0.27), (0.06, 0.06, 0.34), METAL, Shape.CYLINDER),
        block((x0 + 0.05, -x0), (y0 + 0.04, -y0 - 0.04), (seat - 0.08, seat), colour, finish=Finish.FABRIC),
        block((x0, x0 + 0.07), (y0 + 0.06, -y0 - 0.06), (seat + 0.1, height), colour, finish=Finish.FABRIC),
        block((x0 + 0.02, x0 + 0.05), (-0.04, 0.04), (seat - 0.06, seat + 0.12), DARK),
    ]
    reach = min(depth, width) / 2 - 0.02
    for angle in np.arange(5) * (2 * math.pi / 5) + rng.uniform(0, 1.2):
        leg = Solid((reach / 2, 0, 0.085), (reach, 0.045, 0.04), DARK)
        solids.append(leg.moved(0, 0, yaw=float(angle)))
        caster = Solid((reach - 0.03, 0, 0.035), (0.05, 0.05, 0.07), DARK, Shape.ELLIPSOID)
        solids.append(caster.moved(0, 0, yaw=float(angle)))
    if rng.random() < 0.65:
        for y in (y0, -y0 - 0.05):
            solids.append(block((-0.16, 0.14), (y, y + 0.05), (seat + 0.2, seat + 0.235), DARK))
            solids.append(block((-0.03, 0.02), (y, y + 0.05), (seat - 0.04, seat + 0.2), DARK))
    return piece("chair", solids)


def toilet(rng: Rng) -> Piece:
    """Cistern at -x; foot, bowl and lid in front of it."""
    depth, width, height = drawn_size(rng, "toilet")
    white = one_of(rng, CERAMIC)
    rim, tank = rng.uniform(0.38, 0.43), rng.uniform(0.17, 0.21)
    x0, x1, half = -depth / 2, depth / 2, width / 2
    round_half = min(half, 0.2)
    solids = [
        block((x0, x0 + tank), (-half, half), (rim - 0.03, height - 0.025), white),
        block((x0, x0 + tank + 0.015), (-half, half), (height - 0.03, height), shaded(white, 0.96)),
        block((x0 + 0.04, x1 - 0.16), (-0.11, 0.11), (0, rim - 0.1), white),
        block((x0 + tank - 0.08, x1), (-round_half, round_half), (rim - 0.19, rim), white,
              shape=Shape.CYLINDER),
        block((x0 + tank - 0.04, x1 - 0.03), (-0.12, 0.12), (0.08, rim - 0.1), white, shape=Shape.CYLINDER),
        block((x0 + 0.02, x1 - 0.2), (-0.13, 0.13), (rim - 0.12, rim), white),
        block((x0 + tank + 0.01, x1 - 0.005), (-round_half + 0.005, round_half - 0.005), (rim, rim + 0.03),
              shaded(white, 0.93), shape=Shape.CYLINDER),
    ]  # fmt: skip
    if rng.random() < 0.5:
        lid = (rim + 0.03, min(rim + 0.36, height - 0.04))
        solids.append(block((x0 + tank + 0.015, x0 + tank + 0.04), (-0.17, 0.17), lid, white))
    return piece("toilet", solids)


def bathtub(rng: Rng) -> Piece:
    """Hollow, long along y: floor, four walls with a rim, and the mixer on one end."""
    depth, width, height = drawn_size(rng, "bathtub")
    white = one_of(rng, CERAMIC)
    apron = white if rng.random() < 0.6 else one_of(rng, PAINTED + LINEN)
    x0, x1, y0, y1 = -depth / 2, depth / 2, -width / 2, width / 2
    wall, rim, deep = 0.06, 0.03, rng.uniform(0.1, 0.16)
    inside = shaded(white, 0.95)
    solids = [
        block((x0, x1), (y0, y1), (0, deep), inside),
        block((x0, x0 + wall), (y0, y1), (deep, height - rim), inside),
        block((x1 - wall, x1 - 0.01), (y0, y1), (deep, height - rim), inside),
        block((x1 - 0.015, x1 - 0.005), (y0, y1), (0, height - rim), apron),
        block((x0, x1), (y0, y0 + wall + 0.04), (deep, height - rim), inside),
        block((x0, x1), (y1 - wall - 0.04, y1), (deep, height - rim), inside),
        block((x0, x1), (y0, y0 + wall + 0.06), (height - rim, height), white),
        block((x0, x1), (y1 - wall - 0.06, y1), (height - rim, height), white),
        block((x0, x0 + wall + 0.02), (y0, y1), (height - rim, height), white),
        block((x1 - wall - 0.02, x1), (y0, y1), (height - rim, height), white),
        block((-0.02, 0.02), (y0 + wall + 0.04, y0 + wall + 0.14), (height - 0.12, height - 0.07), METAL),
    ]
    return piece("bathtub", solids)
