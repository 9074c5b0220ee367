"""What the aerial pipeline allocates when it runs steadily: part `allocations` of bench_aerial.py.

tracemalloc sees Python's objects and numpy's arrays, not the engine's own memory. Growth is what stays from
frame to frame. Transient memory is attributed to lines: after each line of the package the peak since the
line before is read and reset.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from tercelet.runtime import open_pipeline

# Before anything counts: more frames than the cost model remembers, and every frame at least three times.
WARM_FRAMES = 30
WARM_ROUNDS = 3
# Growth is read after each of so many stretches: the free lists of Python and numpy fill up for a while.
STRETCHES = 4
SHOWN = 20
# Lines below this are Python's own small change.
LEAST_BYTES = 1024
_PACKAGE = ("/tercelet/runtime/", "/tercelet/contract/")


class LineTrace:
    """The largest transient allocation of each line of the package, while it is installed."""

    def __init__(self) -> None:
        self.most: dict[tuple[str, int], int] = defaultdict(int)
        self.total: dict[tuple[str, int], int] = defaultdict(int)
        self._at: tuple[str, int] | None = None
        self._before = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """A tracing function, see sys.settrace."""
        self._settle()
        name = frame.f_code.co_filename
        if not any(part in name for part in _PACKAGE):
            return None
        self._at = (name, frame.f_lineno)
        return self._line

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        self._settle()
        self._at = (frame.f_code.co_filename, frame.f_lineno)
        return self._line

    def _settle(self) -> None:
        """What was allocated since the last event belongs to the line that was running."""
        now, peak = tracemalloc.get_traced_memory()
        if self._at is not None:
            above = peak - self._before
            self.most[self._at] = max(self.most[self._at], above)
            self.total[self._at] += max(above, 0)
        tracemalloc.reset_peak()
        self._before = now


def measure_allocations(
    frames: Sequence[NDArray[np.uint8]], *, bundle: Path, rounds: int, options: dict[str, Any]
) -> dict[str, Any]:
    """Growth a frame, peak transient bytes a frame, and the lines that allocate."""
    warm_rounds = max(WARM_ROUNDS, -(-WARM_FRAMES // len(frames)))
    with open_pipeline(bundle, threads=1, **options) as pipeline:
        tracemalloc.start()
        try:
            for _ in range(warm_rounds):
                for frame in frames:
                    pipeline(frame)
            held, lines_left = _held(pipeline, frames, rounds)
            peaks = [_peak(pipeline, frame) for frame in frames]
            lines = _lines(pipeline, frames)
        finally:
            tracemalloc.stop()
    return {
        "frames_a_stretch": rounds * len(frames),
        "growth_bytes_a_frame": (np.diff(held) / (rounds * len(frames))).tolist(),
        "lines_that_keep": lines_left,
        "peak_bytes": {"median": float(np.median(peaks)), "most": int(max(peaks))},
        "lines": lines,
    }


def _held(
    pipeline: Any, frames: Sequence[NDArray[np.uint8]], rounds: int
) -> tuple[list[int], list[dict[str, Any]]]:
    """Bytes held before the first and after each stretch, and the lines that keep more in another one.

    Every stretch ends with the same frame; results are let go.
    """
    held = []
    for _ in range(STRETCHES + 1):
        _run_all(pipeline, frames, rounds)
        held.append(tracemalloc.get_traced_memory()[0])
    before = tracemalloc.take_snapshot()
    _run_all(pipeline, frames, rounds)
    after = tracemalloc.take_snapshot()
    only = [tracemalloc.Filter(True, f"*{part}*") for part in _PACKAGE]
    changes = after.filter_traces(only).compare_to(before.filter_traces(only), "lineno")
    kept = [
        {"line": _short(change.traceback[0].filename, change.traceback[0].lineno), "bytes": change.size_diff}
        for change in changes
        if change.size_diff > 0
    ]
    return held, kept[:SHOWN]


def _run_all(pipeline: Any, frames: Sequence[NDArray[np.uint8]], rounds: int) -> None:
    for _ in range(rounds):
        for frame in frames:
            pipeline(frame)
    gc.collect()


def _peak(pipeline: Any, frame: NDArray[np.uint8]) -> int:
    gc.collect()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    pipeline(frame)
    return tracemalloc.get_traced_memory()[1] - before


def _lines(pipeline: Any, frames: Sequence[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    trace = LineTrace()
    for measured in (False, True):  # the trace's own tables are made in the first turn
        trace.most.clear()
        trace.total.clear()
        sys.settrace(trace)
        try:
            for frame in frames:
                pipeline(frame)
                if not measured:
                    break
        finally:
            sys.settrace(None)
    order = sorted(trace.most, key=lambda at: -trace.most[at])
    return [
        {
            "line": _short(*at),
            "most_bytes": trace.most[at],
            "bytes_a_frame": round(trace.total[at] / len(frames)),
        }
        for at in order
        if trace.most[at] >= LEAST_BYTES
    ]


def _short(name: str, line: int) -> str:
    return f"{name[name.rindex('tercelet/') :]}:{line}"


def print_allocations(name: str, result: dict[str, Any], out: TextIO) -> None:
    """The table."""
    peak = result["peak_bytes"]
    growth = ", ".join(f"{value:.0f}" for value in result["growth_bytes_a_frame"])
    print(
        f"{name}: bytes a frame that stay, in {STRETCHES} stretches of {result['frames_a_stretch']} frames: "
        f"{growth} (free lists fill up for some hundred frames); "
        f"transient peak {peak['median'] / 1024:.0f} KiB (median), {peak['most'] / 1024:.0f} KiB (most)",
        file=out,
    )
    for row in result["lines_that_keep"]:
        print(f"  keeps {row['bytes']:>8} bytes  {row['line']}", file=out)
    print(f"  {'KiB at once':>12}{'KiB a frame':>13}  line", file=out)
    for row in result["lines"][:SHOWN]:
        print(
            f"  {row['most_bytes'] / 1024:>12.1f}{row['bytes_a_frame'] / 1024:>13.1f}  {row['line']}",
            file=out,
        )
    if len(result["lines"]) > SHOWN:
        print(f"  and {len(result['lines']) - SHOWN} lines with less", file=out)
