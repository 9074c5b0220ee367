"""White paint on streets and car parks: lanes, edges, crossings, bays."""

from __future__ import annotations

import numpy as np

from tercelet.evaluation.synthetic.ground import Ground, Points
from tercelet.evaluation.synthetic.painting import Frame, blend, parallelogram_patch
from tercelet.evaluation.synthetic.plan import LANE_M, StreetPlan

_WHITE = np.array((216, 220, 222), np.float32)
_YELLOW = np.array((70, 170, 214), np.float32)
# A line thinner than this many pixels is not worth drawing.
_THINNEST_PX = 0.35


class LinePainter:
    """Draws lines given in plan metres onto a frame."""

    def __init__(self, frame: Frame, ground: Ground) -> None:
        self._frame, self._ground = frame, ground

    def line(self, starts: Points, ends: Points, width: float, *, yellow: bool = False) -> None:
        """Lines from starts (N, 2) to ends (N, 2), `width` metres wide; those outside are left out."""
        height, across = self._frame.shape[:2]
        d = ends - starts
        length = np.sqrt((d * d).sum(axis=1, keepdims=True))
        side = np.stack((-d[:, 1], d[:, 0]), axis=1) * (width / np.maximum(length, 1e-9))
        image = self._ground.image_from_plan(np.concatenate((starts - 0.5 * side, ends, starts + 0.5 * side)))
        a, b, c = np.split(image, 3)
        scale = self._ground.scale_at(a[:, 1])
        inside = (np.maximum(a, b) > 0).all(axis=1) & (np.minimum(a, b) < (across, height)).all(axis=1)
        colour = _YELLOW if yellow else _WHITE
        for i in np.flatnonzero(inside & (scale * width > _THINNEST_PX)).tolist():
            patch = parallelogram_patch(
                (a[i, 0], a[i, 1]),
                (b[i, 0] - 0.5 * (a[i, 0] + c[i, 0]), b[i, 1] - 0.5 * (a[i, 1] + c[i, 1])),
                (c[i, 0] - a[i, 0], c[i, 1] - a[i, 1]),
                lambda s, t: colour,
                height=height,
                width=across,
                opacity=0.8,
            )
            if patch is not None:
                blend(self._frame, patch)


def paint_streets(painter: LinePainter, plan: StreetPlan) -> None:
    """Dashes between lanes, a yellow line in the middle of wide streets, crossings at wide junctions."""
    for street in plan.streets:
        if street.lanes == 2:
            offsets, dash, gap = [0.0], 2.0, 5.0
        else:
            offsets = [LANE_M * (lane - 0.5 * street.lanes) for lane in range(1, street.lanes)]
            dash, gap = 3.0, 6.0
        crossed = [
            other
            for other in plan.streets
            if other.along != street.along and other.low <= street.at <= other.high
        ]
        at = np.arange(street.low, street.high, dash + gap)
        free = np.ones(len(at), bool)
        for other in crossed:
            free &= np.abs(at + 0.5 * dash - other.at) > other.half_width + 6
        for offset in offsets:
            middle = street.lanes > 2 and abs(offset) < 0.1
            long = dash + gap if middle else dash
            starts = np.concatenate(
                [street.point(a, offset) for a in at[free].tolist()] or [np.zeros((0, 2))]
            )
            step = np.array([(long, 0.0)] if street.along == 0 else [(0.0, long)])
            painter.line(starts, starts + step, 0.18, yellow=middle)
        if street.lanes > 2:
            for other in crossed:
                if other.lanes > 2:
                    for side in (-1, 1):
                        _paint_crossing(
                            painter,
                            street.along,
                            street.at,
                            street.half_width,
                            other.at + side * (other.half_width + 3.5),
                        )


def _paint_crossing(painter: LinePainter, along: int, middle: float, half: float, at: float) -> None:
    """A zebra crossing over a street at `at` metres along it."""
    stripes = np.arange(-half + 0.5, half, 1.0)
    if along == 0:
        starts = np.stack((np.full(len(stripes), at - 1.5), middle + stripes), axis=1)
        step = np.array([(3.0, 0.0)])
    else:
        starts = np.stack((middle + stripes, np.full(len(stripes), at - 1.5)), axis=1)
        step = np.array([(0.0, 3.0)])
    painter.line(starts, starts + step, 0.5)


def paint_bays(painter: LinePainter, ends: Points, *, width: float = 0.14) -> None:
    """Lines of bays, (N, 4): plan start and end of each."""
    if len(ends):
        painter.line(ends[:, :2], ends[:, 2:], width)
