"""ThreeInterpolate in standard operators: the table of all distances, and the three smallest of each row."""

from __future__ import annotations

from tercelet.ops.body import Body, Graph


def standard(g: Graph, variant: str) -> None:
    """The body; variant: the attribute weighting."""
    infinity = g.float(float("inf"))
    squares = []
    for axis in range(3):
        own = g.op("Gather", "unknown", g.integer(axis), axis=2)
        other = g.op("Gather", "known", g.integer(axis), axis=2)
        difference = g.op(
            "Sub", g.op("Unsqueeze", other, g.integers([1])), g.op("Unsqueeze", own, g.integers([2]))
        )
        squares.append(g.op("Mul", difference, difference))
    square = g.op("Add", g.op("Add", squares[0], squares[1]), squares[2])
    square = g.op("Where", g.op("Less", square, infinity), square, infinity)  # NaN is not
    square = g.op("Pad", square, g.integers([0, 0, 0, 0, 0, 3]), infinity)
    nearest, index = g.ops("TopK", 2, square, g.integers([3]), largest=0)
    index = g.op("Where", g.op("Less", nearest, infinity), index, g.integer(0))
    g.output("interpolated", _weighted(g, index, _weights(g, nearest, variant)))


def _weights(g: Graph, nearest: str, variant: str) -> str:
    """Squared distances (B, n, 3) -> weights."""
    if variant == "squared":
        inverse = g.op("Div", g.float(1.0), g.op("Max", nearest, g.float(1e-10)))
    else:
        inverse = g.op("Div", g.float(1.0), g.op("Add", g.op("Sqrt", nearest), g.float(1e-8)))
    first, second, third = (g.op("Gather", inverse, g.integer(place), axis=2) for place in range(3))
    total = g.op("Add", g.op("Add", first, second), third)
    return g.op("Div", inverse, g.op("Unsqueeze", total, g.integers([2])))


def _weighted(g: Graph, index: str, weights: str) -> str:
    """The features (B, C, n) of indices (B, n, 3)."""
    shape = g.op("Shape", "features")
    clouds, channels, points = (g.op("Gather", shape, g.integer(axis)) for axis in range(3))
    rows = g.op("Reshape", g.op("Transpose", "features", perm=[0, 2, 1]),
                g.vector(g.op("Mul", clouds, points), channels), allowzero=1)  # fmt: skip
    start = g.op("Mul", g.op("Range", g.integer(0), clouds, g.integer(1)), points)
    place = g.op("Add", index, g.op("Reshape", start, g.integers([-1, 1, 1])))
    parts = []
    for number in range(3):
        taken = g.op("Gather", rows, g.op("Gather", place, g.integer(number), axis=2))
        weight = g.op("Slice", weights, g.integers([number]), g.integers([number + 1]), g.integers([2]))
        parts.append(g.op("Mul", taken, weight))
    total = g.op("Add", g.op("Add", parts[0], parts[1]), parts[2])
    return g.op("Transpose", total, perm=[0, 2, 1])


BODIES = (Body("standard", standard, variant="weighting", minimum_opset=17),)
