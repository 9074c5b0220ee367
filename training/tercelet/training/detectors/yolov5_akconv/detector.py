"""YOLOv5 with AKConv.

Paper: Zhang et al., "AKConv: Convolutional Kernel with Arbitrary Sampled Shapes and Arbitrary Number of
Parameters", arXiv 2311.11587 (later renamed LDConv); YOLOv5 as in its own folder.
Compatible with: YOLOv5 v6.0 to v7.0 with the AKConv layers of the authors' configuration
(yolov5n-akconv-official and so on), and with those of the article that puts AKConv into the neck and its C3
blocks as well (yolov5n-akconv and so on); LDConv's `p_n`, and convolutions stored as (O, C * N, 1, 1).
Upstream's licence: YOLOv5 AGPL-3.0 (v6.x: GPL-3.0), AKConv and LDConv none. Nothing is copied; written
from the facts of the architecture.
Deliberate differences: those of YOLOv5 and of AKConv. The grid of meshgrid's "xy" indexing, with which the
article's code was trained, has to be asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from tercelet.training.detectors.layers import Layer
from tercelet.training.detectors.yolov5.detector import YOLOv5
from tercelet.training.detectors.yolov5.trunk import SCALES
from tercelet.training.detectors.yolov5_akconv.options import AKConvOptions, OfficialAKConvOptions
from tercelet.training.detectors.yolov5_akconv.state import (
    lists_by_column,
    state_of_layers,
    tables_of_layers,
    taps_of_layers,
)
from tercelet.training.detectors.yolov5_akconv.trunk import STRIDED_ROWS, article_trunk, official_trunk


class YOLOv5AKConv(YOLOv5):
    """yolov5n-akconv to yolov5x-akconv, the article's layers."""

    options_type: ClassVar[type[AKConvOptions]] = AKConvOptions

    def __init__(self, detector: str, scale: str, options: AKConvOptions) -> None:
        super().__init__(detector, scale, options)
        _warn_about_grid(detector, options)

    @classmethod
    def layer_table(cls, scale: str, options: Any) -> Sequence[Layer]:
        return article_trunk(SCALES[scale], grid=options.grid, tables=options.tables)

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        found = super().options_from_state(state)
        tables = tables_of_layers(state) if found else None
        return found if tables is None else {**found, "tables": tables}

    @classmethod
    def upstream_state(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        return state_of_layers(super().upstream_state(state))


class YOLOv5AKConvOfficial(YOLOv5AKConv):
    """yolov5n-akconv-official to yolov5x-akconv-official, the layers of the authors' configuration."""

    options_type: ClassVar[type[OfficialAKConvOptions]] = OfficialAKConvOptions

    @classmethod
    def layer_table(cls, scale: str, options: Any) -> Sequence[Layer]:
        return official_trunk(SCALES[scale], taps=options.taps, grid=options.grid, tables=options.tables)

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        found = super().options_from_state(state)
        taps = taps_of_layers(state).get(f"model.{STRIDED_ROWS[0]}") if found else None
        return {**found, "taps": taps} if taps else found


def _warn_about_grid(detector: str, options: AKConvOptions) -> None:
    if options.grid == "xy":
        warnings.warn(
            f'{detector}: grid="xy" reads rows as columns: every AKConv layer transposes a square map and '
            "scrambles any other, so boxes come out in the wrong place. It is there for weights that were "
            'trained so; grid="ij" is right',
            stacklevel=2,
        )
    elif any(table and lists_by_column(tuple(table)) for table in options.tables):
        warnings.warn(
            f"{detector}: the weights list their taps column by column, as code does that also mixes up rows "
            "and columns of the map; the taps are used as listed. If the weights were trained so, load them "
            'with grid="xy"',
            stacklevel=2,
        )
