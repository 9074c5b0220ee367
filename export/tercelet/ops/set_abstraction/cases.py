"""The case table of SetAbstraction: every rule of the op once, and the levels of VoteNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tercelet.contract.op_spec import Case
from tercelet.ops.akconv_sample.cases import generator_for
from tercelet.ops.furthest_point_sample.cases import cloud_of


@dataclass(frozen=True)
class Row:
    """One row. used: the share of slots that are not copies of the first, about."""

    name: str
    size: tuple[int, int, int, int]
    """Clouds, points, centres, slots."""
    channels: tuple[int, int, int, int]
    """Features, and those after each layer."""
    radius: float = 0.5
    used: float = 0.6
    layer: str = ""


ROWS: tuple[Row, ...] = (
    Row("usual", (2, 70, 20, 16), (5, 16, 32, 48)),
    Row("no whole vector", (2, 50, 13, 7), (3, 10, 7, 5)),
    Row("one channel", (1, 30, 9, 4), (1, 1, 1, 1)),
    Row("one feature", (1, 60, 9, 6), (1, 16, 16, 16)),
    Row("one point", (1, 1, 5, 3), (2, 16, 16, 16)),
    Row("fewer points than a tile has rows", (1, 5, 7, 3), (2, 16, 16, 32)),
    Row("one slot", (1, 40, 30, 1), (4, 16, 16, 16)),
    Row("all slots used", (1, 300, 40, 30), (4, 16, 16, 16), used=1.0),
    Row("all slots are copies", (1, 64, 50, 30), (4, 32, 16, 16), used=0.0),
    Row("a small radius", (1, 90, 20, 9), (4, 16, 16, 16), radius=0.01),
    Row("more centres than points", (2, 30, 75, 5), (6, 16, 48, 16)),
    Row("no centre", (2, 40, 0, 4), (3, 16, 16, 16)),
    Row("no cloud", (0, 12, 5, 4), (3, 16, 16, 16)),
    Row("SA 0", (1, 20000, 2048, 64), (1, 64, 64, 128), 0.2, 0.55, "SA 0"),
    Row("SA 1", (1, 2048, 1024, 32), (128, 128, 128, 256), 0.4, 0.7, "SA 1"),
    Row("SA 2", (1, 1024, 512, 16), (256, 128, 128, 256), 0.8, 0.8, "SA 2"),
    Row("SA 3", (1, 512, 256, 16), (256, 128, 128, 256), 1.2, 0.8, "SA 3"),
    Row("proposals", (1, 1024, 256, 16), (256, 128, 128, 128), 0.3, 0.8, "proposals"),
)


def cases() -> Sequence[Case]:
    """The rows as inputs and attributes; the same on every machine and in every process."""
    return [case_of(row) for row in ROWS]


def case_of(row: Row) -> Case:
    """A row with its arrays drawn."""
    clouds, points, centres, slots = row.size
    generator = generator_for(row.name)
    xyz = cloud_of(row.name, (clouds, points))
    index = generator.integers(0, points, (clouds, centres, slots), np.int32)
    hits = generator.binomial(slots, row.used, (clouds, centres, 1))
    index = np.where(np.arange(slots) < hits, index, index[..., :1]).astype(np.int32)
    start = generator.integers(0, points, (clouds, centres, 1))
    centre = np.take_along_axis(xyz, start, 1)
    arrays = [generator.standard_normal((clouds, row.channels[0], points), np.float32)]
    inputs = 3 + row.channels[0]
    for outputs in row.channels[1:]:
        weight = generator.standard_normal((outputs, inputs)) * np.sqrt(2 / inputs)
        arrays += [weight.astype(np.float32), 0.1 * generator.standard_normal(outputs, np.float32)]
        inputs = outputs
    arrays = [array.astype(np.float32) for array in arrays]
    return Case(row.name, (xyz, centre, index, *arrays), {"radius": row.radius}, row.layer)
