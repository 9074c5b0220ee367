"""Pixels of a sample: a frame drawn straight onto its place, and colours changed by tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import letterbox_for
from tercelet.training.density_training.frames import opencv
from tercelet.training.detector_training.samples.placing import letterboxed
from tercelet.training.detector_training.samples.truth import Placement

PAD_VALUE = 114
_HUES = 180  # OpenCV keeps the hue of uint8 pictures in half degrees


def draw(canvas: NDArray[np.uint8], frame: NDArray[np.uint8], place: Placement) -> None:
    """Draw the frame (H, W, 3) bilinearly into the placement's area of the canvas, padded with 114.

    A letterboxed frame is resized exactly as the runtime resizes it; anything else is one affine warp.
    """
    size = (canvas.shape[0], canvas.shape[1])
    plain = letterboxed((frame.shape[0], frame.shape[1]), size)
    if (
        place.area == plain.area
        and np.array_equal(place.linear, plain.linear)
        and np.array_equal(place.shift, plain.shift)
    ):
        _draw_letterboxed(canvas, frame)
        return
    left, top, right, bottom = place.area
    # OpenCV counts from the middle of pixels.
    shift = place.linear @ (0.5, 0.5) + place.shift - 0.5 - (left, top)
    opencv().warpAffine(
        frame,
        np.concatenate((place.linear, shift[:, None]), axis=1),
        (right - left, bottom - top),
        dst=canvas[top:bottom, left:right],
        flags=opencv().INTER_LINEAR,
        borderMode=opencv().BORDER_CONSTANT,
        borderValue=(PAD_VALUE, PAD_VALUE, PAD_VALUE),
    )


def _draw_letterboxed(canvas: NDArray[np.uint8], frame: NDArray[np.uint8]) -> None:
    box = letterbox_for(*frame.shape[:2], height=canvas.shape[0], width=canvas.shape[1])
    canvas[...] = PAD_VALUE
    target = canvas[box.top : box.top + box.height, box.left : box.left + box.width]
    if target.shape == frame.shape:
        target[...] = frame
    else:
        target[...] = opencv().resize(frame, (box.width, box.height), interpolation=opencv().INTER_LINEAR)


def change_colors(
    canvas: NDArray[np.uint8], limits: tuple[float, float, float], rng: np.random.Generator
) -> None:
    """Turn the hue and scale saturation and value of an RGB canvas in place; limits: as Augmentation.hsv."""
    if not any(limits):
        return
    cv2 = opencv()
    hue, saturation, value = rng.uniform(-1, 1, 3) * limits
    levels = np.arange(256)
    tables = np.empty((1, 256, 3), np.uint8)
    tables[0, :, 0] = np.rint(levels + hue * _HUES) % _HUES
    tables[0, :, 1] = np.rint(levels * (1 + saturation)).clip(0, 255)
    tables[0, :, 2] = np.rint(levels * (1 + value)).clip(0, 255)
    changed = cv2.LUT(cv2.cvtColor(canvas, cv2.COLOR_RGB2HSV), tables)
    cv2.cvtColor(changed, cv2.COLOR_HSV2RGB, dst=canvas)


def blend(first: NDArray[np.uint8], second: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """share of the first picture and the rest of the second."""
    mixed: NDArray[np.uint8] = opencv().addWeighted(first, share, second, 1 - share, 0)
    return mixed
