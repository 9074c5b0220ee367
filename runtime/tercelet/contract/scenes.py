"""Deterministic frames without anybody's picture in them: for parity, golden pairs, benchmarks and tests.

They hold what makes a convolution work: smooth gradients, sharp edges at many scales, fine texture. They
show no real object, so they say nothing about accuracy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def synthetic_frame(index: int, *, height: int, width: int) -> NDArray[np.uint8]:
    """Frame number `index`: (height, width, 3) uint8, the same bytes for the same arguments everywhere."""
    rng = np.random.Generator(np.random.PCG64(index))
    rows = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    cols = np.linspace(0.0, 1.0, width, dtype=np.float32)[None, :, None]
    low, high = rng.uniform(40, 110, 3), rng.uniform(130, 220, 3)
    frame = (low + (high - low) * (0.6 * rows + 0.4 * cols)).astype(np.float32)
    for _ in range(60):
        _draw_block(frame, rng)
    texture = rng.normal(0.0, 6.0, (-(-height // 2), -(-width // 2), 3)).astype(np.float32)
    frame += texture.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return frame.clip(0, 255).astype(np.uint8)


def synthetic_frames(count: int, *, height: int, width: int) -> list[NDArray[np.uint8]]:
    """The first `count` synthetic frames, each (height, width, 3) uint8."""
    return [synthetic_frame(index, height=height, width=width) for index in range(count)]


def _draw_block(frame: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Paint one rectangle or ellipse with a darker rim, from a few pixels to a third of the frame."""
    height, width = frame.shape[:2]
    side = float(np.exp(rng.uniform(np.log(4), np.log(max(8.0, min(height, width) / 3)))))
    half_w, half_h = side * rng.uniform(0.3, 1.0), side * rng.uniform(0.3, 1.0)
    cx, cy = rng.uniform(0, width), rng.uniform(0, height)
    top, bottom = max(int(cy - half_h), 0), min(int(cy + half_h) + 1, height)
    left, right = max(int(cx - half_w), 0), min(int(cx + half_w) + 1, width)
    color, round_shape = rng.uniform(10, 245, 3), rng.random() < 0.5
    if top >= bottom or left >= right:
        return
    dy = np.abs(np.arange(top, bottom) + 0.5 - cy)[:, None] / half_h
    dx = np.abs(np.arange(left, right) + 0.5 - cx)[None, :] / half_w
    distance = np.sqrt(dx * dx + dy * dy) if round_shape else np.maximum(dx, dy)
    patch = frame[top:bottom, left:right]
    patch[distance <= 1.0] = color * 0.5
    patch[distance <= 0.8] = color


def synthetic_room(index: int, *, points: int) -> NDArray[np.float32]:
    """Room number `index`: (points, 3) float32 in the upright depth frame, metres, as a camera at the origin
    that looks along y would see floor, walls and some boxes; the same for the same arguments everywhere."""
    rng = np.random.Generator(np.random.PCG64(index))
    floor, wall, back = -1.2, 2.2, 5.0
    count = points // 3
    parts = [rng.random((count, 3)) * (2 * wall, back - 1, 0) + (-wall, 1, floor)]
    parts.append(rng.random((count, 3)) * (2 * wall, 0, 2.4) + (-wall, back, floor))
    left = points - 2 * count
    sizes = rng.uniform(0.4, 1.6, (6, 3)) * (1, 1, 0.6)
    places = rng.uniform((-1.6, 1.8, floor), (1.6, 4.2, floor), (6, 3))
    chosen = rng.integers(0, 6, left)
    within = rng.random((left, 3)) - (0.5, 0.5, 0)
    within[np.arange(left), rng.integers(0, 2, left)] = 0.5 * rng.choice((-1, 1), left)
    parts.append(places[chosen] + within * sizes[chosen])
    return np.asarray(rng.permutation(np.concatenate(parts)), np.float32)
