"""The layer tables of YOLOv5 with AKConv: that of YOLOv5 with some rows exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from tercelet.contract.errors import InputError
from tercelet.training.detectors.akconv import AKConv, C3AKConv
from tercelet.training.detectors.layers import Layer
from tercelet.training.detectors.scaling import Scale
from tercelet.training.detectors.yolov5.trunk import trunk

STRIDED_ROWS = (1, 3, 5, 7, 18, 21)
"""The convolutions of stride 2 but for the first; AKConv in both variants."""
ARTICLE_TAPS: Mapping[int, int] = {**dict.fromkeys(STRIDED_ROWS, 3), 10: 1, 14: 1}
ARTICLE_C3_ROWS = (17, 20, 23)
_C3_REPEATS = 3

Tables = Sequence[Sequence[int]]


def article_trunk(scale: Scale, *, grid: str, tables: Tables) -> tuple[Layer, ...]:
    """AKConv of 3 taps at stride 2, of one tap in place of the 1x1 convolutions, and inside the last C3s."""
    return _exchanged(scale, ARTICLE_TAPS, ARTICLE_C3_ROWS, grid=grid, tables=tables)


def official_trunk(scale: Scale, *, taps: int, grid: str, tables: Tables) -> tuple[Layer, ...]:
    """AKConv of `taps` taps at stride 2, the rest as it is."""
    return _exchanged(scale, dict.fromkeys(STRIDED_ROWS, taps), (), grid=grid, tables=tables)


def _exchanged(
    scale: Scale, taps: Mapping[int, int], c3_rows: Sequence[int], *, grid: str, tables: Tables
) -> tuple[Layer, ...]:
    """taps: N of the rows that become an AKConv. c3_rows: the rows that become a C3 with AKConv."""
    repeats = scale.repeats(_C3_REPEATS)
    layers = len(taps) + repeats * len(c3_rows)
    if tables and len(tables) != layers:
        raise InputError(
            f"tables: expected {layers}, one for each AKConv layer (an empty one for the published taps), or "
            f"none at all, got {len(tables)}"
        )
    left = iter(tables or [()] * layers)
    rows = list(trunk(scale))
    for index in sorted((*taps, *c3_rows)):
        if index in taps:
            rows[index] = _akconv(rows[index], taps[index], grid=grid, table=next(left))
        else:
            rows[index] = _c3_akconv(rows[index], grid=grid, tables=[next(left) for _ in range(repeats)])
    return tuple(rows)


def _akconv(row: Layer, taps: int, *, grid: str, table: Sequence[int]) -> Layer:
    assert row.channels is not None
    make = partial(AKConv, outputs=row.channels, taps=taps, stride=row.downsample, grid=grid, table=table)
    return Layer(make, row.channels, downsample=row.downsample)


def _c3_akconv(row: Layer, *, grid: str, tables: Tables) -> Layer:
    assert row.channels is not None
    make = partial(C3AKConv, outputs=row.channels, shortcut=False, grid=grid, tables=tables)
    return Layer(make, row.channels)
