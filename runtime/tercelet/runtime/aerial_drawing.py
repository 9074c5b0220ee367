"""What an aerial pipeline saw, as one picture: the boxes, where it looked again and why, and the canvases.

Below the frame, or beside one that is not wide, lie two smaller panels: the plan over the evidence, and the
canvases as they went through the network. Regions carry their number in `Detections.report.plan` in both, in
the colour of their canvas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.labels import color_for
from tercelet.contract.plan import AerialReport, Plan, Region
from tercelet.runtime import vision
from tercelet.runtime.pipelines.aerial_state import AerialView
from tercelet.runtime.pipelines.density_crops import DensityCropsPipeline
from tercelet.runtime.plan_text import text_from_plan
from tercelet.runtime.vision import Image

_Color = tuple[int, int, int]
# The most and the least of the frame's own panel in pixels, and how much a small frame may be enlarged.
_WIDEST, _TALLEST, _NARROWEST, _ENLARGED = 2560, 1440, 1280, 4.0
_SMALLEST_PANEL = (360, 640)
# Frames at least this much wider than high have the other panels below, others beside them.
_WIDE = 1.25
_GAP = 6
_BACKGROUND: _Color = (34, 30, 28)
_RED: _Color = (50, 40, 255)
# Of the canvases' regions; neither red nor a colour of the evidence.
_CANVAS_COLORS: tuple[_Color, ...] = (
    (255, 255, 80), (130, 255, 130), (255, 170, 255), (255, 255, 255), (255, 195, 120), (200, 255, 225),
)  # fmt: skip
# Evidence, BGR: none, just below and just above the threshold, the most in the frame; what each hides.
_HEAT = np.array([(140, 20, 70), (170, 40, 110), (40, 130, 245), (90, 240, 255)], np.float32)
_HEAT_HIDES = (0.0, 0.3, 0.35, 0.65)
# Brightness of what is not looked at again.
_DIMMED = 0.5
_GREY = np.array((0.114, 0.587, 0.299), np.float32)
_HATCH = 14


def view_of(pipeline: Any) -> AerialView | None:
    """How the pipeline saw its last frame, canvases in BGR; None where it makes no plan."""
    if not isinstance(pipeline, DensityCropsPipeline) or pipeline.options.plan == "full":
        return None
    view = pipeline.view()
    if view is None or pipeline.manifest.preprocess.color == "BGR":
        return view
    return replace(view, canvases=np.ascontiguousarray(view.canvases[..., ::-1]))


def draw_aerial(frame: Image, detections: Detections, view: AerialView) -> Image:
    """(H, W, 3) uint8 BGR: the three panels. Its size depends on that of the frame alone, both sides even.

    frame: (h, w, 3) uint8 BGR. detections: of a pipeline with a plan, with origins and report. view: of the
    same frame, canvases in BGR.
    """
    report = detections.report
    assert report is not None
    layout = _Layout.of(*frame.shape[:2])
    sheet = np.full((layout.height, layout.width, 3), _BACKGROUND, np.uint8)
    shown = vision.resize_to_see(frame, height=layout.frame[0], width=layout.frame[1])
    ratios = shown.shape[1] / frame.shape[1], shown.shape[0] / frame.shape[0]
    _draw_boxes(shown, detections, ratios, text=layout.text)
    title = _place(sheet, layout.boxes, shown, layout.bar)
    _write_counts(title, detections, layout.text)
    half = _drawn_plan(frame, report, view, layout)
    _write(_place(sheet, layout.plan, half, layout.bar), [(_plan_text(report), _BACKGROUND)], layout.text)
    mosaic = _drawn_canvases(report.plan, view.canvases, layout)
    _write(
        _place(sheet, layout.canvases, mosaic, layout.bar),
        [(_canvases_text(report, view.canvases), _BACKGROUND)],
        layout.text,
    )
    return sheet


@dataclass(frozen=True)
class _Panel:
    """Where a panel with its bar on top lies on the picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels. bar: height of a panel's line of text, of scale `text`.

    frame, half: (height, width) of the frame as it is drawn in its own panel and in that of the plan.
    """

    height: int
    width: int
    frame: tuple[int, int]
    half: tuple[int, int]
    boxes: _Panel
    plan: _Panel
    canvases: _Panel
    bar: int
    text: float

    @classmethod
    def of(cls, height: int, width: int) -> _Layout:
        """The layout for frames of height x width pixels."""
        is_wide = width >= _WIDE * height
        widest = _WIDEST if is_wide else (_WIDEST - _GAP) * 2 // 3
        scale = min(widest / width, _TALLEST / height)
        scale = min(scale, max(1.0, min(_NARROWEST / width, _ENLARGED)))
        frame = max(round(height * scale), 1), max(round(width * scale), 1)
        half = max(round(height * scale / 2), 1), max(round(width * scale / 2), 1)
        # Even, and so are the halves less the gap between them.
        large = tuple(ceil(max(f, s) / 4) * 4 for f, s in zip(frame, _SMALLEST_PANEL, strict=True))
        text = max(0.42, large[1] / 2800)
        bar = vision.tag_size("Xg", text)[1] // 2 * 2 + 8
        small = large[1] // 2 - (_GAP // 2 if is_wide else 0)
        boxes = _Panel(0, 0, large[1], bar + large[0])
        if is_wide:
            below = bar + large[0] + _GAP
            plan = _Panel(0, below, small, bar + large[0] // 2)
            canvases = replace(plan, left=small + _GAP)
            total = below + plan.height, large[1]
        else:
            plan = _Panel(large[1] + _GAP, 0, small, bar + large[0] // 2)
            canvases = replace(plan, top=plan.height, height=boxes.height - plan.height)
            total = boxes.height, large[1] + _GAP + small
        half = min(half[0], plan.height - bar), min(half[1], plan.width)
        return cls(*total, frame, half, boxes, plan, canvases, bar, text)


def _place(sheet: Image, panel: _Panel, picture: Image, bar: int) -> Image:
    """Put a picture into the middle of a panel; returns the panel's bar for its text."""
    high, wide = picture.shape[:2]
    top = panel.top + bar + (panel.height - bar - high) // 2
    left = panel.left + (panel.width - wide) // 2
    sheet[top : top + high, left : left + wide] = picture
    return sheet[panel.top : panel.top + bar, panel.left : panel.left + panel.width]


