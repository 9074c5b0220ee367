"""The rows of results.csv and of the progress: one an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

RESULTS_FILE = "results.csv"


@dataclass(frozen=True)
class EpochResult:
    """epoch: from 1. loss: mean over the epoch's steps. lr: at its end. The others as in `DensityFigures`."""

    epoch: int
    loss: float
    lr: float
    count_error: float
    objects: float
    coverage: float
    seconds: float


def csv_from_results(rows: Sequence[EpochResult]) -> str:
    """A header and a line an epoch."""
    names = [field.name for field in fields(EpochResult)]
    lines = [",".join(f"{value:.6g}" for value in asdict(row).values()) for row in rows]
    return "\n".join([",".join(names), *lines]) + "\n"


def line_from_result(row: EpochResult, *, epochs: int) -> str:
    """One line of progress."""
    return (
        f"epoch {row.epoch}/{epochs}: loss {row.loss:.4f}, count off by {row.count_error:.1f} of "
        f"{row.objects:.1f}, densest tenth holds {row.coverage:.1%}, {row.seconds:.0f} s"
    )
