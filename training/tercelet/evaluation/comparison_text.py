"""A comparison as a table for people."""

from __future__ import annotations

from tercelet.evaluation.comparing import ComparisonResult
from tercelet.evaluation.table import text_table

_SHOWN = 20


def comparison_text(result: ComparisonResult) -> str:
    """A line a frame (the first twenty), all frames together, candidates where known, notes, the verdict."""
    header = ("frame", "pairs", "lowest IoU", "score diff", "only A", "only B", "at threshold")
    rows = [
        (
            f"{frame.source} {frame.frame}",
            str(frame.matched),
            _figure(frame.min_iou, ".5f"),
            _figure(frame.max_score, ".2e"),
            str(frame.only_a),
            str(frame.only_b),
            str(frame.at_threshold),
        )
        for frame in result.frames[:_SHOWN]
    ]
    total = (
        f"all {len(result.frames)}",
        str(result.matched),
        _figure(result.min_iou, ".5f"),
        _figure(result.max_score, ".2e"),
        str(result.only_a),
        str(result.only_b),
        str(result.at_threshold),
    )
    lines = [f"A  {result.a}", f"B  {result.b}", "", text_table(header, [*rows, total])]
    if len(result.frames) > _SHOWN:
        lines.append(f"({len(result.frames) - _SHOWN} frames not shown; --json has them all)")
    if result.candidates is not None:
        found = result.candidates
        lines.append(
            f"\n{found.candidates} candidates before suppression: boxes {found.boxes_px_p999:.2e} px at "
            f"99.9 %, {found.boxes_px_max:.2e} at most; "
            f"scores {found.scores_p999:.2e} and {found.scores_max:.2e}; "
            f"{found.missing} without partner"
        )
    if result.broken:
        lines.append(f"\n{result.broken} frames could not be read and are left out")
    lines += [f"\nnote: {note}" for note in result.notes]
    verdict = "the same" if result.agrees else "DIFFERENT"
    gates = f"gates: IoU {result.gate_min_iou:g}, score {result.gate_max_score:g}"
    return "\n".join([*lines, f"\n{verdict}: {result.reason} ({gates})"])


def _figure(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
