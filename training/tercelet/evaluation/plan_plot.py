"""Recall against cost as a picture: an SVG file, which is text, so that nothing is needed to draw it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from tercelet.contract.errors import InputError
from tercelet.contract.plan import PlanName
from tercelet.evaluation.plan_result import PlanComparison, PlanResult

PLOT_NAME = "recall_cost.svg"
_WIDTH, _HEIGHT = 960, 460
_TOP, _BOTTOM = 92, 392
# Left and right border of each of the two panels.
_PANELS = ((64, 470), (534, 940))
_RADIUS = 6.5
_LETTER, _LINE = 8.4, 16  # width of a letter (of a wide font) and height of a line of a label, pixels
_COLORS: dict[PlanName, str] = {
    "full": "#5b6770",
    "grid": "#d9822b",
    "dmnet": "#2f8f5b",
    "canvas": "#2b62c4",
}
_INK, _FAINT, _GRID = "#1f2933", "#66727d", "#e3e7eb"


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def save_recall_cost(folder: Path, result: PlanComparison) -> Path:
    """Write folder/recall_cost.svg and return the path; InputError where it cannot be written."""
    path = folder / PLOT_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(recall_cost_svg(result), encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}; choose another --save DIR") from error
    return path


def recall_cost_svg(result: PlanComparison) -> str:
    """The SVG document: recall from 0 to 1 over inferences a frame and over milliseconds a frame.

    One labelled point a plan; a plan without a recall, for want of objects, has none.
    """
    shared, score = result.shared, result.settings["recall_score"]
    counted = f"score above {score:g}" if score else "any score"
    subtitle = (
        f"{Path(shared.bundle).name} on {Path(shared.dataset).name}: {shared.frames} frames, "
        f"{shared.ground_truth} objects; recall at IoU {result.settings['recall_iou']:g}, {counted}"
    )
    drawn = [item for item in result.plans if item.working.recall() is not None]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_PANELS[0][0], 34, "Recall against cost", size=19, weight="bold"),
        _text(_PANELS[0][0], 56, subtitle, color=_FAINT),
        *_panel(_PANELS[0], drawn, "inferences a frame", lambda item: item.cost.inferences),
        *_panel(_PANELS[1], drawn, "milliseconds a frame", lambda item: item.cost.ms),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(
    sides: tuple[int, int], plans: Sequence[PlanResult], title: str, cost: Callable[[PlanResult], float]
) -> list[str]:
    left, right = sides
    step = _step(max((cost(item) for item in plans), default=1.0))
    end = step * max(1, math.ceil(max((cost(item) for item in plans), default=1.0) * 1.02 / step))
    parts = [_text(left, _TOP - 12, "recall", color=_FAINT)]
    for tenth in range(0, 11, 2):
        y = _height(tenth / 10)
        parts.append(_line(left, y, right, y, _INK if tenth == 0 else _GRID))
        parts.append(_text(left - 8, y + 4.5, f"{tenth / 10:g}", color=_FAINT, anchor="end"))
    for number in range(round(end / step) + 1):
        x = left + (right - left) * number * step / end
        parts.append(_line(x, _BOTTOM, x, _BOTTOM + 5, _INK))
        parts.append(_text(x, _BOTTOM + 20, f"{number * step:g}", color=_FAINT, anchor="middle"))
    parts.append(_text((left + right) / 2, _BOTTOM + 44, title, anchor="middle"))
    places = [
        (left + (right - left) * cost(item) / end, _height(item.working.recall() or 0.0)) for item in plans
    ]
    return [*parts, *_points(plans, places, _Box(left, _TOP - 8, right, _BOTTOM))]


def _points(plans: Sequence[PlanResult], places: Sequence[tuple[float, float]], panel: _Box) -> list[str]:
    """Points, and labels where they cover neither points nor one another."""
    taken = [_Box(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in places]
    parts = []
    for item, (x, y) in zip(plans, places, strict=True):
        color, label = _COLORS[item.plan], f"{item.plan} {item.working.recall() or 0.0:.3f}"
        box = _free_place(x, y, len(label) * _LETTER, taken, panel)
        taken.append(box)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="{color}" stroke="#ffffff" '
            'stroke-width="1.5"/>'
        )
        is_left = box.right <= x
        start, anchor = (box.right, "end") if is_left else (box.left, "start")
        parts.append(_text(start, box.bottom - 4, label, color=color, weight="bold", anchor=anchor))
    return parts


def _free_place(x: float, y: float, width: float, taken: Sequence[_Box], panel: _Box) -> _Box:
    """Where a label goes: right of its point if that is free, else left, above, below, farther off."""
    gap = _RADIUS + 4
    corners = [(x + gap, y - _LINE / 2), (x - gap - width, y - _LINE / 2)]
    for lines in range(1, 8):
        offset = gap + (lines - 1) * _LINE
        for left in (x - width / 2, x + 2, x - width - 2):
            corners += [(left, y - offset - _LINE), (left, y + offset)]
    boxes = [_Box(left, top, left + width, top + _LINE) for left, top in corners]
    inside = [
        box
        for box in boxes
        if box.left >= panel.left
        and box.right <= panel.right
        and panel.top <= box.top
        and box.bottom <= panel.bottom
    ]
    return next((box for box in inside if not any(box.meets(other) for other in taken)), boxes[0])


def _step(largest: float) -> float:
    """1, 2 or 5 times a power of ten: four to ten steps up to the largest value."""
    rough = max(largest, 1e-6) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _height(recall: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * recall


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    color: str = _INK,
    size: int = 13,
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
