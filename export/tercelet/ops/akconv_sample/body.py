"""AKConvSample in standard operators: rows of a channels-last map are gathered, four for each sample."""

from __future__ import annotations

from dataclasses import dataclass

from tercelet.ops.body import Body, Graph


@dataclass(frozen=True)
class Axis:
    """Names of tensors (B, N, h, w) for one axis: position cut to the map, where it is inside and where NaN,
    pixel below and above (int64), and their weights."""

    within: str
    is_inside: str
    is_nan: str
    position: str
    low: str
    high: str
    of_low: str
    of_high: str


@dataclass(frozen=True)
class Sides:
    """Names of scalars (int64): batch, channels, height and width of x, taps, height and width of the
    output."""

    batch: str
    channels: str
    height: str
    width: str
    taps: str
    rows: str
    columns: str


def sides_of(g: Graph, x: str, offset: str) -> Sides:
    """The sizes, read off the inputs; engines fold them where shapes are fixed."""
    shape, offset_shape = g.op("Shape", x), g.op("Shape", offset)
    batch, channels, height, width = (g.op("Gather", shape, g.integer(axis)) for axis in range(4))
    double, rows, columns = (g.op("Gather", offset_shape, g.integer(axis)) for axis in (1, 2, 3))
    taps = g.op("Div", double, g.integer(2))
    return Sides(batch, channels, height, width, taps, rows, columns)


def axes_of(g: Graph, offset: str, sides: Sides, stride: str, grid: str) -> tuple[Axis, Axis]:
    """Row and column axis of every sample."""
    parts = g.op(
        "Reshape",
        offset,
        g.vector(sides.batch, g.integer(2), sides.taps, sides.rows, sides.columns),
        allowzero=1,
    )
    tap_table = g.op("Reshape", g.attribute("taps"), g.integers([-1, 2]))
    bases = base_positions(g, sides, stride, grid)
    axes = []
    for index, (base, size) in enumerate(zip(bases, (sides.height, sides.width), strict=True)):
        taps = g.op("Reshape", g.op("Gather", tap_table, g.integer(index), axis=1), g.integers([-1, 1, 1]))
        place = g.op("Cast", g.op("Add", taps, base), to=g.FLOAT)
        position = g.op("Add", g.op("Gather", parts, g.integer(index), axis=1), place)
        axes.append(_axis(g, position, size))
    return axes[0], axes[1]


def base_positions(g: Graph, sides: Sides, stride: str, grid: str) -> tuple[str, str]:
    """Row and column (int64) of tap (0, 0), each broadcastable to (h, w); see spec.base_positions."""
    zero, one = g.integer(0), g.integer(1)
    if grid == "ij":
        row = g.op("Reshape", g.op("Range", zero, sides.rows, one), g.integers([-1, 1]))
        column = g.op("Range", zero, sides.columns, one)
    else:
        places = g.op("Range", zero, g.op("Mul", sides.rows, sides.columns), one)
        shape = g.vector(sides.rows, sides.columns)
        safe = g.op("Max", sides.rows, one)
        column_flat = g.op("Div", places, safe)
        row = g.op("Reshape", g.op("Sub", places, g.op("Mul", column_flat, safe)), shape, allowzero=1)
        column = g.op("Reshape", column_flat, shape, allowzero=1)
    return g.op("Mul", row, stride), g.op("Mul", column, stride)


def _axis(g: Graph, position: str, size: str) -> Axis:
    zero, one = g.float(0.0), g.float(1.0)
    last = g.op("Cast", g.op("Sub", size, g.integer(1)), to=g.FLOAT)
    is_inside = g.op("And", g.op("GreaterOrEqual", position, zero), g.op("Less", position, last))
    is_after = g.op("GreaterOrEqual", position, last)
    within = g.op("Where", is_inside, position, g.op("Where", is_after, last, zero))
    low = g.op("Floor", within)
    fraction = g.op("Sub", within, low)
    is_nan = g.op("IsNaN", position)
    of_low = g.op("Where", is_nan, position, g.op("Sub", one, fraction))
    of_high = g.op("Where", is_inside, fraction, one)
    pixel = g.op("Cast", low, to=g.INT64)
    above = g.op("Add", pixel, g.op("Cast", is_inside, to=g.INT64))
    return Axis(within, is_inside, is_nan, position, pixel, above, of_low, of_high)


def gathered_samples(g: Graph, x: str, rows: Axis, columns: Axis, sides: Sides, order: list[int]) -> str:
    """Samples with channels last, (B, N, h, w) permuted by `order` before them."""
    pixels = g.op("Mul", g.op("Mul", sides.batch, sides.height), sides.width)
    table = g.op(
        "Reshape", g.op("Transpose", x, perm=[0, 2, 3, 1]), g.vector(pixels, sides.channels), allowzero=1
    )
    images = g.op("Range", g.integer(0), sides.batch, g.integer(1))
    start = g.op("Mul", g.op("Mul", images, sides.height), sides.width)
    start = g.op("Reshape", start, g.integers([-1, 1, 1, 1]))
    total = ""
    for row, of_row in ((rows.low, rows.of_low), (rows.high, rows.of_high)):
        line = g.op("Add", g.op("Mul", row, sides.width), start)
        for column, of_column in ((columns.low, columns.of_low), (columns.high, columns.of_high)):
            place = g.op("Transpose", g.op("Add", line, column), perm=order)
            weight = g.op("Transpose", g.op("Mul", of_row, of_column), perm=order)
            part = g.op("Mul", g.op("Gather", table, place), g.op("Unsqueeze", weight, g.integers([-1])))
            total = g.op("Add", total, part) if total else part
    return total


def row_gather(g: Graph, variant: str) -> None:
    """The body; variant: the attribute grid."""
    sides = sides_of(g, "x", "offset")
    rows, columns = axes_of(g, "offset", sides, g.attribute("stride"), variant)
    samples = gathered_samples(g, "x", rows, columns, sides, [0, 1, 2, 3])
    g.output("sampled", g.op("Transpose", samples, perm=[0, 4, 1, 2, 3]))


BODIES = (Body("row_gather", row_gather, variant="grid", minimum_opset=17),)
