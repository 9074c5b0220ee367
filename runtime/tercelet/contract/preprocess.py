"""Preprocessing as data, and the one function that obeys it.

A network of this project reads a uint8 canvas (height, width, 3); cast, scale and transpose are inside
its graph. What remains to be done to a frame is written in a `Preprocess` and done by `fill_canvas`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import Letterbox, letterbox_for

ColorOrder = Literal["BGR", "RGB"]
ResizeInto = Callable[[NDArray[np.uint8], NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Preprocess:
    """How a frame becomes a canvas.

    height, width: the canvas in pixels. pad_value: 0..255, the same in all three channels, where the frame
    does not reach. color: channel order of the canvas. resize: "letterbox" keeps the proportions, centred.
    """

    height: int
    width: int
    pad_value: int = 114
    color: ColorOrder = "BGR"
    resize: Literal["letterbox"] = "letterbox"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise InputError(f"expected a canvas of at least 1x1 pixels, got {self.height}x{self.width}")
        if not 0 <= self.pad_value <= 255:
            raise InputError(f"expected pad_value in 0..255, got {self.pad_value}")


def size_from_text(text: str) -> tuple[int, int]:
    """A canvas size as people type it: "640" is 640x640, "384x640" is height x width. Raises InputError."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"size: expected pixels such as 640, or height x width, 384x640, got {text!r}")
    return int(parts[0]), int(parts[-1])


def check_frame(frame: Any) -> None:
    """Refuse, with an InputError, what is not a uint8 array (height, width, 3) with at least one pixel."""
    if not isinstance(frame, np.ndarray):
        raise InputError(f"expected a frame as numpy array (H, W, 3) uint8, got {type(frame).__name__}")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise InputError(
            f"expected a frame (H, W, 3) uint8, got {frame.shape} {frame.dtype}; "
            "convert grey, 16-bit or four-channel frames to 8-bit colour first"
        )


def resize_bilinear_into(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Bilinear resize of (h, w, 3) uint8 into `target`, pixel centres aligned, borders repeated.

    The portable way, in numpy alone; a vision library does the same faster and within one grey level.
    """
    rows, row_weight = _taps(source.shape[0], target.shape[0])
    cols, col_weight = _taps(source.shape[1], target.shape[1])
    upper = source[rows[0]].astype(np.float32)
    mixed_rows = upper + (source[rows[1]].astype(np.float32) - upper) * row_weight[:, None, None]
    left = mixed_rows[:, cols[0]]
    mixed = left + (mixed_rows[:, cols[1]] - left) * col_weight[None, :, None]
    target[...] = np.rint(mixed).astype(np.uint8)


def _taps(
    length: int, new_length: int
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float32]]:
    """For each output position the two source positions it lies between, and the weight of the second."""
    position = (np.arange(new_length) + 0.5) * (length / new_length) - 0.5
    position = position.clip(0, length - 1)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, length - 1)
    return (low, high), (position - low).astype(np.float32)


def fill_canvas(
    canvas: NDArray[np.uint8],
    frame: NDArray[np.uint8],
    preprocess: Preprocess,
    *,
    color: ColorOrder = "BGR",
    resize_into: ResizeInto = resize_bilinear_into,
) -> Letterbox:
    """Letterbox `frame` into `canvas` and say where it lies.

    canvas: (height, width, 3) uint8 as `preprocess` says, overwritten whole. frame: (H, W, 3) uint8 in
    channel order `color`. resize_into(source, target): the bilinear resize to use. Returns the map
    between the two. Raises InputError for a frame or canvas of another shape or type.
    """
    check_frame(frame)
    if canvas.shape != (preprocess.height, preprocess.width, 3) or canvas.dtype != np.uint8:
        raise InputError(
            f"expected a canvas ({preprocess.height}, {preprocess.width}, 3) uint8, "
            f"got {canvas.shape} {canvas.dtype}"
        )
    place = letterbox_for(*frame.shape[:2], height=preprocess.height, width=preprocess.width)
    bottom, right = place.top + place.height, place.left + place.width
    canvas[: place.top] = preprocess.pad_value
    canvas[bottom:] = preprocess.pad_value
    canvas[place.top : bottom, : place.left] = preprocess.pad_value
    canvas[place.top : bottom, right:] = preprocess.pad_value
    target = canvas[place.top : bottom, place.left : right]
    if frame.shape == target.shape:
        target[...] = frame
    else:
        resize_into(frame, target)
    if color != preprocess.color:
        target[...] = target[..., ::-1].copy()
    return place
