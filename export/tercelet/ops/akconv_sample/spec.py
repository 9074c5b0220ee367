"""AKConvSample: N samples of a feature map for every place of the output, at learned positions.

Paper: Zhang et al., "AKConv: Convolutional Kernel with Arbitrary Sampled Shapes and Arbitrary Number of
Parameters", arXiv 2311.11587 (later renamed LDConv). Semantics as upstream's code computes them, in
particular at the border. Nothing is copied: upstream carries no licence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import Attribute, AttributeValue, Operand, OpSpec
from tercelet.ops.akconv_sample.cases import cases

GRIDS = ("ij", "xy")
MAXIMUM_TAPS = 64
MAXIMUM_SIDE = (1 << 20) - 1
Array = NDArray[np.float32]


def default_taps(count: int, grid: str = "ij") -> tuple[int, ...]:
    """The published table of `count` taps, flat: row 0, column 0, row 1, column 1, ...

    A rectangle of round(sqrt(count)) columns, then one unfinished row; anchored at its top-left tap. grid
    "xy" lists the rectangle column by column, as the published code does with meshgrid's other indexing.
    """
    if not 1 <= count <= MAXIMUM_TAPS:
        raise InputError(f"taps: expected 1 to {MAXIMUM_TAPS} of them, got {count}")
    columns = round(math.sqrt(count))
    rows, rest = divmod(count, columns)
    if grid == "ij":
        places = [(row, column) for row in range(rows) for column in range(columns)]
    else:
        places = [(row, column) for column in range(columns) for row in range(rows)]
    places += [(rows, column) for column in range(rest)]
    return tuple(number for place in places for number in place)


def base_positions(
    height: int, width: int, stride: int, grid: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column (height, width) of the map where tap (0, 0) of each output place lies.

    "ij": (i * stride, j * stride). "xy": what upstream's code gives with meshgrid's xy indexing, row-major
    place k reading row k mod height and column k div height: transposed on square maps, a scramble on others.
    """
    place = np.arange(height * width).reshape(height, width)
    if grid == "ij":
        return place // max(width, 1) * stride, place % max(width, 1) * stride
    return place % max(height, 1) * stride, place // max(height, 1) * stride


def akconv_sample_reference(
    x: Array, offset: Array, *, stride: int = 1, grid: str = "ij", taps: Sequence[int] | None = None
) -> Array:
    """x (B, C, H, W), offset (B, 2N, h, w): rows then columns, in pixels -> samples (B, C, N, h, w), float32.

    h = ceil(H / stride), w = ceil(W / stride). taps: 2N numbers, row and column by turns; None for the
    published table. Position = stride * place + tap + offset in float32. On each axis of length L: for
    0 <= p < L-1 bilinear between two pixels; for p < 0 or p >= L-1 the border pixel counts twice. A NaN
    position gives a NaN sample. Raises InputError for shapes or attributes that do not fit.
    """
    if taps is None:
        taps = default_taps(offset.shape[1] // 2 if offset.ndim == 4 else 0, grid)
    attributes: dict[str, AttributeValue] = {"stride": stride, "grid": grid, "taps": tuple(taps)}
    dims = SPEC.bind((x.shape, offset.shape), attributes)
    rows, columns = base_positions(dims["h"], dims["w"], stride, grid)
    table = np.asarray(taps, np.float32).reshape(-1, 2)
    count = dims["N"]
    row = offset[:, :count].astype(np.float32) + (rows.astype(np.float32) + table[:, 0, None, None])
    column = offset[:, count:].astype(np.float32) + (columns.astype(np.float32) + table[:, 1, None, None])
    top, bottom, of_top, of_bottom = _axis(row, dims["H"])
    left, right, of_left, of_right = _axis(column, dims["W"])
    sampled = np.zeros((dims["B"], dims["C"], count, dims["h"], dims["w"]), np.float32)
    for image in range(dims["B"]):
        for y, wy in ((top, of_top), (bottom, of_bottom)):
            for z, wz in ((left, of_left), (right, of_right)):
                sampled[image] += x[image][:, y[image], z[image]] * (wy[image] * wz[image])
    return sampled


def _axis(p: Array, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Array, Array]:
    """Lower and upper pixel of position p on an axis of `size` pixels, and the weight of each."""
    is_inside = (p >= 0) & (p < size - 1)
    is_after = p >= size - 1
    low = np.where(is_inside, np.floor(np.where(is_inside, p, 0)), np.where(is_after, size - 1, 0))
    fraction = np.where(is_inside, p - low, 0).astype(np.float32)
    of_low = np.where(is_inside, 1 - fraction, 1).astype(np.float32)
    of_high = np.where(is_inside, fraction, 1).astype(np.float32)
    of_low[np.isnan(p)] = np.nan
    low = low.astype(np.int64)
    return low, low + is_inside, of_low, of_high


def check_akconv_sample(dims: Mapping[str, int], attributes: Mapping[str, AttributeValue]) -> str | None:
    """What the shapes alone do not say."""
    stride, taps = attributes["stride"], attributes["taps"]
    assert isinstance(stride, int)
    assert isinstance(taps, tuple)
    if not 1 <= stride <= MAXIMUM_SIDE + 1:
        return f"stride: expected 1 to {MAXIMUM_SIDE + 1}, got {stride}"
    if not 1 <= dims["N"] <= MAXIMUM_TAPS:
        return f"offset: expected 1 to {MAXIMUM_TAPS} taps, two channels each, got {dims['N']}"
    if len(taps) != 2 * dims["N"]:
        return f"taps: expected {2 * dims['N']} numbers, two for each tap of offset, got {len(taps)}"
    if max(map(abs, taps)) >= 1 << 20:
        return "taps: expected numbers below 1048576 in size"
    for mine, theirs, what in (("h", "H", "height"), ("w", "W", "width")):
        side, wanted = dims[theirs], -(-dims[theirs] // stride)
        if dims[mine] != wanted:
            return f"offset: expected {what} {wanted} for {side} pixels at stride {stride}, got {dims[mine]}"
        if side > MAXIMUM_SIDE:  # beyond it float32 places samples coarser than an eighth of a pixel
            return f"x: expected a {what} of at most {MAXIMUM_SIDE}, got {side}"
    return None


SPEC = OpSpec(
    name="AKConvSample",
    folder="akconv_sample",
    summary="bilinear samples at learned positions, doubled at the border",
    inputs=(
        Operand("x", ("B", "C", "H", "W"), "feature map", is_feature=True),
        Operand("offset", ("B", "2*N", "h", "w"), "pixels: rows of N taps, then columns of N taps"),
    ),
    outputs=(Operand("sampled", ("B", "C", "N", "h", "w"), "samples", is_feature=True),),
    attributes=(
        Attribute("stride", "int", "pixels from one place of the output to the next", 1),
        Attribute(
            "grid", "string", "which place reads where; xy for weights trained with that fault", "ij", GRIDS
        ),
        Attribute("taps", "ints", "row and column of each tap by turns, in pixels"),
    ),
    reference=akconv_sample_reference,
    cases=cases,
    check=check_akconv_sample,
)
