"""The case table of ThreeInterpolate: every rule of the op once, and the propagations of VoteNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tercelet.contract.op_spec import Case
from tercelet.ops.akconv_sample.cases import generator_for
from tercelet.ops.furthest_point_sample.cases import cloud_of


@dataclass(frozen=True)
class Row:
    """One row. points: as in FurthestPointSample's table. is_among: known points are the first unknown
    ones."""

    name: str
    size: tuple[int, int, int, int]
    """Clouds, unknown points, known points, channels."""
    weighting: str = "distance"
    points: str = "room"
    is_among: bool = True
    layer: str = ""


ROWS: tuple[Row, ...] = (
    Row("usual", (2, 150, 60, 10)),
    Row("squared", (2, 150, 60, 10), "squared"),
    Row("one known point", (1, 9, 1, 4)),
    Row("two known points", (1, 9, 2, 4)),
    Row("three known points", (2, 9, 3, 4), "squared"),
    Row("one point", (1, 1, 5, 3), is_among=False),
    Row("none coincide", (1, 70, 40, 17), is_among=False),
    Row("none coincide, squared", (1, 70, 40, 17), "squared", is_among=False),
    Row("equally near", (1, 200, 90, 3), points="lattice"),
    Row("copies", (1, 80, 80, 3), points="copies"),
    Row("copies, squared", (1, 80, 80, 3), "squared", points="copies"),
    Row("all equal", (1, 20, 20, 3), points="equal"),
    Row("NaN and infinity", (3, 90, 60, 5), points="broken"),
    Row("nothing finite", (1, 12, 9, 2), points="nowhere"),
    Row("squares beyond float32", (1, 90, 60, 5), points="large"),
    Row("no channel", (1, 12, 9, 0)),
    Row("no unknown point", (1, 0, 9, 3), is_among=False),
    Row("no cloud", (0, 12, 9, 3)),
    Row("FP 0", (1, 512, 256, 256), layer="FP 0"),
    Row("FP 1", (1, 1024, 512, 256), layer="FP 1"),
)


def cases() -> Sequence[Case]:
    """The rows as inputs and attributes; the same on every machine and in every process."""
    return [case_of(row) for row in ROWS]


def case_of(row: Row) -> Case:
    """A row with its arrays drawn."""
    clouds, unknown_points, known_points, channels = row.size
    unknown = cloud_of(row.name, (clouds, max(unknown_points, known_points)), row.points)
    known = (
        unknown[:, :known_points] if row.is_among else cloud_of(f"{row.name}: known", (clouds, known_points))
    )
    features = generator_for(f"{row.name}: features").standard_normal(
        (clouds, channels, known_points), np.float32
    )
    inputs = (np.ascontiguousarray(unknown[:, :unknown_points]), np.ascontiguousarray(known), features)
    return Case(row.name, inputs, {"weighting": row.weighting}, row.layer)
