"""What a check of a data set found: figures, and problems by kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tercelet.contract.errors import CheckFailedError

Kind = Literal[
    "missing picture",
    "unreadable picture",
    "size mismatch",
    "missing annotation",
    "unknown class",
    "wrong annotation",
    "box outside",
    "box without area",
    "duplicate box",
    "same picture twice",
    "same picture in both",
]
Severity = Literal["error", "warning"]
# Errors: training would stop, or learn what is not there. Warnings: training copes (boxes are cut at the
# border, empty ones left out), and the figures may suffer.
KINDS: Mapping[Kind, Severity] = {
    "missing picture": "error",
    "unreadable picture": "error",
    "size mismatch": "error",
    "missing annotation": "error",
    "unknown class": "error",
    "wrong annotation": "error",
    "box outside": "warning",
    "box without area": "warning",
    "duplicate box": "warning",
    "same picture twice": "warning",
    "same picture in both": "warning",
}
_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """kind: of KINDS. where: the file, with the line or the field where known. message: for people, complete.
    count: how many boxes it is about, 1 for anything else."""

    kind: Kind
    where: str
    message: str
    count: int = 1

    @property
    def severity(self) -> Severity:
        """Whether training should refuse the data set."""
        return KINDS[self.kind]


@dataclass(frozen=True)
class DatasetReport:
    """Figures and problems of a data set.

    Figures are those of the frames and lines that can be read. objects: number a class, in the data set's
    order. sizes: objects by area, small below 32^2 pixels of the frame, large from 96^2 on. ignored: boxes
    and regions that are neither right nor wrong. decoded: whether every picture was decoded whole. notes:
    those of the parser.
    """

    source: str
    format: str
    frames: int
    frames_without_objects: int
    objects: tuple[tuple[str, int], ...]
    sizes: tuple[tuple[str, int], ...]
    ignored: int
    decoded: bool
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems that training should not start with."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems that training copes with."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def raise_problems(self, *, strict: bool = False) -> None:
        """CheckFailedError with the first few errors and their number; with `strict` warnings count too."""
        found = (*self.errors, *(self.warnings if strict else ()))
        if not found:
            return
        lines = [f"{self.source}: expected a data set without problems, got {len(found)}"]
        lines += [f"  {problem.kind}: {problem.message}" for problem in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"  and {len(found) - _SHOWN} more")
        lines.append("mend the files" + (", or train without --strict" if not self.errors else ""))
        raise CheckFailedError("\n".join(lines))

    def text(self) -> str:
        """For people: figures, then the problems by kind, the first few of each."""
        total = sum(count for _, count in self.objects)
        width = max((len(name) for name, _ in self.objects), default=0)
        lines = [
            f"{self.source} ({self.format}): {self.frames} frames, {self.frames_without_objects} without "
            f"objects; {total} objects, {self.ignored} boxes and regions ignored",
            "sizes: " + ", ".join(f"{count} {name}" for name, count in self.sizes),
            *(f"  {name:{width}}  {count}" for name, count in self.objects),
            *(f"note: {note}" for note in self.notes),
        ]
        if not self.decoded:
            lines.append("note: pictures were looked at, not decoded whole")
        for kind, severity in KINDS.items():
            lines += _lines_of(kind, severity, [p for p in self.problems if p.kind == kind])
        lines.append(f"{len(self.errors)} errors, {len(self.warnings)} warnings")
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "source": self.source,
            "format": self.format,
            "frames": self.frames,
            "frames_without_objects": self.frames_without_objects,
            "objects": dict(self.objects),
            "sizes": dict(self.sizes),
            "ignored": self.ignored,
            "decoded": self.decoded,
            "notes": list(self.notes),
            "problems": [
                {
                    "kind": problem.kind,
                    "severity": problem.severity,
                    "where": problem.where,
                    "message": problem.message,
                    "count": problem.count,
                }
                for problem in self.problems
            ],
        }


def _lines_of(kind: Kind, severity: Severity, problems: list[Problem]) -> list[str]:
    if not problems:
        return []
    total = sum(problem.count for problem in problems)
    more = len(problems) - _SHOWN
    return [
        f"{severity}: {kind}: {total}",
        *(f"  {problem.message}" for problem in problems[:_SHOWN]),
        *([f"  and {more} more like it"] if more > 0 else []),
    ]
