"""Furniture to put things on or into: table, desk, dresser, night stand, bookshelf."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tercelet.evaluation.synthetic.rooms.palette import (
    DARK,
    METAL,
    PAINTED,
    VIVID,
    WOODS,
    one_of,
    shaded,
    varied,
)
from tercelet.evaluation.synthetic.rooms.sizes import drawn_size
from tercelet.evaluation.synthetic.rooms.solids import Colour, Finish, Piece, Shape, Solid, block, piece

Rng = np.random.Generator
WOOD = Finish.WOOD


def table(rng: Rng) -> Piece:
    """A top on four legs, or a round one on a column."""
    depth, width, height = drawn_size(rng, "table")
    return _round_table(rng, depth, height) if rng.random() < 0.2 else _long_table(rng, depth, width, height)


def coffee_table(rng: Rng) -> Piece:
    """A low table with a shelf below, for the place before a sofa."""
    depth, width, _ = drawn_size(rng, "table")
    return _long_table(rng, depth * 0.72, min(width, 1.2) * 0.85, rng.uniform(0.38, 0.5), shelf=True)


def _long_table(rng: Rng, depth: float, width: float, height: float, *, shelf: bool = False) -> Piece:
    colour = one_of(rng, WOODS + PAINTED)
    legs = colour if rng.random() < 0.7 else DARK
    leg, thick, inset = rng.uniform(0.045, 0.08), rng.uniform(0.025, 0.045), rng.uniform(0.0, 0.06)
    x0, x1, y0, y1 = -depth / 2, depth / 2, -width / 2, width / 2
    solids = [block((x0, x1), (y0, y1), (height - thick, height), colour, finish=WOOD)]
    for x in (x0 + inset, x1 - inset - leg):
        for y in (y0 + inset, y1 - inset - leg):
            solids.append(block((x, x + leg), (y, y + leg), (0, height - thick), legs, finish=WOOD))
    apron = (height - thick - 0.08, height - thick)
    for x in (x0 + inset, x1 - inset - 0.02):
        solids.append(block((x, x + 0.02), (y0 + inset, y1 - inset), apron, legs, finish=WOOD))
    for y in (y0 + inset, y1 - inset - 0.02):
        solids.append(block((x0 + inset, x1 - inset), (y, y + 0.02), apron, legs, finish=WOOD))
    if shelf:
        span = ((x0 + inset + 0.01, x1 - inset - 0.01), (y0 + inset + 0.01, y1 - inset - 0.01))
        solids.append(block(*span, (0.12, 0.14), colour, finish=WOOD))
    return piece("table", solids, has_top=True)


def _round_table(rng: Rng, depth: float, height: float) -> Piece:
    radius = max(depth, 0.75) / 2
    colour = one_of(rng, WOODS + PAINTED)
    side, foot, column = (-radius, radius), (-radius * 0.55, radius * 0.55), (-0.05, 0.05)
    made = piece(
        "table",
        [
            block(side, side, (height - 0.035, height), colour, finish=WOOD, shape=Shape.CYLINDER),
            block(column, column, (0.03, height - 0.035), METAL, shape=Shape.CYLINDER),
            block(foot, foot, (0, 0.03), DARK, shape=Shape.CYLINDER),
        ],
    )
    inner = radius * 0.6
    return Piece(made.name, made.solids, made.size, (made.size[2], (-inner, inner), (-inner, inner)))


def desk(rng: Rng) -> Piece:
    """One sits at +x: a top, legs or side panels, a board at the back, drawers on one side or both."""
    depth, width, height = drawn_size(rng, "desk")
    colour = one_of(rng, WOODS + PAINTED)
    legs = colour if rng.random() < 0.6 else DARK
    x0, x1, y0, y1 = -depth / 2, depth / 2, -width / 2, width / 2
    under = height - 0.035
    solids = [
        block((x0, x1), (y0, y1), (under, height), colour, finish=WOOD),
        block((x0 + 0.03, x0 + 0.05), (y0 + 0.03, y1 - 0.03), (under - 0.35, under), legs, finish=WOOD),
    ]
    if rng.random() < 0.5:
        for y in (y0, y1 - 0.03):
            solids.append(block((x0 + 0.02, x1 - 0.02), (y, y + 0.03), (0, under), legs, finish=WOOD))
    else:
        for x in (x0 + 0.02, x1 - 0.07):
            for y in (y0 + 0.02, y1 - 0.07):
                solids.append(block((x, x + 0.05), (y, y + 0.05), (0, under), legs))
    for side in range(int(rng.integers(0, 3))):
        y = y0 + 0.04 if side == 0 else y1 - 0.04 - 0.38
        front = x1 - 0.05
        solids.append(
            block((x0 + 0.06, front), (y, y + 0.38), (0.06, under), shaded(colour, 0.92), finish=WOOD)
        )
        solids += _drawers(rng, front, (y, y + 0.38), (0.06, under), colour, rows=3, columns=1)
    return piece("desk", solids, has_top=True)


def dresser(rng: Rng) -> Piece:
    """A chest of drawers with its front at +x."""
    depth, width, height = drawn_size(rng, "dresser")
    rows = max(2, round(height / rng.uniform(0.2, 0.28)))
    return _chest(rng, "dresser", depth, width, height, rows=rows, columns=2 if width > 0.8 else 1)


def night_stand(rng: Rng) -> Piece:
    """A small chest, or an open one, with its front at +x."""
    depth, width, height = drawn_size(rng, "night_stand")
    if rng.random() < 0.7:
        return _chest(rng, "night_stand", depth, width, height, rows=int(rng.integers(1, 4)), columns=1)
    colour = one_of(rng, WOODS + PAINTED)
    x, y = (-depth / 2, depth / 2), (-width / 2, width / 2)
    solids = [block(x, y, (low, low + 0.03), colour, finish=WOOD)
              for low in (0.08, height * 0.5, height - 0.03)]  # fmt: skip
    for side in (y[0], y[1] - 0.03):
        solids.append(block(x, (side, side + 0.03), (0, height - 0.03), colour, finish=WOOD))
    solids.append(block((x[0], x[0] + 0.015), y, (0.08, height), shaded(colour, 0.8), finish=WOOD))
    return piece("night_stand", solids, has_top=True)


def _chest(
    rng: Rng, name: str, depth: float, width: float, height: float, *, rows: int, columns: int
) -> Piece:
    colour = one_of(rng, WOODS + PAINTED)
    x0, x1, y0, y1 = -depth / 2, depth / 2, -width / 2, width / 2
    low = rng.choice((0.0, 0.08))
    front = x1 - 0.045
    solids = [
        block((x0, front), (y0 + 0.01, y1 - 0.01), (low, height - 0.03), shaded(colour, 0.7), finish=WOOD),
        block((x0, x1 - 0.015), (y0, y1), (height - 0.03, height), colour, finish=WOOD),
    ]
    for y in (y0 + 0.01, y1 - 0.03):
        solids.append(block((x0, front + 0.012), (y, y + 0.02), (low, height - 0.03), colour, finish=WOOD))
    if low:
        solids += [block((x, x + 0.05), (y, y + 0.05), (0, low), DARK)
                   for x in (x0 + 0.02, front - 0.06) for y in (y0 + 0.02, y1 - 0.07)]  # fmt: skip
    inner = (y0 + 0.03, y1 - 0.03)
    solids += _drawers(rng, front, inner, (low + 0.01, height - 0.035), colour, rows=rows, columns=columns)
    return piece(name, solids, has_top=True)


def _drawers(
    rng: Rng,
    front: float,
    y: tuple[float, float],
    z: tuple[float, float],
    colour: Colour,
    *,
    rows: int,
    columns: int,
) -> list[Solid]:
    """Drawer fronts that stand 2 cm before `front`, each with a handle of another 2.5 cm."""
    handle = METAL if rng.random() < 0.6 else DARK
    high, wide = (z[1] - z[0]) / rows, (y[1] - y[0]) / columns
    solids = []
    for row in range(rows):
        for column in range(columns):
            low, left = z[0] + row * high, y[0] + column * wide
            face = varied(rng, colour, by=0.04)
            span = (left + 0.006, left + wide - 0.006)
            solids.append(
                block((front, front + 0.02), span, (low + 0.006, low + high - 0.006), face, finish=WOOD)
            )
            middle, up = left + wide / 2, low + high * 0.55
            solids.append(
                block((front + 0.02, front + 0.045), (middle - 0.06, middle + 0.06), (up, up + 0.016), handle)
            )
    return solids


def bookshelf(rng: Rng) -> Piece:
    """Sides, back and shelves, open to +x, with books and gaps."""
    depth, width, height = drawn_size(rng, "bookshelf")
    depth = max(depth, 0.24)
    colour = one_of(rng, WOODS + PAINTED)
    x0, x1, y0, y1 = -depth / 2, depth / 2, -width / 2, width / 2
    board = 0.025
    solids = [block((x0, x0 + 0.015), (y0, y1), (0, height), shaded(colour, 0.8), finish=WOOD)]
    for y in (y0, y1 - board):
        solids.append(block((x0, x1), (y, y + board), (0, height), colour, finish=WOOD))
    count = max(2, round(height / rng.uniform(0.32, 0.42)))
    levels = np.linspace(0.05, height - board, count + 1).tolist()
    for level in levels:
        solids.append(block((x0, x1), (y0, y1), (level, level + board), colour, finish=WOOD))
    for low, high in pairwise(levels):
        solids += _books(rng, (x0 + 0.02, x1 - 0.01), (y0 + board, y1 - board), (low + board, high))
    return piece("bookshelf", solids)


def _books(rng: Rng, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> list[Solid]:
    """A row of books, now and then a gap or a few of one series."""
    solids: list[Solid] = []
    place, room = y[0] + 0.01, z[1] - z[0]
    while place < y[1] - 0.06:
        if rng.random() < 0.22:
            place += rng.uniform(0.08, 0.3)
            continue
        colour, wide = one_of(rng, VIVID), rng.uniform(0.03, 0.11)
        wide = min(wide, y[1] - 0.005 - place)
        high, deep = room * rng.uniform(0.55, 0.92), rng.uniform(0.14, 0.2)
        front = max(x[0] + 0.05, x[1] - rng.uniform(0.0, 0.06))
        solids.append(
            block((max(x[0], front - deep), front), (place, place + wide), (z[0], z[0] + high), colour)
        )
        place += wide + 0.004
    return solids
