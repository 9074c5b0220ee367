"""FurthestPointSample in standard operators: a Loop that keeps the distance of all points."""

from __future__ import annotations

from tercelet.ops.body import Body, Graph

_LARGEST_BLOCK = 1024
_FURTHEST, _EXCLUDED = 1e10, -1.0


def standard(g: Graph, variant: str) -> None:
    """The body; variant: the attribute ties. ArgMax takes the lowest index, so the points are put into the
    order in which they win ties."""
    shape = g.op("Shape", "xyz")
    clouds, points = (g.op("Gather", shape, g.integer(axis)) for axis in (0, 1))
    order = _mmcv_order(g, points) if variant == "mmcv" else ""
    ordered = g.op("Gather", "xyz", order, axis=1) if order else "xyz"
    planes = [g.op("Gather", ordered, g.integer(axis), axis=2) for axis in range(3)]
    differences = [g.op("Sub", plane, plane) for plane in planes]  # 0, or NaN where it is not finite
    is_finite = g.op("Equal", g.op("Sum", *differences), g.float(0.0))
    x, y, z = (g.op("Where", is_finite, plane, g.float(0.0)) for plane in planes)
    nearest = g.op("Where", is_finite, g.float(_FURTHEST), g.float(_EXCLUDED))
    start = g.op("Mul", g.op("Range", g.integer(0), clouds, g.integer(1)), points)
    flat = [g.op("Reshape", plane, g.integers([-1])) for plane in (x, y, z)]

    def step(_: str, nearest: str, best: str) -> tuple[list[str], list[str]]:
        place = g.op("Unsqueeze", g.op("Add", best, start), g.integers([1]))
        squares = []
        for plane, numbers in zip((x, y, z), flat, strict=True):
            difference = g.op("Sub", plane, g.op("Gather", numbers, place))
            squares.append(g.op("Mul", difference, difference))
        square = g.op("Add", g.op("Add", squares[0], squares[1]), squares[2])
        left = g.op("Min", nearest, square)
        return [left, g.op("ArgMax", left, axis=1, keepdims=0)], [best]

    first = g.op("ArgMax", nearest, axis=1, keepdims=0)
    types = [g.FLOAT, g.INT64]
    *_, taken = g.loop(g.attribute("count"), [nearest, first], step, types=types, collected=[g.INT64])
    found = g.op("Gather", order, taken) if order else taken
    g.output("index", g.op("Cast", g.op("Transpose", found, perm=[1, 0]), to=g.INT32))


def _mmcv_order(g: Graph, points: str) -> str:
    """The indices (N) in the order in which they win ties, see spec.tie_order."""
    powers = [1 << bit for bit in range(_LARGEST_BLOCK.bit_length())]
    is_within = g.op("LessOrEqual", g.integers(powers), points)
    block = g.op("ReduceMax", g.op("Where", is_within, g.integers(powers), g.integer(1)), keepdims=0)
    index = g.op("Range", g.integer(0), points, g.integer(1))
    place = g.op("Unsqueeze", g.op("Mod", index, block), g.integers([1]))
    bits = g.op("Mod", g.op("Div", place, g.integers(powers[:-1])), g.integer(2))
    reverse = g.op("ReduceSum", g.op("Mul", bits, g.integers(powers[-2::-1])), g.integers([1]), keepdims=0)
    key = g.op("Add", g.op("Mul", reverse, points), index)
    _, order = g.ops("TopK", 2, key, g.op("Unsqueeze", points, g.integers([0])), largest=0, axis=0)
    return order


BODIES = (Body("standard", standard, variant="ties", minimum_opset=17),)
