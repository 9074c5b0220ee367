"""The case table of AKConvSample: every rule of the op once, and every AKConv layer of yolov5n-akconv at 640
px."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import AttributeValue, Case

# Offsets of trained and of fixture networks spread by 0.4 to 2 pixels.
OFFSET_SPREAD = 1.5


@dataclass(frozen=True)
class Row:
    """One row. size: batch, channels, height, width of x. offsets: normal, zero (all coordinates exact),
    far (thousands of pixels outside), or broken (NaN and infinities among them)."""

    name: str
    size: tuple[int, int, int, int]
    taps: int
    stride: int = 1
    grid: str = "ij"
    offsets: str = "normal"
    table: tuple[int, ...] | None = None
    layer: str = ""
    outputs: int = 0
    """Output channels of the layer's 1x1 convolution; 0 for twice the inputs."""


ROWS: tuple[Row, ...] = (
    Row("one pixel", (1, 4, 1, 1), 3),
    *(Row(f"{taps} taps", (1, 3 + taps % 3, 9, 12), taps, 1 + taps % 2) for taps in range(1, 17)),
    Row("25 taps", (1, 2, 11, 8), 25, 2),
    Row("stride 3 on odd sizes", (2, 5, 13, 17), 5, 3),
    Row("stride larger than the map", (1, 3, 4, 5), 4, 7),
    Row("one row", (1, 8, 1, 33), 5),
    Row("one column", (2, 3, 29, 1), 6, 2),
    Row("no offsets, every coordinate exact", (1, 6, 6, 8), 9, offsets="zero"),
    Row("no offsets at stride 2", (2, 4, 10, 7), 5, 2, offsets="zero"),
    Row("far outside", (1, 5, 8, 9), 5, offsets="far"),
    Row("NaN and infinity", (2, 7, 12, 10), 3, offsets="broken"),
    Row("17 channels", (1, 17, 20, 19), 3),
    Row("batch of 3", (3, 16, 10, 14), 3, 2),
    Row("own table of taps", (1, 6, 9, 9), 5, table=(-1, -1, -1, 1, 0, 0, 1, -1, 1, 1)),
    Row("xy on a square", (1, 6, 10, 10), 3, grid="xy"),
    Row("xy on a square, 5 taps, stride 2", (2, 8, 12, 12), 5, 2, grid="xy"),
    Row("xy on a wide map", (1, 4, 6, 11), 9, grid="xy"),
    Row("xy on a tall map, stride 2", (2, 4, 13, 6), 4, 2, grid="xy"),
    Row("xy, broken offsets", (1, 4, 7, 9), 2, grid="xy", offsets="broken"),
    Row("no image", (0, 4, 6, 6), 3),
    Row("no channel", (1, 0, 6, 6), 3),
    Row("no pixel", (1, 4, 0, 6), 3),
    Row("layer 1", (1, 16, 320, 320), 3, 2, layer="1", outputs=32),
    Row("layer 3", (1, 32, 160, 160), 3, 2, layer="3", outputs=64),
    Row("layer 5", (1, 64, 80, 80), 3, 2, layer="5", outputs=128),
    Row("layer 7", (1, 128, 40, 40), 3, 2, layer="7", outputs=256),
    Row("layer 10", (1, 256, 20, 20), 1, layer="10", outputs=128),
    Row("layer 14", (1, 128, 40, 40), 1, layer="14", outputs=64),
    Row("layer 17", (1, 32, 80, 80), 3, layer="17", outputs=32),
    Row("layer 18", (1, 64, 80, 80), 3, 2, layer="18", outputs=64),
    Row("layer 20", (1, 64, 40, 40), 3, layer="20", outputs=64),
    Row("layer 21", (1, 128, 40, 40), 3, 2, layer="21", outputs=128),
    Row("layer 23", (1, 128, 20, 20), 3, layer="23", outputs=128),
)


def cases() -> Sequence[Case]:
    """The rows as inputs and attributes; the same on every machine and in every process."""
    return [case_of(row) for row in ROWS]


def case_of(row: Row) -> Case:
    """A row with its arrays drawn."""
    from tercelet.ops.akconv_sample.spec import default_taps  # the specification imports this table

    batch, _, height, width = row.size
    x = generator_for(row.name).standard_normal(row.size, np.float32)
    size = (batch, 2 * row.taps, -(-height // row.stride), -(-width // row.stride))
    taps = default_taps(row.taps, row.grid) if row.table is None else row.table
    attributes: dict[str, AttributeValue] = {"stride": row.stride, "grid": row.grid, "taps": taps}
    return Case(row.name, (x, _offsets(row, size)), attributes, row.layer)


def generator_for(name: str) -> np.random.Generator:
    """A stream of its own for every name."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def _offsets(row: Row, size: tuple[int, ...]) -> NDArray[np.float32]:
    generator = generator_for(f"{row.name}: offsets")
    drawn = generator.standard_normal(size, np.float32) * np.float32(OFFSET_SPREAD)
    if row.offsets == "zero":
        drawn[...] = 0
    elif row.offsets == "far":
        drawn *= np.float32(1e4)
    elif row.offsets == "broken":
        kind = generator.integers(0, 12, size)
        for number, value in enumerate((np.nan, np.inf, -np.inf, 3.4e38, -3.4e38)):
            drawn[kind == number] = value
    return drawn
