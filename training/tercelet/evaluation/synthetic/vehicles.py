"""Vehicles as solids in metres: car, van, truck, bus, tricycles; most of them white, black or grey."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tercelet.evaluation.synthetic.solids import Colour, Face, Part, pane, prism, rectangle

Builder = Callable[[np.random.Generator], list[Part]]

_GLASS: Colour = (62, 50, 40)
_TYRE: Colour = (28, 27, 26)
_LAMP: Colour = (235, 240, 245)
_REAR: Colour = (30, 25, 175)
# BGR and how often; white, black, silver and grey are three quarters of all cars.
_PAINTS: tuple[tuple[Colour, float], ...] = (
    ((232, 233, 234), 0.27),
    ((38, 36, 35), 0.19),
    ((186, 186, 182), 0.15),
    ((112, 112, 110), 0.13),
    ((38, 32, 158), 0.08),
    ((134, 74, 34), 0.07),
    ((92, 60, 42), 0.03),
    ((176, 154, 58), 0.03),
    ((44, 176, 214), 0.02),
    ((84, 116, 150), 0.02),
    ((62, 92, 42), 0.01),
)


def paint(rng: np.random.Generator) -> Colour:
    """A colour of car, varied a little."""
    ends = np.cumsum([share for _, share in _PAINTS])
    colour = _PAINTS[int(np.searchsorted(ends[:-1], rng.random() * ends[-1], side="right"))][0]
    gain = rng.uniform(0.88, 1.06)
    b, g, r = (float(np.clip(channel * gain + rng.uniform(-5, 5), 0, 255)) for channel in colour)
    return b, g, r


def _dimmed(colour: Colour, gain: float) -> Colour:
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


def _wheels(back: float, front: float, half_width: float, radius: float) -> list[Part]:
    """Dark slabs below the body, a little proud of its sides."""
    parts: list[Part] = []
    for middle in (back, front):
        ring = rectangle(middle - radius, middle + radius, half_width)
        parts += prism(ring, 0.0, ring, 2 * radius, _TYRE, _TYRE)
    return parts


def _cabin(
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    heights: tuple[float, float],
    roof: Colour,
) -> list[Face]:
    """Glass on all four sides with posts of the roof's colour; low, high: back, front, half width."""
    body = _dimmed(roof, 0.9)
    faces = prism(
        rectangle(low[0], low[1], low[2]),
        heights[0],
        rectangle(high[0], high[1], high[2]),
        heights[1],
        body,
        roof,
    )
    out = []
    for number, face in enumerate(faces[:4]):
        out.append(face)
        if number % 2:  # windscreen, rear window
            out.append(pane(face, (0.08, 0.92), (0.08, 0.95), _GLASS))
        else:
            out.append(pane(face, (0.1, 0.48), (0.12, 0.88), _GLASS))
            out.append(pane(face, (0.53, 0.9), (0.12, 0.88), _GLASS))
    return [*out, faces[4]]


def _ends(body: list[Face]) -> list[Face]:
    """Lamps on the front and the back of an eight-cornered body (faces 2 and 6)."""
    front, back = body[2], body[6]
    return [
        pane(front, (0.0, 0.26), (0.45, 0.85), _LAMP),
        pane(front, (0.74, 1.0), (0.45, 0.85), _LAMP),
        pane(front, (0.3, 0.7), (0.2, 0.6), (40, 40, 40)),
        pane(back, (0.0, 0.25), (0.5, 0.9), _REAR),
        pane(back, (0.75, 1.0), (0.5, 0.9), _REAR),
    ]


