"""Views: a frame, or a random part of it, on a canvas of the size that the network works at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import letterbox_for
from tercelet.training.density_training.frames import LabelledFrame, opencv

PAD_VALUE = 114
# A random view shows between the frame at four fifths of its letterboxed size and a part at twice that.
_ZOOM = (0.8, 2.0)
_GAIN = 0.25
_OFFSET = 20.0
_TINT = 0.05


@dataclass(frozen=True)
class View:
    """canvas: (H, W, 3) uint8 BGR. centres: (N, 2) and ignored: (M, 4) xyxy, in canvas pixels.

    Only objects whose centre is on the canvas are listed; ignored parts may reach over its border.
    """

    canvas: NDArray[np.uint8]
    centres: NDArray[np.float64]
    ignored: NDArray[np.float64]


@dataclass(frozen=True)
class _Place:
    """Part left, top, right, bottom of a frame, drawn at x, y on the canvas, `width` by `height` pixels."""

    part: tuple[int, int, int, int]
    x: int
    y: int
    width: int
    height: int


def whole_view(pixels: NDArray[np.uint8], frame: LabelledFrame, *, height: int, width: int) -> View:
    """The whole frame, letterboxed as the runtime does it."""
    rows, columns = pixels.shape[:2]
    box = letterbox_for(rows, columns, height=height, width=width)
    place = _Place((0, 0, columns, rows), box.left, box.top, box.width, box.height)
    return _drawn(pixels, frame, place, height=height, width=width)


def random_view(
    pixels: NDArray[np.uint8],
    frame: LabelledFrame,
    *,
    height: int,
    width: int,
    generator: np.random.Generator,
) -> View:
    """A part of the frame at a random zoom and place, mirrored half of the time, in other light."""
    rows, columns = pixels.shape[:2]
    zoom = math.exp(generator.uniform(*np.log(_ZOOM)))
    scale = zoom * min(height / rows, width / columns)
    left, right, x, drawn_width = _random_span(columns, width, scale, generator)
    top, bottom, y, drawn_height = _random_span(rows, height, scale, generator)
    place = _Place((left, top, right, bottom), x, y, drawn_width, drawn_height)
    view = _drawn(pixels, frame, place, height=height, width=width)
    if generator.random() < 0.5:
        view = _mirrored(view)
    gains = 1 + generator.uniform(-_GAIN, _GAIN) + generator.uniform(-_TINT, _TINT, 3)
    lit = view.canvas * gains.astype(np.float32) + np.float32(generator.uniform(-_OFFSET, _OFFSET))
    return View(np.rint(lit.clip(0, 255)).astype(np.uint8), view.centres, view.ignored)


def _random_span(
    length: int, canvas: int, scale: float, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Along one side: first and last pixel of the frame's part, where on the canvas, and how long there."""
    share = canvas / scale
    if share >= length:
        drawn = min(max(round(length * scale), 1), canvas)
        return 0, length, int(generator.integers(0, canvas - drawn + 1)), drawn
    part = max(round(share), 1)
    first = int(generator.integers(0, length - part + 1))
    return first, first + part, 0, canvas


def _drawn(
    pixels: NDArray[np.uint8], frame: LabelledFrame, place: _Place, *, height: int, width: int
) -> View:
    cv2 = opencv()
    left, top, right, bottom = place.part
    canvas = np.full((height, width, 3), PAD_VALUE, np.uint8)
    canvas[place.y : place.y + place.height, place.x : place.x + place.width] = cv2.resize(
        pixels[top:bottom, left:right], (place.width, place.height), interpolation=cv2.INTER_LINEAR
    )
    scale = np.array([place.width / (right - left), place.height / (bottom - top)])
    shift = np.array([place.x, place.y]) - np.array([left, top]) * scale
    inside = (frame.centres >= (left, top)).all(1) & (frame.centres < (right, bottom)).all(1)
    corners = frame.ignored.reshape(-1, 2, 2) * scale + shift
    return View(canvas, frame.centres[inside] * scale + shift, corners.reshape(-1, 4))


def _mirrored(view: View) -> View:
    width = view.canvas.shape[1]
    centres, ignored = view.centres.copy(), view.ignored[:, [2, 1, 0, 3]]
    # The mirror of the left border, 0, would lie just outside.
    centres[:, 0] = (width - centres[:, 0]).clip(max=np.nextafter(width, 0))
    ignored[:, [0, 2]] = width - ignored[:, [0, 2]]
    return View(np.ascontiguousarray(view.canvas[:, ::-1]), centres, ignored)
