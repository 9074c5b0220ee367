"""What `tercelet prepare` made, for programs and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tercelet.evaluation.preparation.settings import PrepareSettings
from tercelet.evaluation.table import text_table


@dataclass(frozen=True)
class PreparedSplit:
    """frames: in the split; of them `found` were there already. objects: that count, and of them `hits` lie
    wholly in a crop. crop_area_share: pixels of all crops by pixels of all frames; overlaps count twice."""

    name: str
    frames: int
    found: int
    objects: int
    crops: int
    hits: int
    crop_area_share: float

    @property
    def hit_rate(self) -> float | None:
        """hits by objects; None without objects."""
        return self.hits / self.objects if self.objects else None


@dataclass(frozen=True)
class PreparationResult:
    """seconds: of this run. notes: what a reader should know about the files, one sentence each."""

    root: Path
    output: Path
    settings: PrepareSettings
    splits: tuple[PreparedSplit, ...]
    seconds: float
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "root": str(self.root),
            "output": str(self.output),
            "settings": asdict(self.settings),
            "splits": [{**asdict(split), "hit_rate": split.hit_rate} for split in self.splits],
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def preparation_text(result: PreparationResult) -> str:
    """A line a split, and the notes."""
    header = ("split", "frames", "already there", "objects", "crops", "a frame", "hit rate", "crop area")
    rows = [
        (
            split.name,
            str(split.frames),
            str(split.found),
            str(split.objects),
            str(split.crops) if result.settings.crops else "-",
            f"{split.crops / split.frames:.2f}" if result.settings.crops else "-",
            "-" if split.hit_rate is None or not result.settings.crops else f"{split.hit_rate:.3f}",
            f"{split.crop_area_share:.3f}" if result.settings.crops else "-",
        )
        for split in result.splits
    ]
    end = f"{result.output}: complete, {result.seconds:.1f} s"
    return "\n".join([text_table(header, rows), *result.notes, end])
