"""Small things as solids in metres, drawn four times finer than the frame and averaged: faces and ellipsoids.

Local axes: forward, left, up in metres, the origin on the ground below the middle of the thing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.synthetic.ground import LocalView
from tercelet.evaluation.synthetic.painting import Patch, Points, convex_hull

FINER = 4
Colour = tuple[float, float, float]
Ring = Sequence[tuple[float, float]]

_AMBIENT, _DIRECT = 0.56, 0.48


@dataclass(frozen=True)
class Face:
    """A flat convex polygon (K, 3), counter-clockwise seen from outside, with its colour BGR 0..255."""

    points: Points
    colour: Colour


@dataclass(frozen=True)
class Ellipsoid:
    """Centre (3,), half axes (forward, left, up) in metres, colour BGR 0..255."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    colour: Colour


Part = Face | Ellipsoid


@dataclass(frozen=True)
class Sun:
    """World direction to the sun (right, away, up), length 1; strength 0..1 of the shadows that it casts."""

    right: float
    away: float
    up: float
    strength: float

    def shadow_of(self, height: float) -> tuple[float, float]:
        """World offset in metres of the shadow of a point `height` metres above the ground."""
        return -self.right / self.up * height, -self.away / self.up * height


@dataclass(frozen=True)
class Drawing:
    """A thing drawn: the patch, the tight box of its pixels xyxy to a quarter of a pixel, its shadow's hull.

    The box may reach beyond the frame.
    """

    patch: Patch
    box: tuple[float, float, float, float]
    shadow: Points


def prism(
    bottom: Ring,
    low: float,
    top: Ring,
    high: float,
    sides: Colour | Sequence[Colour],
    lid: Colour,
) -> list[Face]:
    """Side faces between two rings of as many corners, counter-clockwise from above, then the lid."""
    count = len(bottom)
    colours = [sides] * count if isinstance(sides[0], (int, float)) else list(sides)
    faces = []
    for i in range(count):
        j = (i + 1) % count
        corners = [(*bottom[i], low), (*bottom[j], low), (*top[j], high), (*top[i], high)]
        faces.append(Face(np.array(corners), colours[i]))  # type: ignore[arg-type]
    faces.append(Face(np.array([(*point, high) for point in top]), lid))
    return faces


def rectangle(back: float, front: float, half_width: float, *, cut: float = 0.0) -> Ring:
    """A ring counter-clockwise from above, its corners cut off by `cut` metres; starts at the right side."""
    if cut <= 0:
        return ((back, -half_width), (front, -half_width), (front, half_width), (back, half_width))
    return (
        (back + cut, -half_width),
        (front - cut, -half_width),
        (front, -half_width + cut),
        (front, half_width - cut),
        (front - cut, half_width),
        (back + cut, half_width),
        (back, half_width - cut),
        (back, -half_width + cut),
    )


def pane(face: Face, s: tuple[float, float], t: tuple[float, float], colour: Colour) -> Face:
    """A part of a face of four corners: shares s along its lower edge, t upwards; a hair in front of it."""
    p = face.points
    corners = []
    for along, up in ((s[0], t[0]), (s[1], t[0]), (s[1], t[1]), (s[0], t[1])):
        below = p[0] + (p[1] - p[0]) * along
        above = p[3] + (p[2] - p[3]) * along
        corners.append(below + (above - below) * up)
    return Face(np.array(corners), colour)


def vertices_of(parts: Sequence[Part]) -> Points:
    """(N, 3) points whose hull holds all parts."""
    rows: list[Points] = []
    for part in parts:
        if isinstance(part, Face):
            rows.append(part.points)
            continue
        (x, y, z), (a, b, c) = part.centre, part.axes
        rows.append(
            np.array(
                [(x + a, y, z), (x - a, y, z), (x, y + b, z), (x, y - b, z), (x, y, z + c), (x, y, z - c)]
            )
        )
    return np.concatenate(rows)


def projected(points: Points, matrix: Points) -> Points:
    """(N, 3) metres to (N, 2) px, without a matrix product."""
    columns = [points[:, 0] * row[0] + points[:, 1] * row[1] + points[:, 2] * row[2] for row in matrix]
    return np.stack(columns, axis=1)


def longer_side(parts: Sequence[Part], matrix: Points) -> float:
    """About the longer side in px of the box around the parts, before they are drawn."""
    image = projected(vertices_of(parts), matrix)
    return float((image.max(axis=0) - image.min(axis=0)).max())


def draw(
    parts: Sequence[Part], view: LocalView, heading: float, sun: Sun, *, size: float = 1.0, shade: float = 1.0
) -> Drawing | None:
    """Draw parts in their order (far ones first) at the view's point; None if no pixel is touched.

    size: factor on the metres. shade: factor on the colours, for things in the shadow of others.
    """
    matrix = view.matrix(heading) * size
    toward, light = _toward_viewer(matrix), _light(sun, heading)
    vertices = vertices_of(parts)
    image = projected(vertices, matrix)
    low, high = np.floor(image.min(axis=0)), np.ceil(image.max(axis=0))
    left, top = math.floor(view.x + low[0]) - 1, math.floor(view.y + low[1]) - 1
    columns, rows = int(high[0] - low[0]) + 4, int(high[1] - low[1]) + 4
    canvas = np.zeros((rows * FINER, columns * FINER), np.uint8)
    origin = np.array([(view.x - left) * FINER, (view.y - top) * FINER])
    colours: list[Sequence[float]] = [(0.0, 0.0, 0.0)]
    for part in parts:
        if isinstance(part, Face):
            normal = _normal(part.points)
            if float((normal * toward).sum()) <= 0:
                continue
            corners = projected(part.points, matrix * FINER) + origin
            _fill_convex(canvas, corners, len(colours))
            gain = shade * (_AMBIENT + _DIRECT * max(0.0, float((normal * light).sum())))
            colours.append([channel * gain for channel in part.colour])
        else:
            for ellipsoid, gain in _lit(part, light):
                _fill_ellipse(canvas, ellipsoid, matrix * FINER, origin, len(colours))
                colours.append([channel * gain * shade for channel in part.colour])
    shadow = _shadow(vertices, view, heading, sun, size)
    return _averaged(canvas, np.array(colours, np.float32), left, top, shadow)


