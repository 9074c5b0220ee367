"""What `tercelet run` tells a human: results on stdout, progress, warnings and the summary on stderr."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.runtime.plan_text import text_from_plan
from tercelet.runtime.printable import printable
from tercelet.runtime.progress import Progress
from tercelet.runtime.results import timing_of
from tercelet.runtime.running import RunListener, RunSummary
from tercelet.runtime.sources.frame import Frame, Source
from tercelet.runtime.sources.opening import Kind

if TYPE_CHECKING:
    from tercelet.contract.detections3d import Detections3d
    from tercelet.runtime.sources.rgbd import RgbdFrame


class RunConsole(RunListener):
    """A line a picture or cloud; a line a video at its end, and with verbose one a frame. A budget that the
    full frame alone exceeds is told once.

    stdout_is_taken: JSON lines go there, so the human ones are left out. quiet: warnings only.
    """

    def __init__(self, *, quiet: bool, verbose: bool, stdout_is_taken: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._talks = not quiet and not stdout_is_taken
        self._line_a_frame = False
        self._progress: Progress | None = None
        self._frames = 0
        self._labels: Counter[str] = Counter()
        self._told_of_budget = False
        self._told_notes: set[str] = set()

    def source_opened(self, source: Source, kind: Kind) -> None:
        """Start counting, with a bar unless each frame gets a line on this terminal or there is only one."""
        self._frames, self._labels = 0, Counter()
        self._line_a_frame = self._talks and (self._verbose or kind in ("picture", "folder"))
        lines_are_seen = self._line_a_frame and sys.stdout is not None and sys.stdout.isatty()
        if not (self._quiet or lines_are_seen or source.total == 1):
            self._progress = Progress(source.total, printable(Path(source.name).name)).__enter__()

    def frame_done(self, frame: Frame, detections: Detections) -> None:
        """Count the frame and, where each gets one, write its line."""
        self._frames += 1
        labels = count_labels(detections)
        self._labels.update(labels)
        if self._line_a_frame:
            say(line_from_frame(frame, detections, labels))
        if self._progress is not None:
            self._progress.advance()
        self._tell_of_budget(detections)

    def _tell_of_budget(self, detections: Detections) -> None:
        found = detections.report
        if self._told_of_budget or found is None or found.budget_ms is None or found.plan.limit > 0:
            return
        if found.predicted_ms is not None and found.predicted_ms > found.budget_ms:
            self._told_of_budget = True
            self.warned(
                f"the budget of {found.budget_ms:g} ms is less than the full frame alone takes, about "
                f"{found.predicted_ms:.0f} ms: nothing is looked at more closely; give a larger --budget-ms, "
                "or a bundle with a smaller canvas"
            )

    def source_ended(self, source: Source, kind: Kind) -> None:
        """Finish the bar; a video gets its line."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None
        if self._talks and kind not in ("picture", "folder"):
            name = printable(Path(source.name).name)
            say(f"{name}: {self._frames} frames: {_text_from_counts(self._labels)}")

    def clouds_opened(self, name: str, total: int) -> None:
        """A bar, unless each frame gets a line on this terminal or there is only one."""
        lines_are_seen = self._talks and sys.stdout is not None and sys.stdout.isatty()
        if not (self._quiet or lines_are_seen or total == 1):
            self._progress = Progress(total, printable(Path(name).name)).__enter__()

    def cloud_done(self, frame: RgbdFrame, detections: Detections3d, timing_ms: Mapping[str, float]) -> None:
        """The frame's line; what the detector did without is told once."""
        if self._talks:
            say(line_from_cloud(frame, detections, timing_ms))
        if self._progress is not None:
            self._progress.advance()
        for note in detections.notes:
            if not self._quiet and note not in self._told_notes:
                self._told_notes.add(note)
                self.warned(note)

    def clouds_ended(self) -> None:
        """Finish the bar."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None

    def warned(self, message: str) -> None:
        """A line on stderr, the bar taken away before it."""
        if self._progress is not None:
            self._progress.clear()
        report(f"tercelet: {printable(message)}")


def line_from_frame(frame: Frame, detections: Detections, labels: Counter[str]) -> str:
    """Name, width x height, counts, times: `bus.jpg 810x1080: 4 person, 1 bus  (read 5.1, infer 30.5 ms)`.

    Where there is a plan it follows: `  plan canvas: 3 canvases, 11 regions, 0 left out`.
    """
    height, width = frame.image.shape[:2]
    timing = timing_of(frame, detections)
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in timing.items())
    name = printable(Path(frame.source).name) + (f" #{frame.index}" if frame.index else "")
    plan = "" if detections.report is None else f"  {text_from_plan(detections.report.plan)}"
    return f"{name} {width}x{height}: {_text_from_counts(labels)}  ({stages} ms){plan}"


def line_from_cloud(frame: RgbdFrame, detections: Detections3d, timing_ms: Mapping[str, float]) -> str:
    """Folder and name, points, how it came upright, counts, times: `000002/depth.mat 105000 points, upright
    by identity: 1 bed  (read 31.0, infer 905.0 ms)`."""
    path, upright = Path(frame.source), detections.upright
    sure = "" if upright.confidence is None else f" (confidence {upright.confidence:.2f})"
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in timing_ms.items())
    name = printable("/".join(path.parts[-2:]) if path.parent.name else path.name)
    counts = _text_from_counts(count_labels(detections))
    return f"{name} {detections.points} points, upright by {upright.how}{sure}: {counts}  ({stages} ms)"


def line_from_summary(summary: RunSummary) -> str:
    """Frames, detections, time, and what was dropped or left undone, in one line."""
    noun = "frame" if summary.frames == 1 else "frames"
    text = f"{summary.frames} {noun}, {summary.detections} detections in {summary.seconds:.1f} s"
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in summary.timing_ms.items())
    if stages:
        text += f" ({stages} ms a frame)"
    if summary.inferences is not None and summary.frames:
        text += f", {summary.inferences / summary.frames:.1f} inferences a frame"
    if summary.dropped:
        text += f"; {summary.dropped} frames dropped"
    return f"interrupted, what was finished is written: {text}" if summary.interrupted else text


def count_labels(detections: Detections | Detections3d) -> Counter[str]:
    """How many detections of each label."""
    return Counter(detections.label_of(index) for index in range(len(detections)))


def say(line: str) -> None:
    """A line on stdout at once, nowhere if that is closed.

    Raises InputError where the system refuses (disk full); BrokenPipeError passes through.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in the buffer would fail once more at the end of the process, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise InputError(f"stdout: results cannot be written: {error.strerror or error}") from error


def report(line: str) -> None:
    """A line on stderr; nowhere, and above all not on stdout, if that is closed."""
    if sys.stderr is not None:
        print(line, file=sys.stderr)


def _text_from_counts(labels: Counter[str]) -> str:
    return ", ".join(f"{count} {printable(label)}" for label, count in labels.most_common()) or "nothing"
