"""What can be chosen when a YOLOv5 with AKConv is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.ops.akconv_sample.spec import GRIDS, MAXIMUM_TAPS
from tercelet.training.detectors.options import check_count
from tercelet.training.detectors.yolov5.options import AnchorOptions

OFFICIAL_TAPS = 5


@dataclass(frozen=True)
class AKConvOptions(AnchorOptions):
    """classes, anchors: as YOLOv5. grid: "ij", or "xy" for weights trained with rows and columns mixed up.

    tables: empty for the published taps, or one table for each AKConv layer in the network's order, flat:
    row 0, column 0, row 1, column 1, ..., in pixels; an empty one for the published taps of the grid.
    """

    grid: str = "ij"
    tables: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid not in GRIDS:
            raise InputError(f"grid: expected {' or '.join(GRIDS)}, got {self.grid!r}")
        if not _are_tables(self.tables):
            raise InputError(
                "tables: expected one list of whole numbers for each AKConv layer, row and column of each "
                f"tap by turns, got {self.tables!r}"
            )


@dataclass(frozen=True)
class OfficialAKConvOptions(AKConvOptions):
    """As AKConvOptions. taps: N of every AKConv layer."""

    taps: int = OFFICIAL_TAPS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("taps", self.taps)
        if self.taps > MAXIMUM_TAPS:
            raise InputError(f"taps: expected at most {MAXIMUM_TAPS}, got {self.taps}")


def _are_tables(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or not all(isinstance(table, (list, tuple)) for table in value):
        return False
    return all(type(number) is int for table in value for number in table)
