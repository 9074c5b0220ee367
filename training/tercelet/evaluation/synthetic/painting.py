"""Rasterising in plain numpy: polygons into a map of materials, soft polygons, patches onto a frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Frame = NDArray[np.uint8]
Window = tuple[int, int, int, int]

_STRIP = 32


@dataclass(frozen=True)
class Patch:
    """A small picture: colour (h, w, 3) float32 BGR times alpha, alpha (h, w) float32, its corner in px."""

    left: int
    top: int
    colour: NDArray[np.float32]
    alpha: NDArray[np.float32]


def fill_polygon(labels: NDArray[np.uint8], polygon: Points, value: int) -> None:
    """Write `value` where the centre of a pixel lies inside the polygon (N, 2), by the even-odd rule."""
    height, width = labels.shape
    rows, crossings = _crossings(polygon, height)
    if not len(rows):
        return
    order = np.lexsort((crossings, rows))
    rows, crossings = rows[order], crossings[order]
    starts = np.ceil(crossings[0::2] - 0.5).clip(0, width).astype(np.int64)
    ends = np.ceil(crossings[1::2] - 0.5).clip(0, width).astype(np.int64)
    for row, start, end in zip(rows[0::2].tolist(), starts.tolist(), ends.tolist(), strict=True):
        if end > start:
            labels[row, start:end] = value


def _crossings(polygon: Points, height: int) -> tuple[NDArray[np.int64], Points]:
    """Rows and x of all crossings of the edges with the centre lines of the rows; an even number a row."""
    rows, found = [], []
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = (y0, y1) if y0 < y1 else (y1, y0)
        first, last = max(0, math.ceil(low - 0.5)), min(height, math.ceil(high - 0.5))
        if last <= first:
            continue
        lines = np.arange(first, last)
        rows.append(lines)
        found.append(x0 + (lines + 0.5 - y0) * ((x1 - x0) / (y1 - y0)))
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(rows), np.concatenate(found)


def window_of(points: Points, height: int, width: int, *, margin: float = 1.0) -> Window | None:
    """(left, top, right, bottom) in whole pixels around the points inside the frame; None if outside."""
    left, top = points.min(axis=0) - margin
    right, bottom = points.max(axis=0) + margin
    box = (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(width, math.ceil(right)),
        min(height, math.ceil(bottom)),
    )
    return box if box[0] < box[2] and box[1] < box[3] else None


def convex_coverage(polygon: Points, window: Window, *, softness: float = 1.0) -> NDArray[np.float32]:
    """Coverage 0..1 of the pixels of a window by a convex polygon whose rim is `softness` px wide."""
    left, top, right, bottom = window
    xs = np.arange(left, right, dtype=np.float32) + np.float32(0.5)
    ys = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5))[:, None]
    sign = 1.0 if signed_area(polygon) > 0 else -1.0
    inside = np.full((bottom - top, right - left), 1.0, np.float32)
    for (x0, y0), (x1, y1) in zip(polygon.tolist(), np.roll(polygon, -1, axis=0).tolist(), strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        if length < 1e-9:
            continue
        a, b = -sign * (y1 - y0) / (length * softness), sign * (x1 - x0) / (length * softness)
        distance = np.float32(a) * (xs - np.float32(x0)) + np.float32(b) * (ys - np.float32(y0))
        np.minimum(inside, distance + np.float32(0.5), out=inside)
    return inside.clip(0.0, 1.0, out=inside)


def signed_area(polygon: Points) -> float:
    """Twice the area of (N, 2), positive where the points run clockwise on the screen."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def convex_hull(points: Points) -> Points:
    """The hull of (N, 2) as (M, 2), by the monotone chain."""
    ordered = sorted(map(tuple, points.tolist()))
    halves = []
    for sequence in (ordered, ordered[::-1]):
        half: list[tuple[float, ...]] = []
        for p in sequence:
            while len(half) >= 2 and (half[-1][0] - half[-2][0]) * (p[1] - half[-2][1]) <= (
                half[-1][1] - half[-2][1]
            ) * (p[0] - half[-2][0]):
                half.pop()
            half.append(p)
        halves += half[:-1]
    return np.array(halves)