def _averaged(
    canvas: NDArray[np.uint8], colours: NDArray[np.float32], left: int, top: int, shadow: Points
) -> Drawing | None:
    touched = canvas > 0
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    if not len(rows):
        return None
    height, width = canvas.shape[0] // FINER, canvas.shape[1] // FINER
    share = np.float32(1 / FINER**2)
    alpha = touched.reshape(height, FINER, width, FINER).sum(axis=(1, 3), dtype=np.float32) * share
    fine = colours.clip(0, 255)[canvas].reshape(height, FINER, width, FINER, 3)
    colour = fine.sum(axis=(1, 3), dtype=np.float32) * share
    box = (
        left + float(columns[0]) / FINER,
        top + float(rows[0]) / FINER,
        left + float(columns[-1] + 1) / FINER,
        top + float(rows[-1] + 1) / FINER,
    )
    return Drawing(Patch(left, top, colour, alpha), box, shadow)


def _toward_viewer(matrix: Points) -> Points:
    """The local direction that the projection does not see, upwards."""
    (a, b, c), (d, e, f) = matrix.tolist()
    direction = np.array([b * f - c * e, c * d - a * f, a * e - b * d])
    return direction if direction[2] > 0 else -direction


def _light(sun: Sun, heading: float) -> Points:
    c, s = math.cos(heading), math.sin(heading)
    return np.array([c * sun.right + s * sun.away, -s * sun.right + c * sun.away, sun.up])


def _normal(points: Points) -> Points:
    (ax, ay, az), (bx, by, bz) = (points[1] - points[0]).tolist(), (points[2] - points[0]).tolist()
    normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    return normal / max(1e-12, math.sqrt(float((normal * normal).sum())))


def _fill_convex(canvas: NDArray[np.uint8], polygon: Points, value: int) -> None:
    """Write value where the middle of a fine pixel lies inside the polygon, clockwise or not."""
    x0, y0 = np.floor(polygon.min(axis=0)).astype(int).clip(0).tolist()
    x1, y1 = np.ceil(polygon.max(axis=0)).astype(int).tolist()
    window = canvas[y0:y1, x0:x1]
    if not window.size:
        return
    xs = np.arange(x0, x0 + window.shape[1]) + 0.5
    ys = (np.arange(y0, y0 + window.shape[0]) + 0.5)[:, None]
    px, py = polygon[:, 0].tolist(), polygon[:, 1].tolist()
    area = sum(px[i - 1] * py[i] - px[i] * py[i - 1] for i in range(len(px)))
    sign = 1.0 if area > 0 else -1.0
    inside = np.ones(window.shape, bool)
    for i in range(len(px)):
        dx, dy = sign * (px[i] - px[i - 1]), sign * (py[i] - py[i - 1])
        inside &= dx * (ys - py[i]) >= dy * (xs - px[i])
    window[inside] = value


def _lit(part: Ellipsoid, light: Points) -> list[tuple[Ellipsoid, float]]:
    """A darker whole and a brighter part on the side of the sun."""
    shift = 0.3 * np.array(part.axes) * light
    centre = tuple((np.array(part.centre) + shift).tolist())
    inner = Ellipsoid(centre, tuple(0.68 * a for a in part.axes), part.colour)  # type: ignore[arg-type]
    return [(part, 0.78), (inner, 1.06)]


def _fill_ellipse(
    canvas: NDArray[np.uint8], part: Ellipsoid, matrix: Points, origin: Points, value: int
) -> None:
    """Write value in the outline of an ellipsoid: all d with d' (M A A' M')^-1 d <= 1."""
    x, y = (projected(np.array([part.centre]), matrix)[0] + origin).tolist()
    scaled = [[m * a for m, a in zip(row, part.axes, strict=True)] for row in matrix.tolist()]
    xx, yy = (sum(v * v for v in row) for row in scaled)
    xy = sum(v * w for v, w in zip(*scaled, strict=True))
    # Never thinner than half a fine pixel: a wheel seen edge-on is still there.
    xx, yy = xx + 0.25, yy + 0.25
    determinant = xx * yy - xy * xy
    x0, x1 = max(0, math.floor(x - math.sqrt(xx))), math.ceil(x + math.sqrt(xx))
    y0, y1 = max(0, math.floor(y - math.sqrt(yy))), math.ceil(y + math.sqrt(yy))
    window = canvas[y0:y1, x0:x1]
    dx = np.arange(x0, x0 + window.shape[1]) + (0.5 - x)
    dy = (np.arange(y0, y0 + window.shape[0]) + (0.5 - y))[:, None]
    window[yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy <= determinant] = value


def _shadow(vertices: Points, view: LocalView, heading: float, sun: Sun, size: float) -> Points:
    """Image hull of the vertices carried to the ground along the sun's rays."""
    c, s = math.cos(heading), math.sin(heading)
    x, y, z = vertices[:, 0] * size, vertices[:, 1] * size, vertices[:, 2] * size
    right = c * x - s * y - sun.right / sun.up * z
    away = s * x + c * y - sun.away / sun.up * z
    return convex_hull(
        np.stack(
            (
                view.x + view.right[0] * right + view.away[0] * away,
                view.y + view.right[1] * right + view.away[1] * away,
            ),
            axis=1,
        )
    )
