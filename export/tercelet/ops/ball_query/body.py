"""BallQuery in standard operators: indices of what lies within the radius, N for the rest; the smallest.

A Loop takes some centres at a time, so that a network's table of distances never is in memory as a whole.
"""

from __future__ import annotations

from tercelet.ops.body import Body, Graph

# Distances at a time: 8 MB of them.
_AT_ONCE = 1 << 21


def standard(g: Graph, _: str) -> None:
    """The body; it has no variants."""
    shape, one = g.op("Shape", "xyz"), g.integer(1)
    clouds, points = (g.op("Gather", shape, g.integer(axis)) for axis in (0, 1))
    centres = g.op("Gather", g.op("Shape", "centre"), one)
    size = g.op("Max", g.op("Mul", clouds, points), one)
    chunk = g.op("Min", g.op("Div", g.integer(_AT_ONCE), size), g.op("Max", centres, one))
    chunk = g.op("Max", chunk, one)
    before = g.op("Sub", g.op("Add", centres, chunk), one)
    chunks = g.op("Max", g.op("Div", before, chunk), one)
    missing = g.op("Sub", g.op("Mul", chunks, chunk), centres)
    padding = g.op("Expand", g.float(0.0), g.vector(clouds, missing, g.integer(3)))
    padded = g.op("Concat", "centre", padding, axis=1)
    planes = [g.op("Unsqueeze", _plane(g, "xyz", axis), g.integers([1])) for axis in range(3)]
    samples = g.attribute("samples")
    kept = g.op("Min", samples, points)
    rest = g.op("Expand", points, g.vector(clouds, chunk, g.op("Sub", samples, kept)))
    # Flat, as onnx.reference joins what has more than one axis.
    numbers = g.vector(g.op("Mul", g.op("Mul", clouds, chunk), samples))
    indices = g.op("Range", g.integer(0), points, one)
    outer, inner = (_square(g, g.attribute(name)) for name in ("radius", "min_radius"))

    def step(number: str) -> tuple[list[str], list[str]]:
        first = g.op("Mul", number, chunk)
        ends = [g.op("Reshape", end, g.integers([1])) for end in (first, g.op("Add", first, chunk))]
        taken = g.op("Slice", padded, *ends, g.integers([1]))
        squares = []
        for axis, plane in enumerate(planes):
            own = g.op("Unsqueeze", _plane(g, taken, axis), g.integers([2]))
            squares.append(_square(g, g.op("Sub", plane, own)))
        square = g.op("Add", g.op("Add", squares[0], squares[1]), squares[2])
        is_within = g.op("And", g.op("Less", square, outer), g.op("GreaterOrEqual", square, inner))
        is_hit = g.op("Or", is_within, g.op("Equal", square, g.float(0.0)))
        place = g.op("Where", is_hit, indices, points)
        found, _ = g.ops("TopK", 2, place, g.vector(kept), largest=0)
        return [], [g.op("Reshape", g.op("Concat", found, rest, axis=2), numbers, allowzero=1)]

    (found,) = g.loop(chunks, [], step, types=[], collected=[g.INT64])
    found = g.op("Reshape", found, g.vector(chunks, clouds, chunk, samples), allowzero=1)
    rows = g.vector(clouds, g.op("Mul", chunks, chunk), samples)
    found = g.op("Reshape", g.op("Transpose", found, perm=[1, 0, 2, 3]), rows, allowzero=1)
    found = g.op("Slice", found, g.integers([0]), g.vector(centres), g.integers([1]))
    first = g.op("Slice", found, g.integers([0]), g.integers([1]), g.integers([2]))
    filled = g.op("Where", g.op("Less", found, points), found, first)
    filled = g.op("Where", g.op("Less", filled, points), filled, g.integer(0))
    g.output("index", g.op("Cast", filled, to=g.INT32))


def _plane(g: Graph, points: str, axis: int) -> str:
    return g.op("Gather", points, g.integer(axis), axis=2)


def _square(g: Graph, value: str) -> str:
    return g.op("Mul", value, value)


BODIES = (Body("standard", standard, variant="", minimum_opset=17),)
