"""The case table of BallQuery: every rule of the op once, and the groupings of VoteNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import AttributeValue, Case
from tercelet.ops.akconv_sample.cases import generator_for
from tercelet.ops.furthest_point_sample.cases import cloud_of


@dataclass(frozen=True)
class Row:
    """One row. points: as in FurthestPointSample's table. centres: among (some of the points), apart (points
    of another cloud), outside (far from all), or broken (NaN and infinities among them)."""

    name: str
    size: tuple[int, int, int]
    """Clouds, points, centres."""
    radius: float
    samples: int
    min_radius: float = 0.0
    points: str = "room"
    centres: str = "among"
    layer: str = ""


ROWS: tuple[Row, ...] = (
    Row("usual", (2, 700, 120), 0.8, 16),
    Row("one point", (1, 1, 3), 0.5, 4),
    Row("one sample", (1, 90, 20), 0.7, 1),
    Row("more samples than points", (2, 9, 12), 3.0, 20),
    Row("centres between points", (2, 400, 60), 0.9, 12, centres="apart"),
    Row("nothing near", (1, 150, 30), 0.5, 6, centres="outside"),
    Row("all in reach", (1, 200, 10), 50.0, 32),
    Row("exactly at the radius", (1, 600, 200), 0.25, 8, points="lattice"),
    Row("exactly at both radii", (1, 600, 200), 0.5, 8, 0.25, points="lattice"),
    Row("a shell", (2, 500, 70), 1.0, 16, 0.6),
    Row("a radius whose square is 0", (1, 300, 80), 1e-30, 5, points="copies"),
    Row("no thickness", (1, 300, 80), 0.4, 5, 0.4, points="copies"),
    Row("copies", (1, 100, 100), 0.3, 9, points="copies"),
    Row("all equal", (1, 200, 100), 0.1, 4, points="equal"),
    Row("NaN and infinity", (3, 300, 90), 0.9, 10, points="broken", centres="broken"),
    Row("nothing finite", (1, 200, 90), 0.9, 10, points="nowhere"),
    Row("squares beyond float32", (1, 400, 90), 0.7, 10, points="large"),
    Row("squares beyond float32, wide", (1, 400, 90), 1e17, 10, points="large"),
    Row("cells much smaller than the cloud", (1, 2000, 60), 0.003, 8),
    Row("no centre", (2, 40, 0), 0.5, 4),
    Row("no cloud", (0, 12, 5), 0.5, 4),
    Row("SA 0", (1, 20000, 2048), 0.2, 64, layer="SA 0"),
    Row("SA 1", (1, 2048, 1024), 0.4, 32, layer="SA 1"),
    Row("SA 2", (1, 1024, 512), 0.8, 16, layer="SA 2"),
    Row("SA 3", (1, 512, 256), 1.2, 16, layer="SA 3"),
    Row("proposals", (1, 1024, 256), 0.3, 16, centres="apart", layer="proposals"),
)


def cases() -> Sequence[Case]:
    """The rows as inputs and attributes; the same on every machine and in every process."""
    return [case_of(row) for row in ROWS]


def case_of(row: Row) -> Case:
    """A row with its arrays drawn."""
    clouds, points, _ = row.size
    xyz = cloud_of(row.name, (clouds, points), row.points)
    attributes: dict[str, AttributeValue] = {
        "radius": row.radius,
        "samples": row.samples,
        "min_radius": row.min_radius,
    }
    return Case(row.name, (xyz, _centres(row, xyz)), attributes, row.layer)


def _centres(row: Row, xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    clouds, points, count = row.size
    name = f"{row.name}: centres"
    if row.centres == "apart":
        return cloud_of(name, (clouds, count))
    chosen = generator_for(name).integers(0, points, (clouds, count))
    centres = np.take_along_axis(xyz, chosen[..., None], 1)
    if row.centres == "outside":
        away = np.float32(40) * generator_for(name).choice((-1, 1), centres.shape)
        centres = np.asarray(centres + away, np.float32)
    if row.centres == "broken":
        centres[:, ::7, 1] = np.nan
        centres[:, 1::7, 2] = np.inf
    return np.asarray(centres, np.float32)
