"""People, bicycles and motorcycles as solids in metres."""

from __future__ import annotations

import math

import numpy as np

from tercelet.evaluation.synthetic.solids import Colour, Ellipsoid, Part, prism, rectangle
from tercelet.evaluation.synthetic.vehicles import paint

_SKIN: tuple[Colour, ...] = ((150, 180, 220), (110, 140, 190), (70, 95, 140))
_HAIR: tuple[Colour, ...] = ((28, 28, 30), (34, 44, 62), (60, 90, 120), (150, 150, 152))
_CLOTHES: tuple[Colour, ...] = (
    (228, 230, 232),
    (40, 40, 44),
    (52, 46, 190),
    (170, 98, 44),
    (90, 60, 44),
    (60, 190, 220),
    (96, 138, 66),
    (150, 110, 190),
    (128, 128, 126),
    (60, 120, 220),
)
_TROUSERS: tuple[Colour, ...] = ((70, 52, 40), (36, 36, 38), (110, 116, 124), (120, 92, 70), (52, 60, 72))
_RUBBER: Colour = (34, 34, 34)


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _upper_body(rng: np.random.Generator, hip: float, lean: float) -> list[Part]:
    """Torso, arms and head of somebody whose hip is `hip` metres up; lean: metres forward at the head."""
    shirt, skin, hair = _pick(rng, _CLOTHES), _pick(rng, _SKIN), _pick(rng, _HAIR)
    swing = float(rng.uniform(-0.14, 0.14))
    sleeve = shirt if rng.random() < 0.6 else skin
    shoulder = hip + 0.42
    arms: list[Part] = [
        Ellipsoid((0.6 * lean + side * swing, side * 0.25, shoulder - 0.16), (0.09, 0.08, 0.3), sleeve)
        for side in (-1.0, 1.0)
    ]
    hat = rng.random() < 0.12
    top = _pick(rng, _CLOTHES) if hat else hair
    return [
        *arms,
        Ellipsoid((0.5 * lean, 0.0, hip + 0.24), (0.15, 0.22, 0.36), shirt),
        Ellipsoid((lean + 0.03, 0.0, shoulder + 0.22), (0.12, 0.11, 0.14), skin),
        Ellipsoid((lean - 0.02, 0.0, shoulder + 0.27), (0.15 if hat else 0.125, 0.12, 0.11), top),
    ]


def pedestrian(rng: np.random.Generator) -> list[Part]:
    """Somebody who stands or walks: 1.5 to 1.85 m."""
    trousers, stride = _pick(rng, _TROUSERS), float(rng.uniform(-0.22, 0.22))
    hip = float(rng.uniform(0.78, 0.92))
    legs: list[Part] = [
        Ellipsoid((side * stride, side * 0.09, 0.5 * hip), (0.1, 0.09, 0.5 * hip), trousers)
        for side in (-1.0, 1.0)
    ]
    parts = [*legs, *_upper_body(rng, hip, 0.05)]
    if rng.random() < 0.15:  # a rucksack
        parts.insert(-2, Ellipsoid((-0.2, 0.0, hip + 0.28), (0.12, 0.16, 0.22), _pick(rng, _CLOTHES)))
    return parts


def seated(rng: np.random.Generator, *, seat: float = 0.45, lean: float = 0.02) -> list[Part]:
    """Somebody who sits, on the ground's furniture or astride; seat: metres above the ground."""
    trousers = _pick(rng, _TROUSERS)
    legs: list[Part] = []
    for side in (-1.0, 1.0):
        legs.append(Ellipsoid((0.22, side * 0.13, seat + 0.05), (0.26, 0.09, 0.1), trousers))
        legs.append(Ellipsoid((0.4, side * 0.14, 0.5 * seat), (0.08, 0.07, 0.5 * seat), trousers))
    return [*legs, *_upper_body(rng, seat, lean)]


def rider(rng: np.random.Generator) -> list[Part]:
    """Somebody astride a bicycle or a motorcycle that is drawn apart."""
    return seated(rng, seat=float(rng.uniform(0.72, 0.84)), lean=float(rng.uniform(0.08, 0.24)))


def bicycle(rng: np.random.Generator) -> list[Part]:
    """Two wheels, a frame, a saddle, handlebars: 1.75 m."""
    frame = _pick(rng, _CLOTHES) if rng.random() < 0.6 else (40.0, 200.0, 230.0)
    parts: list[Part] = [Ellipsoid((at, 0.0, 0.34), (0.34, 0.045, 0.34), _RUBBER) for at in (-0.54, 0.54)]
    beam = rectangle(-0.45, 0.48, 0.06)
    parts += prism(beam, 0.48, beam, 0.62, frame, frame)
    bars = rectangle(0.36, 0.46, 0.27)
    parts += prism(bars, 0.92, bars, 1.0, (60, 60, 60), (80, 80, 80))
    saddle = rectangle(-0.36, -0.1, 0.08)
    parts += prism(saddle, 0.84, saddle, 0.93, (36, 36, 36), (48, 48, 48))
    if rng.random() < 0.4:
        basket = rectangle(0.5, 0.8, 0.17)
        parts += prism(basket, 0.6, basket, 0.86, (100, 100, 100), (70, 70, 70))
    return parts


def motor(rng: np.random.Generator) -> list[Part]:
    """A scooter: 1.85 m, with a body between its wheels."""
    colour = paint(rng)
    parts: list[Part] = [Ellipsoid((at, 0.0, 0.28), (0.28, 0.08, 0.28), _RUBBER) for at in (-0.62, 0.64)]
    body = rectangle(-0.75, 0.05, 0.2, cut=0.06)
    parts += prism(body, 0.3, rectangle(-0.78, 0.0, 0.18, cut=0.06), 0.7, colour, colour)
    seat = rectangle(-0.72, 0.05, 0.15, cut=0.05)
    parts += prism(seat, 0.7, seat, 0.8, (34, 34, 36), (46, 46, 48))
    board = rectangle(0.05, 0.45, 0.2)
    parts += prism(board, 0.2, board, 0.32, colour, (70, 70, 70))
    shield = rectangle(0.42, 0.6, 0.22)
    parts += prism(shield, 0.25, shield, 0.98, colour, colour)
    bars = rectangle(0.4, 0.52, 0.34)
    parts += prism(bars, 1.0, bars, 1.08, (60, 60, 60), (84, 84, 84))
    return parts


def facing(rng: np.random.Generator) -> float:
    """Any heading, in rad."""
    return float(rng.uniform(-math.pi, math.pi))
