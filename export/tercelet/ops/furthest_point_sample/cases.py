"""The case table of FurthestPointSample: every rule of the op once, and the samplings of VoteNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Case
from tercelet.ops.akconv_sample.cases import generator_for

# A room of SUN RGB-D: metres.
ROOM = (6.0, 5.0, 2.5)


@dataclass(frozen=True)
class Row:
    """One row. points: room (on its walls and in it), lattice (multiples of 1/4, so that many distances are
    equal), copies (each point several times), equal (one place), broken (NaN and infinities among them),
    nowhere (nothing else), large (some coordinates whose squares are beyond float32)."""

    name: str
    size: tuple[int, int]
    """Clouds and points in each."""
    count: int
    points: str = "room"
    ties: str = "lowest"
    layer: str = ""


ROWS: tuple[Row, ...] = (
    Row("usual", (2, 700), 128),
    Row("one point", (1, 1), 3),
    Row("two points", (1, 2), 2, ties="mmcv"),
    Row("one is taken", (3, 40), 1),
    Row("more are taken than there are", (2, 19), 30),
    Row("more are taken than there are, mmcv", (2, 19), 30, ties="mmcv"),
    *(Row(f"{count} points", (1, count), 9) for count in (3, 15, 16, 17, 63, 64, 65, 127, 129)),
    Row("lattice", (1, 1000), 96, "lattice"),
    Row("lattice, mmcv", (1, 1000), 96, "lattice", "mmcv"),
    Row("lattice beyond one block, mmcv", (2, 2300), 64, "lattice", "mmcv"),
    Row("copies", (1, 60), 24, "copies"),
    Row("copies, mmcv", (1, 60), 24, "copies", "mmcv"),
    Row("all equal", (2, 50), 12, "equal"),
    Row("all equal, mmcv", (2, 50), 12, "equal", "mmcv"),
    Row("NaN and infinity", (3, 300), 40, "broken"),
    Row("NaN and infinity, mmcv", (3, 300), 400, "broken", "mmcv"),
    Row("nothing finite", (2, 33), 5, "nowhere", "mmcv"),
    Row("squares beyond float32", (1, 200), 30, "large"),
    Row("no cloud", (0, 12), 4),
    Row("room, mmcv", (1, 3000), 200, ties="mmcv"),
    Row("SA 0", (1, 20000), 2048, layer="SA 0"),
    Row("SA 1", (1, 2048), 1024, ties="mmcv", layer="SA 1"),
    Row("SA 2", (1, 1024), 512, layer="SA 2"),
    Row("SA 3", (1, 512), 256, layer="SA 3"),
    Row("proposals", (1, 1024), 256, "copies", "mmcv", layer="proposals"),
)


def cases() -> Sequence[Case]:
    """The rows as inputs and attributes; the same on every machine and in every process."""
    return [
        Case(
            row.name,
            (cloud_of(row.name, row.size, row.points),),
            {"count": row.count, "ties": row.ties},
            row.layer,
        )
        for row in ROWS
    ]


def cloud_of(name: str, size: tuple[int, int], kind: str = "room") -> NDArray[np.float32]:
    """Points (B, N, 3) of a kind that `Row` names, drawn from a stream of its own for every name."""
    generator = generator_for(name)
    points = room_points(generator, size)
    if kind == "lattice":
        points = np.asarray(np.round(points * 4) / 4, np.float32)
    elif kind == "copies":
        points = points[:, np.arange(size[1]) % max(size[1] // 5, 1)]
    elif kind == "equal":
        points = np.broadcast_to(points[:, :1], points.shape).copy()
    elif kind == "nowhere":
        points[...] = np.nan
    elif kind == "broken":
        kinds = generator.integers(0, 24, points.shape)
        kinds[:1, :2] = 0  # the first points of one cloud as well
        for number, value in enumerate((np.nan, np.inf, -np.inf)):
            points[kinds == number] = value
    elif kind == "large":
        points[generator.integers(0, 3, points.shape) == 0] *= np.float32(1e25)
    return np.asarray(points, np.float32)


def room_points(generator: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Two thirds of the points on floor and walls of a room, the others anywhere in it; metres."""
    points = generator.random((*size, 3)) * ROOM
    side = generator.integers(0, 6, size)
    for axis in range(3):
        points[..., axis][side == axis] = 0
    points[..., 1][side == 3] = ROOM[1]
    return np.asarray(points, np.float32)
