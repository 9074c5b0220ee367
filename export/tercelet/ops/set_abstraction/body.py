"""SetAbstraction in standard operators: the first layer once a point, its rows gathered, two products."""

from __future__ import annotations

from tercelet.ops.body import Body, Graph


def standard(g: Graph, _: str) -> None:
    """The body; it has no variants."""
    shape = g.op("Shape", "features")
    clouds, width, count = (g.op("Gather", shape, g.integer(axis)) for axis in range(3))
    start = g.op("Mul", g.op("Range", g.integer(0), clouds, g.integer(1)), count)
    row = g.op("Add", g.op("Cast", "index", to=g.INT64), g.op("Reshape", start, g.integers([-1, 1, 1])))
    row = g.op("Reshape", row, g.integers([-1]))
    matrix = g.op("Transpose", "weight0", perm=[1, 0])
    of_place = g.op("Slice", matrix, g.integers([0]), g.integers([3]), g.integers([0]))
    of_features = g.op("Slice", matrix, g.integers([3]), g.integers([1 << 31]), g.integers([0]))
    points = g.op("Reshape", "points", g.integers([-1, 3]))
    by_point = g.op("Transpose", "features", perm=[0, 2, 1])
    flat = g.op("Reshape", by_point, g.vector(g.op("Mul", clouds, count), width), allowzero=1)
    once = g.op("Add", g.op("MatMul", flat, of_features), "bias0")
    slots = g.op("Shape", "index")
    places = g.op(
        "Reshape", g.op("Gather", points, row), g.op("Concat", slots, g.integers([3]), axis=0), allowzero=1
    )
    offset = g.op("Sub", places, g.op("Unsqueeze", "centre", g.integers([2])))
    offset = g.op("Reshape", g.op("Div", offset, g.attribute("radius")), g.integers([-1, 3]))
    found = g.op("Relu", g.op("Add", g.op("MatMul", offset, of_place), g.op("Gather", once, row)))
    found = g.op("Relu", g.op("Add", _product(g, found, "weight1"), "bias1"))
    found = _product(g, found, "weight2")
    outputs = g.op("Slice", g.op("Shape", "weight2"), g.integers([0]), g.integers([1]))
    found = g.op("Reshape", found, g.op("Concat", slots, outputs, axis=0), allowzero=1)
    found = g.reduced("ReduceMax", found, 2)
    found = g.op("Relu", g.op("Add", found, "bias2"))  # the largest is the same before and after
    g.output("y", g.op("Transpose", found, perm=[0, 2, 1]))


def _product(g: Graph, rows: str, weight: str) -> str:
    return g.op("MatMul", rows, g.op("Transpose", weight, perm=[1, 0]))


BODIES = (Body("standard", standard, variant="", minimum_opset=17),)
