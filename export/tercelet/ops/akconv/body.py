"""AKConv in standard operators, in two forms: one DeformConv, or gathered rows and one matrix product."""

from __future__ import annotations

from tercelet.ops.akconv_sample.body import (
    Axis,
    axes_of,
    base_positions,
    gathered_samples,
    sides_of,
)
from tercelet.ops.body import Body, Graph


def row_gather(g: Graph, variant: str) -> None:
    """Any engine runs this; variant: the attribute grid."""
    sides = sides_of(g, "x", "offset")
    rows, columns = axes_of(g, "offset", sides, _stride(g), variant)
    samples = gathered_samples(g, "x", rows, columns, sides, [0, 2, 3, 1])
    depth = g.op("Mul", sides.taps, sides.channels)
    samples = g.op("Reshape", samples, g.vector(sides.batch, sides.rows, sides.columns, depth), allowzero=1)
    outputs = g.op("Gather", g.op("Shape", "weight"), g.integer(0))
    matrix = g.op(
        "Reshape", g.op("Transpose", "weight", perm=[2, 3, 1, 0]), g.vector(depth, outputs), allowzero=1
    )
    total = g.op("Add", g.op("MatMul", samples, matrix), "bias")
    _finish(g, g.op("Transpose", total, perm=[0, 3, 1, 2]))


def deform_conv(g: Graph, variant: str) -> None:
    """Exactly one DeformConv: its offsets lead from the regular grid of a (1, N) kernel with dilation (1, 2)
    to the position cut to the map, and its mask holds how often the border counts."""
    sides = sides_of(g, "x", "offset")
    stride = _stride(g)
    rows, columns = axes_of(g, "offset", sides, stride, variant)
    regular_row, regular_column = base_positions(g, sides, stride, "ij")
    steps = g.op("Range", g.integer(0), sides.taps, g.integer(1))
    steps = g.op("Sub", g.op("Mul", steps, g.integer(2)), g.op("Sub", sides.taps, g.integer(1)))
    regular_column = g.op("Add", g.op("Reshape", steps, g.integers([-1, 1, 1])), regular_column)
    parts = [
        g.op("Unsqueeze", g.op("Sub", axis.within, g.op("Cast", regular, to=g.FLOAT)), g.integers([2]))
        for axis, regular in ((rows, regular_row), (columns, regular_column))
    ]
    shape = g.vector(sides.batch, g.op("Mul", sides.taps, g.integer(2)), sides.rows, sides.columns)
    offset = g.op("Reshape", g.op("Concat", *parts, axis=2), shape, allowzero=1)
    mask = g.op("Mul", _factor(g, rows), _factor(g, columns))
    total = g.op(
        "DeformConv",
        "x",
        "weight",
        offset,
        "bias",
        mask,
        strides=g.reference("strides"),
        pads=g.reference("pads"),
        dilations=[1, 2],
    )
    _finish(g, total)


def _stride(g: Graph) -> str:
    return g.op("Gather", g.attribute("strides"), g.integer(0))


def _factor(g: Graph, axis: Axis) -> str:
    counted = g.op("Where", axis.is_inside, g.float(1.0), g.float(2.0))
    return g.op("Where", axis.is_nan, axis.position, counted)


def _finish(g: Graph, total: str) -> None:
    g.output("y", g.op("Mul", total, g.op("Sigmoid", total)))


BODIES = (
    Body("row_gather", row_gather, variant="grid", minimum_opset=17),
    Body("deform_conv", deform_conv, variant="grid", minimum_opset=19),
)