def _write(bar: Image, parts: Sequence[tuple[str, _Color]], scale: float) -> None:
    """Texts on their colours from left to right, smaller where a single one is too long; the rest is left
    out."""
    left = 4
    for text, color in parts:
        wide = vision.tag_size(text, scale)[0]
        fitting = scale
        if left == 4 and wide > bar.shape[1] - 8:
            fitting *= (bar.shape[1] - 8) / wide
        wide, high = vision.tag_size(text, fitting)
        if left + wide > bar.shape[1]:
            return
        vision.draw_tag(bar, text, (left, (bar.shape[0] - high) // 2), scale=fitting, color=color)
        left += wide + 8


def _write_counts(bar: Image, detections: Detections, scale: float) -> None:
    """How many were found, by whom, and the colours of the classes."""
    origins = detections.origins
    by_full = 0 if origins is None else int((origins < 0).sum())
    text = f"{len(detections)} found"
    if len(detections):
        text += f": {len(detections) - by_full} in regions, {by_full} in the full frame (dashed)"
    counts = Counter(detections.class_ids.tolist()).most_common()
    legend = [(f"{detections.labels[number]} {count}", color_for(number)) for number, count in counts]
    _write(bar, [(text, _BACKGROUND), *legend], scale)


def _plan_text(report: AerialReport) -> str:
    plan = report.plan
    text = text_from_plan(plan) + (" (red)" if plan.left_out else "")
    if report.evidence:
        text += f"; evidence {' + '.join(report.evidence)}"
        if plan.expected > 0:
            text += f", {min(plan.covered / plan.expected, 1):.0%} of it in regions"
    if plan.threshold is not None:
        text += f"; threshold {plan.threshold:.2g}"
    if report.counted is not None:
        text += f"; {report.counted:.0f} objects counted"
    return text


def _canvases_text(report: AerialReport, canvases: Image) -> str:
    high, wide = canvases.shape[1:3]
    text = f"through the network: {len(canvases)} x {wide}x{high}, {report.pixels / 1e6:.1f} MP"
    return text if report.budget_ms is None else f"{text}; budget {report.budget_ms:g} ms"


def _draw_boxes(picture: Image, detections: Detections, ratios: tuple[float, float], *, text: float) -> None:
    """Boxes in the colour of their class around the objects, the best on top; the full frame's are thin and
    dashed."""
    scaled = replace(detections, boxes=detections.boxes * np.array(ratios * 2, np.float32))
    line = max(1, round(picture.shape[1] / 1280))
    for index in np.argsort(scaled.scores, kind="stable").tolist():
        is_full = scaled.origins is None or scaled.origins[index] < 0
        color = color_for(int(scaled.class_ids[index]))
        box = _whole_pixels(scaled.boxes[index])
        _outline(picture, box, color, line=1 if is_full else line, dash=4 if is_full else 0)
    _draw_labels(picture, scaled, scale=0.8 * text)


def _draw_labels(picture: Image, detections: Detections, *, scale: float) -> None:
    """Class and score of those whose box is as wide as the text, which would hide smaller ones."""
    for index in np.argsort(detections.scores, kind="stable").tolist():
        text = f"{detections.label_of(index)} {float(detections.scores[index]):.2f}"
        size, box = vision.tag_size(text, scale), detections.boxes[index]
        if box[2] - box[0] >= size[0]:
            corner = vision.label_corner(box, size=size, frame_size=picture.shape[1::-1])
            vision.draw_tag(
                picture, text, corner, scale=scale, color=color_for(int(detections.class_ids[index]))
            )


def _drawn_plan(frame: Image, report: AerialReport, view: AerialView, layout: _Layout) -> Image:
    """The frame, dimmed where nothing is looked at again, under the evidence, with all regions."""
    height, width = layout.half
    picture = vision.resize_to_see(frame, height=height, width=width)
    picture = np.repeat(picture @ _GREY, 3).reshape(picture.shape)  # so that colours mean evidence
    across, down = width / frame.shape[1], height / frame.shape[0]

    def seen(box: Sequence[float]) -> tuple[int, int, int, int]:
        left, top, right, bottom = box
        return _whole_pixels((left * across, top * down, right * across, bottom * down))

    plan = report.plan
    light = np.full((height, width), _DIMMED, np.float32)
    for region in plan.regions:
        left, top, right, bottom = seen(region[:4])
        light[max(top, 0) : bottom, max(left, 0) : right] = 1
    threshold = plan.threshold if plan.name == "canvas" else None  # dmnet's is of a window, not of a cell
    picture = _heated(picture * light[..., None], view, threshold, (across, down))
    for box in plan.left_out:
        _hatch(picture, seen(box))
    for box in plan.left_out:
        _outline(picture, seen(box), _RED, line=1)
    tags = [(seen(r[:4]), str(number), _canvas_of(r, plan)) for number, r in enumerate(plan.regions)]
    for box, _, canvas in tags:
        _outline(picture, box, _canvas_color(canvas), line=max(1, round(width / 900)), inside=True)
    for (left, top, right, bottom), text, canvas in tags:
        _draw_number(picture, text, (left, top, right - left, bottom - top), canvas, layout.text)
    return picture


def _heated(
    picture: NDArray[np.float32], view: AerialView, threshold: float | None, ratios: tuple[float, float]
) -> Image:
    """The evidence as a translucent layer over a picture (h, w, 3); where there is none all shows through.

    threshold: in mass of a cell; there the colour jumps. ratios: picture pixels a frame pixel in x and y.
    """
    height, width = picture.shape[:2]
    most = float(view.mass.max())
    if most <= 0:
        return picture.astype(np.uint8)
    # The root shows the weaker half too, which decides where the plan ends.
    levels = np.sqrt(view.mass * np.float32(1 / most)) * np.float32(255)
    grey = np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)
    whole = (
        max(round(grey.shape[0] * view.cell * ratios[1]), height),
        max(round(grey.shape[1] * view.cell * ratios[0]), width),
    )
    level = vision.resize_to_see(grey, height=whole[0], width=whole[1])[:height, :width, 0]
    share = 0.0 if threshold is None else min(threshold / most, 0.99) ** 0.5
    places = (0, share, share + 1e-4, 1) if share else (0, 0.33, 0.67, 1)
    steps = np.linspace(0, 1, 256)
    colors = np.stack([np.interp(steps, places, part) for part in _HEAT.T], axis=1)
    hides = np.interp(steps, places, _HEAT_HIDES)[:, None]
    added, kept = (colors * hides).astype(np.float32), (1 - hides).astype(np.float32)
    mixed = picture * kept[level] + added[level]
    return mixed.astype(np.uint8)


def _drawn_canvases(plan: Plan, canvases: Image, layout: _Layout) -> Image:
    """All canvases side by side as large as the panel allows, the full frame's first."""
    panel = layout.canvases
    picture = np.full((panel.height - layout.bar, panel.width, 3), _BACKGROUND, np.uint8)
    places, ratio = _mosaic(len(canvases), canvases.shape[1:3], picture.shape[:2])
    high, wide = (max(int(side * ratio), 1) for side in canvases.shape[1:3])
    for number, ((left, top), canvas) in enumerate(zip(places, canvases, strict=True)):
        cell = picture[top : top + high, left : left + wide]
        cell[...] = vision.resize_to_see(canvas, height=cell.shape[0], width=cell.shape[1])
        if number == 0:
            vision.draw_tag(cell, "full frame", (0, 0), scale=layout.text * 0.8, color=_BACKGROUND)
        for index, region in enumerate(plan.regions):
            if _canvas_of(region, plan) == number:
                at = [side * ratio for side in (region.x, region.y, region.width, region.height)]
                box = _whole_pixels((at[0], at[1], at[0] + at[2], at[1] + at[3]))
                _outline(cell, box, _canvas_color(number), line=1, inside=True)
                _draw_number(cell, str(index), (box[0], box[1], int(at[2]), int(at[3])), number, layout.text)
    return picture


def _canvas_of(region: Region, plan: Plan) -> int:
    """The canvas that a region lies on, counted from the full frame's, which is 0."""
    return region.canvas + (0 if plan.shares_full else 1)


def _mosaic(
    count: int, canvas: tuple[int, ...], area: tuple[int, ...]
) -> tuple[list[tuple[int, int]], float]:
    """Left and top of `count` canvases in an area of (height, width), and the scale they have there."""
    best, columns = 0.0, 1
    for across in range(1, count + 1):
        down = ceil(count / across)
        ratio = min(
            (area[1] - _GAP * (across + 1)) / (across * canvas[1]),
            (area[0] - _GAP * (down + 1)) / (down * canvas[0]),
        )
        if ratio > best:
            best, columns = ratio, across
    step = int(canvas[1] * best) + _GAP, int(canvas[0] * best) + _GAP
    left = max((area[1] - columns * step[0] + _GAP) // 2, 0)
    top = max((area[0] - ceil(count / columns) * step[1] + _GAP) // 2, 0)
    return [
        (left + number % columns * step[0], top + number // columns * step[1]) for number in range(count)
    ], best


def _canvas_color(canvas: int) -> _Color:
    return _CANVAS_COLORS[canvas % len(_CANVAS_COLORS)]


def _draw_number(picture: Image, text: str, at: tuple[int, int, int, int], canvas: int, scale: float) -> None:
    """A region's number in its corner; at: left, top, width, height. None where it would hide the region."""
    scale *= 0.8
    size = vision.tag_size(text, scale)
    left, top, width, height = at
    if size[0] < 0.75 * width and size[1] < 0.75 * height:
        vision.draw_tag(picture, text, (max(left, 0), max(top, 0)), scale=scale, color=_canvas_color(canvas))


def _whole_pixels(box: Sequence[float] | NDArray[np.float32]) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(float(side)) for side in box)
    return left, top, right, bottom


def _outline(
    picture: Image,
    box: tuple[int, int, int, int],
    color: _Color,
    *,
    line: int,
    dash: int = 0,
    inside: bool = False,
) -> None:
    """Lines of `line` pixels around a half-open box, or on its own border pixels if `inside`.

    dash: length of the pieces and of the gaps between them, 0 for none. What lies outside the picture is not
    drawn, a side at its border is.
    """
    grown = 0 if inside else line
    height, width = picture.shape[:2]
    left, top = max(box[0] - grown, 0), max(box[1] - grown, 0)
    right, bottom = min(box[2] + grown, width), min(box[3] + grown, height)
    if right <= left or bottom <= top:
        return
    columns, rows = np.arange(left, right), np.arange(top, bottom)
    if dash:
        columns, rows = columns[(columns - left) // dash % 2 == 0], rows[(rows - top) // dash % 2 == 0]
    for step in range(min(line, bottom - top, right - left)):
        picture[[[top + step], [bottom - 1 - step]], columns] = color
        picture[rows[:, None], [left + step, right - 1 - step]] = color


def _hatch(picture: Image, box: tuple[int, int, int, int]) -> None:
    """Red lines from the lower left to the upper right over a box."""
    left, top, right, bottom = box
    part = picture[max(top, 0) : bottom, max(left, 0) : right]
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    part[(rows + columns + max(left, 0) + max(top, 0)) % _HATCH < 2] = _RED
