"""VoteFusion in standard operators: every seed against every box, the best three picked by TopK.

Numbers come from the same operations in the same order as in spec.py, so that no rounding moves a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tercelet.ops.body import Body, Graph
from tercelet.ops.vote_fusion.spec import CLASSES, FARTHEST, NEAREST, ROWS, SINGULAR, SLOTS, TINY


@dataclass(frozen=True)
class View:
    """Names of tensors. u, v, depth (n); low and high: x and y (K + 3) of corners in original pixels;
    cofactors (3, 3), determinant and is_invertible as scalars."""

    u: str
    v: str
    depth: str
    low: tuple[str, str]
    high: tuple[str, str]
    cofactors: str
    determinant: str
    is_invertible: str


def standard(g: Graph, variant: str) -> None:
    """The body; variant: the attribute mode."""
    is_safe = variant == "safe"
    padding = g.op("ConstantOfShape", g.integers([SLOTS, 6]))
    boxes = g.op("Concat", "boxes", padding, axis=0)
    view = _view_of(g, boxes, is_safe=is_safe)
    confidence = _column(g, boxes, 4)
    if is_safe:
        limited = g.op("Where", g.op("Less", confidence, g.float(1)), confidence, g.float(1))
        confidence = g.op("Where", g.op("Greater", confidence, g.float(0)), limited, g.float(0))
    seen = _is_seen(g, view) if is_safe else ""
    axis = g.integers([1])
    u, v = g.op("Unsqueeze", view.u, axis), g.op("Unsqueeze", view.v, axis)
    is_in = _is_inside(g, (u, v), view.low, view.high)
    if seen:
        is_in = g.op("And", is_in, g.op("Unsqueeze", seen, axis))
    hit = g.op("Cast", is_in, to=g.FLOAT)
    score = g.op("Add", hit, confidence)
    if is_safe:
        score = g.op("Mul", hit, g.op("Add", g.float(1), confidence))
    values, places = g.ops("TopK", 2, score, g.integers([SLOTS]), axis=1, largest=1, sorted=1)
    best = g.op("Transpose", places, perm=[1, 0])
    lows = [g.op("Gather", side, best) for side in view.low]
    highs = [g.op("Gather", side, best) for side in view.high]
    is_hit = _is_inside(g, (view.u, view.v), lows, highs)
    if seen:
        is_hit = g.op("And", is_hit, seen)
    ray, offsets = _geometry(g, view, lows, highs, is_safe=is_safe)
    named = _named(g, g.op("Gather", confidence, best), g.op("Gather", _column(g, boxes, 5), best))
    first = g.op("Concat", *(g.op("Unsqueeze", row, g.integers([0])) for row in (*offsets, *ray)), axis=0)
    cues = g.op("Where", is_hit, g.op("Concat", first, named, axis=0), g.float(0))
    textures = _textures(g, is_hit)
    shape = g.vector(g.integer(ROWS), _columns(g))
    g.output("cues", g.op("Reshape", g.op("Concat", cues, textures, axis=0), shape, allowzero=1))
    mask = is_hit if is_safe else _parity_mask(g, values)
    flat = g.op("Reshape", g.op("Cast", mask, to=g.FLOAT), g.vector(_columns(g)), allowzero=1)
    g.output("mask", flat)


def _column(g: Graph, table: str, index: int) -> str:
    return g.op("Gather", table, g.integer(index), axis=1)


def _row(g: Graph, table: str, index: int) -> str:
    return g.op("Gather", table, g.integer(index), axis=0)


def _columns(g: Graph) -> str:
    """3n, a scalar."""
    count = g.op("Gather", g.op("Shape", "seeds"), g.integer(0))
    return g.op("Mul", count, g.integer(SLOTS))


def _view_of(g: Graph, boxes: str, *, is_safe: bool) -> View:
    coordinates = [_column(g, "seeds", axis) for axis in range(3)]
    projected = []
    for row in range(3):
        line = _row(g, "depth2img", row)
        m = [g.op("Gather", line, g.integer(index)) for index in range(4)]
        x, y, z = (g.op("Mul", m[axis], coordinates[axis]) for axis in range(3))
        projected.append(g.op("Add", g.op("Add", g.op("Add", x, y), z), m[3]))
    depth = projected[2]
    u, v = (
        g.op("Round", g.op("Sub", g.op("Div", part, depth), g.float(1)))
        for part in (projected[0], projected[1])
    )
    low, high = [], []
    for axis in range(2):
        line = _row(g, "picture", axis)
        scale, offset = (g.op("Gather", line, g.integer(index)) for index in range(2))
        first, second = (
            g.op("Div", g.op("Sub", _column(g, boxes, axis + end), offset), scale) for end in (0, 2)
        )
        is_mirrored = g.op("Less", scale, g.float(0))
        low.append(g.op("Where", is_mirrored, second, first))
        high.append(g.op("Where", is_mirrored, first, second))
        if is_safe:  # no pixel lies left of this
            is_near = g.op("Greater", low[-1], g.float(-FARTHEST))
            is_near = g.op("And", is_near, g.op("Less", high[-1], g.float(FARTHEST)))
            high[-1] = g.op("Where", is_near, high[-1], g.float(-FARTHEST))
    return View(u, v, depth, (low[0], low[1]), (high[0], high[1]), *_inverse(g))


def _inverse(g: Graph) -> tuple[str, str, str]:
    """See spec._inverse."""
    m = g.op("Gather", "depth2img", g.integers([0, 1, 2]), axis=1)
    after, before = g.integers([1, 2, 0]), g.integers([2, 0, 1])
    next_row, last_row = g.op("Gather", m, after, axis=0), g.op("Gather", m, before, axis=0)
    left = g.op("Mul", g.op("Gather", next_row, after, axis=1), g.op("Gather", last_row, before, axis=1))
    right = g.op("Mul", g.op("Gather", next_row, before, axis=1), g.op("Gather", last_row, after, axis=1))
    cofactors = g.op("Sub", left, right)
    products = g.op("Mul", _row(g, m, 0), _row(g, cofactors, 0))
    p = [g.op("Gather", products, g.integer(index)) for index in range(3)]
    determinant = g.op("Add", g.op("Add", p[0], p[1]), p[2])
    sizes = [g.op("Abs", part) for part in p]
    bound = g.op("Mul", g.float(SINGULAR), g.op("Add", g.op("Add", sizes[0], sizes[1]), sizes[2]))
    return cofactors, determinant, g.op("Greater", g.op("Abs", determinant), bound)


def _is_seen(g: Graph, view: View) -> str:
    """(n): before the camera and inside the picture, by a matrix that can be inverted."""
    seen = g.op("And", g.op("Greater", view.depth, g.float(NEAREST)), view.is_invertible)
    for axis, pixel in enumerate((view.u, view.v)):
        line = _row(g, "picture", axis)
        scale, offset, size = (g.op("Gather", line, g.integer(index)) for index in range(3))
        place = g.op("Add", g.op("Mul", pixel, scale), offset)
        seen = g.op("And", seen, g.op("GreaterOrEqual", place, g.float(0)))
        seen = g.op("And", seen, g.op("LessOrEqual", place, size))
    return seen


def _is_inside(g: Graph, pixel: Sequence[str], low: Sequence[str], high: Sequence[str]) -> str:
    """Strictly between the corners, which broadcast against the pixels."""
    parts = [g.op("Greater", pixel[axis], low[axis]) for axis in range(2)]
    parts += [g.op("Less", pixel[axis], high[axis]) for axis in range(2)]
    return g.op("And", g.op("And", parts[0], parts[1]), g.op("And", parts[2], parts[3]))


def _geometry(
    g: Graph, view: View, lows: list[str], highs: list[str], *, is_safe: bool
) -> tuple[list[str], list[str]]:
    """Ray x, y, z and offset x, z, each (3, n)."""
    half = g.float(0.5)
    reach = []
    for axis, pixel in enumerate((view.u, view.v)):
        centre = g.op("Mul", g.op("Add", lows[axis], highs[axis]), half)
        reach.append(g.op("Mul", g.op("Sub", centre, pixel), view.depth))
    coordinates = [_column(g, "seeds", axis) for axis in range(3)]
    place = []
    for k in range(3):
        column = _column(g, view.cofactors, k)
        c = [g.op("Gather", column, g.integer(index)) for index in range(3)]
        moved = g.op("Add", g.op("Mul", reach[0], c[0]), g.op("Mul", reach[1], c[1]))
        moved = g.op("Div", moved, view.determinant)
        if not is_safe:
            moved = g.op("Sub", moved, _shift(g, c, view.determinant))
        place.append(g.op("Add", coordinates[k], moved))
    squares = [g.op("Mul", part, part) for part in place]
    total = g.op("Add", g.op("Add", g.op("Add", squares[0], squares[1]), squares[2]), g.float(TINY))
    length = g.op("Sqrt", total)
    ray = [g.op("Div", part, length) for part in place]
    slope = g.op("Add", ray[1], g.float(TINY))
    if is_safe:
        is_flat = g.op("Less", g.op("Abs", slope), g.float(TINY))
        slope = g.op("Where", is_flat, g.float(TINY), slope)
    offsets = [
        g.op("Sub", g.op("Mul", g.op("Div", ray[k], slope), coordinates[1]), coordinates[k]) for k in (0, 2)
    ]
    return ray, offsets


def _shift(g: Graph, cofactors: list[str], determinant: str) -> str:
    """One number of the inverse matrix times the last column of depth2img."""
    b = [g.op("Gather", _row(g, "depth2img", row), g.integer(3)) for row in range(3)]
    p = [g.op("Mul", b[row], cofactors[row]) for row in range(3)]
    return g.op("Div", g.op("Add", g.op("Add", p[0], p[1]), p[2]), determinant)


def _named(g: Graph, confidence: str, label: str) -> str:
    """(10, 3, n): the confidence in the row of its class, zeros elsewhere."""
    numbers = g.op("Cast", g.op("Range", g.integer(0), g.integer(CLASSES), g.integer(1)), to=g.FLOAT)
    rows = g.op("Reshape", numbers, g.integers([CLASSES, 1, 1]))
    return g.op("Where", g.op("Equal", label, rows), confidence, g.float(0))


def _textures(g: Graph, like: str) -> str:
    """(3, 3, n): channel, slot, seed."""
    channels = g.op("Unsqueeze", g.op("Transpose", "texture", perm=[1, 0]), g.integers([1]))
    shape = g.op("Concat", g.integers([3]), g.op("Shape", like), axis=0)
    return g.op("Expand", channels, shape)


def _parity_mask(g: Graph, values: str) -> str:
    """(3, n) from scores (n, 3); without any box the first slot of every seed counts."""
    mask = g.op("Greater", g.op("Floor", g.op("Transpose", values, perm=[1, 0])), g.float(0))
    count = g.op("Gather", g.op("Shape", "boxes"), g.integer(0))
    slots = g.op("Reshape", g.op("Range", g.integer(0), g.integer(SLOTS), g.integer(1)), g.integers([-1, 1]))
    is_first = g.op("Equal", slots, g.integer(0))
    is_empty = g.op("Equal", count, g.integer(0))
    return g.op("Or", mask, g.op("And", is_first, is_empty))


BODIES = (Body("standard", standard, variant="mode", minimum_opset=17),)