Shade = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


def parallelogram_patch(
    corner: tuple[float, float],
    a: tuple[float, float],
    b: tuple[float, float],
    shade: Shade,
    *,
    height: int,
    width: int,
    opacity: float = 1.0,
) -> Patch | None:
    """The parallelogram corner + s a + t b, 0 <= s, t <= 1; None if it lies outside or has no area.

    shade(s, t): colours (3,) or (h, w, 3) BGR for the coordinates (h, w). Lines thinner than a pixel come out
    fainter, not broken.
    """
    cross = a[0] * b[1] - a[1] * b[0]
    if abs(cross) < 1e-3:
        return None
    origin = np.array(corner)
    corners = np.array([origin, origin + a, origin + a + np.array(b), origin + b])
    window = window_of(corners, height, width)
    if window is None:
        return None
    xs = np.arange(window[0], window[2], dtype=np.float32) + np.float32(0.5 - corner[0])
    ys = (np.arange(window[1], window[3], dtype=np.float32) + np.float32(0.5 - corner[1]))[:, None]
    s = np.float32(b[1] / cross) * xs - np.float32(b[0] / cross) * ys
    t = np.float32(a[0] / cross) * ys - np.float32(a[1] / cross) * xs
    alpha = _strip(s, abs(cross) / math.hypot(*b)) * _strip(t, abs(cross) / math.hypot(*a))
    alpha *= np.float32(opacity)
    colour = np.asarray(shade(s, t), np.float32) * alpha[:, :, None]
    return Patch(window[0], window[1], colour, alpha)


def _strip(share: NDArray[np.float32], thickness: float) -> NDArray[np.float32]:
    """Coverage of pixels by the strip 0..1 that is `thickness` px wide."""
    low = (share * np.float32(thickness) + np.float32(0.5)).clip(0.0, 1.0)
    high = ((1 - share) * np.float32(thickness) + np.float32(0.5)).clip(0.0, 1.0)
    both: NDArray[np.float32] = low + high
    both -= 1
    return both.clip(0.0, 1.0)


def blend(frame: Frame, patch: Patch) -> tuple[slice, slice, slice, slice] | None:
    """Put a patch onto the frame; returns the rows and columns of the frame, then those of the patch."""
    place = overlap(frame.shape[0], frame.shape[1], patch)
    if place is None:
        return None
    rows, cols, patch_rows, patch_cols = place
    alpha = patch.alpha[patch_rows, patch_cols, None]
    under = frame[rows, cols].astype(np.float32)
    under *= 1 - alpha
    under += patch.colour[patch_rows, patch_cols]
    under += np.float32(0.5)
    frame[rows, cols] = under.clip(0, 255)
    return place


def overlap(height: int, width: int, patch: Patch) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns of a frame, then those of the patch, where they meet."""
    rows, cols = patch.alpha.shape
    top, left = max(0, patch.top), max(0, patch.left)
    bottom, right = min(height, patch.top + rows), min(width, patch.left + cols)
    if top >= bottom or left >= right:
        return None
    return (
        slice(top, bottom),
        slice(left, right),
        slice(top - patch.top, bottom - patch.top),
        slice(left - patch.left, right - patch.left),
    )


def soften(frame: Frame) -> Frame:
    """One pass of the kernel 1 2 1 in both directions, its outermost columns apart; a new frame."""
    out = frame.copy()
    height = len(frame)
    for top in range(0, height, _STRIP):  # in strips that stay in the cache
        bottom = min(top + _STRIP, height)
        wide = frame[max(top - 1, 0) : bottom + 1].astype(np.uint16)
        if top == 0:
            wide = np.concatenate((wide[:1], wide))
        if bottom == height:
            wide = np.concatenate((wide, wide[-1:]))
        mixed = wide[:-2] + wide[2:]
        mixed += wide[1:-1]
        mixed += wide[1:-1]
        across = mixed[:, :-2] + mixed[:, 2:]
        across += mixed[:, 1:-1]
        across += mixed[:, 1:-1]
        across += 8
        across >>= 4
        out[top:bottom, 1:-1] = across
    return out
