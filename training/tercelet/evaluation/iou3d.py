"""Intersection over union of oriented 3D boxes, exact: the overlap seen from above times the shared height.

The overlap of two rectangles is a line integral round the first in the frame of the second (Green's
theorem): where both |x| < a and |y| < b count, the area is the integral of clamp(x, -a, a) dy over those
parts of the first's outline on which |y| < b. It needs neither a polygon nor an order of its corners, and it
depends continuously on the boxes, so that identical and coaxial ones are no special case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import Floats

Wide = NDArray[np.float64]
# Pairs computed at once: some 60 MB of tables.
_PAIRS = 200_000
_CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])  # counter-clockwise


def pairwise_iou_3d(first: Floats, second: Floats) -> Wide:
    """(N, 7) and (M, 7) boxes of `contract.box3d` -> (N, M) float64 in 0..1.

    A box with a side of 0 or less has no volume; it shares nothing with any other.
    """
    a, b = np.asarray(first, np.float64).reshape(-1, 7), np.asarray(second, np.float64).reshape(-1, 7)
    result = np.zeros((len(a), len(b)))
    rows = max(1, _PAIRS // max(1, len(b)))
    for start in range(0, len(a), rows):
        result[start : start + rows] = _iou(a[start : start + rows, None], b[None])
    return result


def pairwise_overlap_from_above(first: Floats, second: Floats) -> Wide:
    """(N, 7) and (M, 7) boxes -> (N, M) square metres that their footprints share, float64."""
    a, b = np.asarray(first, np.float64).reshape(-1, 7), np.asarray(second, np.float64).reshape(-1, 7)
    return _footprint(a[:, None], b[None])


def _iou(a: Wide, b: Wide) -> Wide:
    """(N, 1, 7) and (1, M, 7) -> (N, M)."""
    top = np.minimum(a[..., 2] + a[..., 5] / 2, b[..., 2] + b[..., 5] / 2)
    bottom = np.maximum(a[..., 2] - a[..., 5] / 2, b[..., 2] - b[..., 5] / 2)
    volume_a, volume_b = _volume(a), _volume(b)
    solid = (volume_a > 0) & (volume_b > 0)
    shared = np.where(solid, _footprint(a, b) * np.maximum(top - bottom, 0), 0.0)
    # What rounding may add must not make more than the whole of either.
    shared = np.minimum(shared, np.minimum(volume_a, volume_b))
    union = volume_a + volume_b - shared
    return np.where(solid, shared / np.where(solid, union, 1.0), 0.0)


def _volume(boxes: Wide) -> Wide:
    return np.where((boxes[..., 3:6] > 0).all(axis=-1), boxes[..., 3:6].prod(axis=-1), 0.0)


def _footprint(a: Wide, b: Wide) -> Wide:
    """Area that each pair shares seen from above; sides below 0 count as 0."""
    size_a, half_b = np.maximum(a[..., 3:5], 0), np.maximum(b[..., 3:5], 0) / 2
    offset = a[..., :2] - b[..., :2]
    cos_b, sin_b = np.cos(b[..., 6]), np.sin(b[..., 6])
    turn = a[..., 6] - b[..., 6]
    centre_x = offset[..., 0] * cos_b + offset[..., 1] * sin_b
    centre_y = offset[..., 1] * cos_b - offset[..., 0] * sin_b
    local = _CORNERS * size_a[..., None, :]
    cosine, sine = np.cos(turn)[..., None], np.sin(turn)[..., None]
    x = centre_x[..., None] + local[..., 0] * cosine - local[..., 1] * sine
    y = centre_y[..., None] + local[..., 0] * sine + local[..., 1] * cosine
    area = np.zeros(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]))
    for edge in range(4):
        after = (edge + 1) % 4
        area += _along(x[..., edge], y[..., edge], x[..., after], y[..., after], half_b)
    # An overlap is neither negative nor larger than one of the two, whatever rounding says.
    most = np.minimum(size_a.prod(axis=-1), 4 * half_b.prod(axis=-1))
    return np.clip(area, 0.0, most)


def _along(x0: Wide, y0: Wide, x1: Wide, y1: Wide, half: Wide) -> Wide:
    """Integral of clamp(x, -a, a) dy along the straight line from 0 to 1, as far as |y| < b; half: a, b."""
    a, b = half[..., 0], half[..., 1]
    start, stop = _reaches(y0, y1, -b), _reaches(y0, y1, b)
    start, stop = np.minimum(start, stop), np.maximum(start, stop)
    dy = np.clip(y1, -b, b) - np.clip(y0, -b, b)
    from_x, to_x = x0 + (x1 - x0) * start, x0 + (x1 - x0) * stop
    # Piecewise linear in x with kinks at -a and a: the trapezoids between the kinks are exact.
    one, two = _reaches(from_x, to_x, -a), _reaches(from_x, to_x, a)
    one, two = np.minimum(one, two), np.maximum(one, two)
    first, last = np.clip(from_x, -a, a), np.clip(to_x, -a, a)
    at_one, at_two = (np.clip(from_x + (to_x - from_x) * t, -a, a) for t in (one, two))
    mean = (first + at_one) * one + (at_one + at_two) * (two - one) + (at_two + last) * (1 - two)
    return mean / 2 * dy


def _reaches(start: Wide, stop: Wide, level: Wide) -> Wide:
    """At which share of the way from start to stop the level is met, cut to 0..1; 0 where nothing changes."""
    way = stop - start
    moves = way != 0
    share = (level - start) / np.where(moves, way, 1.0)
    return np.where(moves, np.clip(share, 0.0, 1.0), 0.0)
