"""Frames that carry their own number, so that a test can tell which one it got."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 9


def numbered_frame(number: int, *, height: int = 96, width: int = 144) -> NDArray[np.uint8]:
    """(H, W, 3) grey noise-free frame whose upper half shows `number` as black and white bars."""
    frame = np.full((height, width, 3), 90, np.uint8)
    bar = width // BITS
    for bit in range(BITS):
        frame[: height // 2, bit * bar : (bit + 1) * bar] = 255 if number >> bit & 1 else 0
    frame[height // 2 :, : 1 + number % width] = (200, 40, 40)
    return frame


def number_in(frame: NDArray[np.uint8]) -> int:
    """The number that `numbered_frame` drew, read back after lossy coding."""
    height, bar = frame.shape[0], frame.shape[1] // BITS
    middle = [frame[height // 4, bit * bar + bar // 2].mean() > 127 for bit in range(BITS)]
    return sum(1 << bit for bit, on in enumerate(middle) if on)