def car(rng: np.random.Generator) -> list[Part]:
    """A saloon, a hatchback or an estate: 3.9 to 4.8 m."""
    half = rng.uniform(1.95, 2.4)
    wide, tall = rng.uniform(0.86, 0.95), rng.uniform(1.4, 1.66)
    colour = paint(rng)
    waist = 0.6 * tall
    back, front = -half, half
    hull = rectangle(back, front, wide, cut=0.22)
    deck = rectangle(back + 0.1, front - 0.16, wide - 0.07, cut=0.24)
    body = prism(hull, 0.24, deck, waist, colour, colour)
    kind = rng.random()
    rear = back + (0.75 if kind < 0.5 else 0.2)
    roof_rear = rear + (0.6 if kind < 0.5 else 0.3)
    roof = (
        (30.0, 29.0, 28.0) if rng.random() < 0.08 else _dimmed(colour, 1.04)
    )  # some roofs are all glass or black
    cabin = _cabin(
        (rear, front - 1.15, wide - 0.1),
        (roof_rear, front - 1.95, wide - 0.26),
        (waist, tall),
        roof,
    )
    seam = _dimmed(colour, 0.72)
    lid = Face(
        np.array(
            [
                (front - 1.12, -wide + 0.2, waist),
                (front - 1.02, -wide + 0.24, waist),
                (front - 1.02, wide - 0.24, waist),
                (front - 1.12, wide - 0.2, waist),
            ]
        ),
        seam,
    )
    wheels = _wheels(back + 0.75, front - 0.8, wide + 0.01, 0.31)
    return [*wheels, *body[:-1], *_ends(body), body[-1], lid, *cabin]


def van(rng: np.random.Generator) -> list[Part]:
    """A minibus or a delivery van: 4.6 to 5.6 m, one volume with a sloping nose."""
    half, wide, tall = rng.uniform(2.3, 2.8), rng.uniform(0.95, 1.03), rng.uniform(1.9, 2.3)
    colour = (228.0, 230.0, 232.0) if rng.random() < 0.55 else paint(rng)
    back, front = -half, half
    body = prism(
        rectangle(back, front, wide, cut=0.16),
        0.28,
        rectangle(back + 0.04, front - 0.1, wide - 0.04, cut=0.18),
        1.05,
        colour,
        colour,
    )
    cabin = _cabin(
        (back + 0.06, front - 0.55, wide - 0.05),
        (back + 0.12, front - 1.35, wide - 0.16),
        (1.05, tall),
        _dimmed(colour, 1.03),
    )
    if rng.random() < 0.5:  # no windows at the back of a delivery van
        cabin = [face for n, face in enumerate(cabin) if n not in (1, 7)]
    ribs: list[Part] = []
    for at in np.linspace(back + 0.6, front - 1.8, 4).tolist():
        strip = [(at, -wide + 0.3, tall), (at + 0.1, -wide + 0.3, tall)]
        strip += [(at + 0.1, wide - 0.3, tall), (at, wide - 0.3, tall)]
        ribs.append(Face(np.array(strip), _dimmed(colour, 0.86)))
    wheels = _wheels(back + 0.85, front - 0.9, wide + 0.01, 0.33)
    return [*wheels, *body[:-1], *_ends(body), body[-1], *cabin, *ribs]


def truck(rng: np.random.Generator) -> list[Part]:
    """A lorry with a box, a tarpaulin or an open bed: 6.5 to 9.5 m."""
    half, wide = rng.uniform(3.2, 4.75), rng.uniform(1.12, 1.25)
    back, front = -half, half
    cab_colour, split = paint(rng), front - 1.9
    frame = rectangle(back, front, wide - 0.2)
    parts: list[Part] = [
        *_wheels(back + 1.2, front - 1.1, wide, 0.46),
        *prism(frame, 0.5, frame, 0.95, (46, 46, 46), (58, 58, 58)),
    ]
    cab = prism(
        rectangle(split, front, wide, cut=0.12),
        0.6,
        rectangle(split, front - 0.25, wide - 0.06, cut=0.12),
        2.55,
        cab_colour,
        _dimmed(cab_colour, 1.04),
    )
    glass = [
        pane(cab[2], (0.05, 0.95), (0.5, 0.88), _GLASS),
        pane(cab[0], (0.35, 0.85), (0.52, 0.85), _GLASS),
        pane(cab[4], (0.15, 0.65), (0.52, 0.85), _GLASS),
    ]
    load = rectangle(back, split - 0.25, wide)
    if rng.random() < 0.65:
        colour = (222.0, 224.0, 224.0) if rng.random() < 0.5 else paint(rng)
        high = rng.uniform(2.6, 3.3)
        box = prism(load, 0.95, load, high, _dimmed(colour, 0.95), colour)
    else:
        side = paint(rng)
        cargo: Colour = ((98, 128, 148), (70, 84, 96), (120, 120, 118))[int(rng.integers(3))]
        box = prism(load, 0.95, load, 1.65, side, _dimmed(side, 0.8))
        inner = rectangle(back + 0.12, split - 0.37, wide - 0.12)
        box.append(Face(np.array([(*point, 1.66) for point in inner]), cargo))
    # What is nearer to the viewer is not known here: the box is higher, so it comes last.
    return [*parts, *cab, *glass, *box]


