"""results.csv: a row for each epoch, there as soon as the epoch is over."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tercelet.contract.errors import InputError
from tercelet.training.detector_training.records.whole_file import write_whole

RESULTS_FILE = "results.csv"
_PART = "loss_"
_BEFORE = ("epoch", "seconds", "images_per_second", "data_wait", "lr")
PrecisionName = Literal["ap25", "ap50", "ap"]
PICTURE_PRECISIONS: tuple[PrecisionName, ...] = ("ap50", "ap")
CLOUD_PRECISIONS: tuple[PrecisionName, ...] = ("ap50", "ap25")


@dataclass(frozen=True)
class EpochRow:
    """One epoch, counted from 1.

    seconds: of the whole epoch, evaluation included. images_per_second: of the training steps. data_wait:
    share of their time, 0 to 1, that was spent waiting for images. lr: at the end. losses: mean of each part
    over the steps, in the order of the columns; loss: of their sum. ap50, ap: of the validation frames, 0 to
    1; None where the epoch was not evaluated. objects: boxes that were learned from. ap25: as ap50, of
    networks that look at clouds; they have no ap.
    """

    epoch: int
    seconds: float
    images_per_second: float
    data_wait: float
    lr: float
    losses: Mapping[str, float]
    loss: float
    objects: int
    ap50: float | None = None
    ap: float | None = None
    ap25: float | None = None


class ResultsFile:
    """A results.csv that grows by a row an epoch; whenever it is looked at, it is whole."""

    def __init__(
        self,
        path: str | Path,
        *,
        parts: Sequence[str],
        precisions: tuple[PrecisionName, ...] = PICTURE_PRECISIONS,
        resume_after: int = 0,
    ) -> None:
        """parts: names of the parts of the loss, a column each. precisions: the figures that there are, a
        column each. resume_after: rows of this epoch and of those
        before are kept, later ones dropped; 0 begins anew.

        Raises InputError where rows are to be kept and the file cannot be read or has other columns.
        """
        self.path = Path(path)
        self._parts, self._precisions = tuple(parts), precisions
        kept = read_results(self.path) if resume_after and self.path.exists() else ()
        if kept and tuple(kept[0].losses) != self._parts:
            raise InputError(
                f"{self.path}: expected the parts of the loss {', '.join(self._parts)}, "
                f"got {', '.join(kept[0].losses)}; resume the training that wrote it"
            )
        self._rows = [row for row in kept if row.epoch <= resume_after]
        self._write()

    @property
    def rows(self) -> tuple[EpochRow, ...]:
        """All that the file holds, in the order of the epochs."""
        return tuple(self._rows)

    def append(self, row: EpochRow) -> None:
        """Add an epoch. Raises InputError for one that is not behind the last, and for other parts."""
        if self._rows and row.epoch <= self._rows[-1].epoch:
            raise InputError(f"{self.path}: expected an epoch after {self._rows[-1].epoch}, got {row.epoch}")
        if tuple(row.losses) != self._parts:
            raise InputError(
                f"{self.path}: expected the parts of the loss {', '.join(self._parts)}, "
                f"got {', '.join(row.losses)}"
            )
        self._rows.append(row)
        self._write()

    def _write(self) -> None:
        names = (*_BEFORE, *(f"{_PART}{name}" for name in self._parts), *_after(self._precisions))
        lines = [",".join(names), *(",".join(_cells(row, self._precisions)) for row in self._rows)]
        write_whole(self.path, ("\n".join(lines) + "\n").encode())


def read_results(path: str | Path) -> tuple[EpochRow, ...]:
    """The rows of a results.csv; InputError says which line is not one."""
    path = Path(path)
    try:
        table = [*csv.reader(io.StringIO(path.read_text(encoding="utf-8")))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a results.csv: {error}") from error
    names = tuple(table[0]) if table else ()
    after = _after(CLOUD_PRECISIONS if "ap25" in names else PICTURE_PRECISIONS)
    parts = names[len(_BEFORE) : len(names) - len(after)]
    is_header = names[: len(_BEFORE)] == _BEFORE and names[len(_BEFORE) + len(parts) :] == after
    if not is_header or not all(name.startswith(_PART) for name in parts):
        raise InputError(
            f"{path}: expected the columns {', '.join(_BEFORE)}, {_PART}..., {', '.join(after)}, "
            f"got {', '.join(names) or 'an empty file'}"
        )
    precisions = after[1:-1]
    return tuple(
        _row(dict(zip(names, cells, strict=False)), precisions, where=f"{path}:{line}")
        for line, cells in enumerate(table[1:], 2)
    )


def _after(precisions: tuple[PrecisionName, ...]) -> tuple[str, ...]:
    return ("loss", *precisions, "objects")


def _cells(row: EpochRow, precisions: tuple[PrecisionName, ...]) -> list[str]:
    middle = [row.seconds, row.images_per_second, row.data_wait, row.lr, *row.losses.values(), row.loss]
    return [
        str(row.epoch),
        *map(_text, middle),
        *(_text(getattr(row, n)) for n in precisions),
        str(row.objects),
    ]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def _row(cells: Mapping[str, str], precisions: Sequence[str], *, where: str) -> EpochRow:
    try:
        return EpochRow(
            epoch=int(cells["epoch"]),
            seconds=float(cells["seconds"]),
            images_per_second=float(cells["images_per_second"]),
            data_wait=float(cells["data_wait"]),
            lr=float(cells["lr"]),
            losses={
                name.removeprefix(_PART): float(text)
                for name, text in cells.items()
                if name.startswith(_PART)
            },
            loss=float(cells["loss"]),
            objects=int(cells["objects"]),
            **{name: float(cells[name]) if cells[name] else None for name in precisions},
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: expected the numbers of an epoch: {error}; remove the line") from error