def bus(rng: np.random.Generator) -> list[Part]:
    """A city bus: 9.5 to 12 m, with a row of windows and machines on its roof."""
    half, wide, tall = rng.uniform(4.75, 6.0), 1.26, rng.uniform(2.9, 3.2)
    colour: Colour = ((46, 44, 172), (210, 212, 214), (172, 106, 34), (70, 130, 60), (40, 170, 220))[
        int(rng.integers(5))
    ]
    roof = (224.0, 226.0, 226.0) if rng.random() < 0.6 else _dimmed(colour, 1.05)
    ring = rectangle(-half, half, wide, cut=0.18)
    shell = prism(ring, 0.35, rectangle(-half, half, wide - 0.05, cut=0.22), tall, colour, roof)
    windows = []
    for number in (0, 4):
        count = 8
        for k in range(count):
            s = ((k + 0.1) / count, (k + 0.92) / count)
            windows.append(pane(shell[number], s, (0.45, 0.83), _GLASS))
    windows.append(pane(shell[2], (0.04, 0.96), (0.3, 0.85), _GLASS))
    windows.append(pane(shell[6], (0.1, 0.9), (0.5, 0.85), _GLASS))
    machines: list[Part] = []
    for at, long in ((-0.55 * half, 1.0), (0.1 * half, 0.8), (0.62 * half, 0.5)):
        ring = rectangle(at - long, at + long, 0.75)
        machines += prism(ring, tall, ring, tall + 0.25, (150, 150, 150), (188, 190, 190))
    wheels = _wheels(-half + 2.6, half - 2.4, wide, 0.48)
    return [*wheels, *shell[:-1], *windows, shell[-1], *machines]


def tricycle(rng: np.random.Generator) -> list[Part]:
    """A cargo tricycle with an open bed: 2.8 m."""
    colour = paint(rng)
    bed = rectangle(-1.4, 0.35, 0.6)
    inner = rectangle(-1.3, 0.25, 0.5)
    box = prism(bed, 0.45, bed, 0.95, colour, _dimmed(colour, 0.8))
    hollow = Face(np.array([(*point, 0.96) for point in inner]), (84, 96, 104))
    seat = rectangle(0.35, 0.75, 0.3)
    nose = rectangle(0.75, 1.35, 0.16)
    return [
        *_wheels(-0.95, -0.2, 0.64, 0.27),
        *prism(nose, 0.0, nose, 0.75, _TYRE, _dimmed(colour, 0.9)),
        *prism(seat, 0.3, seat, 0.8, (40, 40, 42), (52, 52, 54)),
        *box,
        hollow,
    ]


def awning_tricycle(rng: np.random.Generator) -> list[Part]:
    """A tricycle with a closed cabin and a bright roof: 2.7 m."""
    colour: Colour = ((44, 42, 188), (190, 120, 40), (80, 150, 70), (60, 120, 210))[int(rng.integers(4))]
    body = rectangle(-1.35, 0.95, 0.6)
    base = prism(body, 0.35, body, 0.95, colour, colour)
    cabin = _cabin((-1.3, 0.9, 0.58), (-1.25, 0.55, 0.55), (0.95, 1.75), _dimmed(colour, 1.1))
    nose = rectangle(0.95, 1.35, 0.18)
    return [
        *_wheels(-0.9, -0.2, 0.63, 0.27),
        *prism(nose, 0.0, nose, 0.7, _TYRE, colour),
        *base,
        *cabin,
    ]
