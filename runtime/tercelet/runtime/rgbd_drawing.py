"""Oriented boxes for people to look at: in the picture, and from above among the points.

What a 2D detector found in the picture has thin outlines there.
Both show the same boxes in the colours of their classes. From above, a line in each box goes from its middle
to the side that its yaw points at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import Floats, corners_of_boxes
from tercelet.contract.detections import Detections
from tercelet.contract.detections3d import Detections3d
from tercelet.contract.labels import color_for
from tercelet.runtime import vision
from tercelet.runtime.clouds.calibration import Matrix
from tercelet.runtime.sources.rgbd import RgbdFrame
from tercelet.runtime.vision import Image

# Pairs of corners of `corners_of_boxes`: two faces across local x and what joins them.
_EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7),
)  # fmt: skip
# Metres before the camera at which an edge is cut off; what lies behind it has no place in the picture.
_NEAREST = 0.05
_FARTHEST_PIXEL = 30_000.0
_VIEW_SIDE = 720
_MARGIN = 0.25  # metres around what is shown from above
_BACKGROUND = (34, 30, 28)
_GRID = (62, 56, 52)
_FLOOR_SHARE = (2.0, 98.0)  # percentiles of height between which points go from dark to bright
_GREYS = (75.0, 235.0)
_MANY_POINTS = 100_000  # up to which a point is drawn two pixels wide


def draw_rgbd(frame: RgbdFrame, detections: Detections3d) -> Image:
    """(H, W, 3) uint8 BGR: the picture with its boxes and beside it the view from above; that view alone
    where there is no picture. Without a calibration no box is drawn into the picture."""
    above = view_from_above(frame.cloud.points, detections)
    if frame.image is None:
        return above
    picture = frame.image
    if detections.picture_boxes is not None:
        picture = draw_picture_boxes(picture, detections.picture_boxes)
    if frame.depth2img is not None:
        picture = draw_boxes_3d(picture, detections, frame.depth2img)
    width = max(1, round(picture.shape[1] * above.shape[0] / picture.shape[0]))
    return np.hstack((vision.resize_to_see(picture, height=above.shape[0], width=width), above))


def draw_picture_boxes(image: Image, boxes: Detections) -> Image:
    """A copy of (H, W, 3) uint8 BGR with a thin outline of each box that a 2D detector found."""
    picture = image.copy()
    for (left, top, right, bottom), class_id in zip(boxes.boxes.tolist(), boxes.class_ids, strict=True):
        corners = [
            _pixel(np.array(corner))
            for corner in ((left, top), (right, top), (right, bottom), (left, bottom))
        ]
        for start, stop in zip(corners, corners[1:] + corners[:1], strict=True):
            vision.draw_line(picture, start, stop, color=color_for(int(class_id)), width=1)
    return picture


def draw_boxes_3d(image: Image, detections: Detections3d, depth2img: Matrix) -> Image:
    """A copy of (H, W, 3) uint8 BGR with the edges of each box and its label, the best on top.

    depth2img: (3, 3) from the boxes' frame to the picture's pixels, counted from 1. Edges that reach behind
    the camera are cut off there.
    """
    picture = image.copy()
    width = max(1, round(min(image.shape[:2]) / 260))
    corners = corners_of_boxes(detections.boxes.astype(np.float64))
    labels = []
    for index in np.argsort(detections.scores, kind="stable").tolist():
        color = color_for(int(detections.class_ids[index]))
        seen = corners[index] @ depth2img.T
        ends = [_segment(seen[first], seen[second]) for first, second in _EDGES]
        drawn = [pair for pair in ends if pair is not None]
        for start, stop in drawn:
            vision.draw_line(picture, start, stop, color=color, width=width)
        if drawn:
            labels.append((index, min((end for pair in drawn for end in pair), key=lambda end: end[1])))
    scale = max(0.45, min(image.shape[:2]) / 1100)
    for index, top in labels:
        _draw_label(picture, detections, index, top, scale=scale)
    return picture


def _segment(start: Floats, stop: Floats) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Two homogeneous points -> the pixels, counted from 0, of what of the line between them is before the
    camera; None for nothing."""
    if not (np.isfinite(start).all() and np.isfinite(stop).all()) or max(start[2], stop[2]) < _NEAREST:
        return None
    if start[2] < _NEAREST:
        start = start + (stop - start) * (_NEAREST - start[2]) / (stop[2] - start[2])
    elif stop[2] < _NEAREST:
        stop = stop + (start - stop) * (_NEAREST - stop[2]) / (start[2] - stop[2])
    return _pixel(start[:2] / start[2] - 1), _pixel(stop[:2] / stop[2] - 1)


def view_from_above(points: NDArray[np.float32], detections: Detections3d) -> Image:
    """(720, W, 3) uint8 BGR: the points seen from above, x to the right and y upwards, brighter the higher,
    over a grid of metres, with the outline of each box.

    points: (N, 3) upright depth frame, metres. W is 360 to 1080 as the cloud's shape asks.
    """
    corners = corners_of_boxes(detections.boxes.astype(np.float64))
    plane = _Plane(points, corners[..., :2].reshape(-1, 2))
    view = np.full((_VIEW_SIDE, plane.width, 3), _BACKGROUND, np.uint8)
    _draw_grid(view, plane)
    _draw_points(view, plane, points)
    worst_first = np.argsort(detections.scores, kind="stable").tolist()
    for index in worst_first:
        color = color_for(int(detections.class_ids[index]))
        outline = [plane.pixel(corner) for corner in corners[index][[0, 3, 7, 4], :2]]
        for start, stop in zip(outline, outline[1:] + outline[:1], strict=True):
            vision.draw_line(view, start, stop, color=color, width=2)
        middle = plane.pixel(detections.boxes[index, :2].astype(np.float64))
        front = plane.pixel(corners[index][[4, 7], :2].mean(axis=0))
        vision.draw_line(view, middle, front, color=color, width=2)
    for index in worst_first:
        top = min((plane.pixel(corner) for corner in corners[index][:, :2]), key=lambda end: end[1])
        _draw_label(view, detections, index, top, scale=0.5)
    return view


class _Plane:
    """Where metres from above lie in the view."""

    def __init__(self, points: NDArray[np.float32], corners: Floats) -> None:
        low, high = np.percentile(points[:, :2].astype(np.float64), (0.5, 99.5), axis=0)
        # Boxes belong into the view, unless they lie where no thing of this cloud can be.
        near = corners[(corners > low - 2).all(axis=1) & (corners < high + 2).all(axis=1)]
        if len(near):
            low, high = np.minimum(low, near.min(axis=0)), np.maximum(high, near.max(axis=0))
        self.low, self.high = low - _MARGIN, high + _MARGIN
        shape = (self.high[0] - self.low[0]) / (self.high[1] - self.low[1])
        self.width = int(np.clip(round(_VIEW_SIDE * shape), _VIEW_SIDE // 2, _VIEW_SIDE * 3 // 2))
        extent = self.high - self.low
        self.scale = min((self.width - 1) / extent[0], (_VIEW_SIDE - 1) / extent[1])
        self.middle = (self.low + self.high) / 2

    def places(self, metres: Floats) -> Floats:
        """(N, 2) x, y in metres -> (N, 2) pixels, x to the right and y down."""
        centred = (metres - self.middle) * self.scale
        placed: Floats = centred * (1, -1) + ((self.width - 1) / 2, (_VIEW_SIDE - 1) / 2)
        return placed

    def pixel(self, metres: Floats) -> tuple[int, int]:
        """(2,) x, y in metres -> its pixel."""
        return _pixel(self.places(metres[None])[0])


def _draw_grid(view: Image, plane: _Plane) -> None:
    for axis in (0, 1):
        for metre in range(int(np.ceil(plane.low[axis])), int(np.floor(plane.high[axis])) + 1):
            ends = np.array([plane.low, plane.high])
            ends[:, axis] = metre
            start, stop = (plane.pixel(end) for end in ends)
            vision.draw_line(view, start, stop, color=_GRID, width=1)


def _draw_points(view: Image, plane: _Plane, points: NDArray[np.float32]) -> None:
    # The highest last, so that it covers what lies below it, as it does from above.
    rising = points[np.argsort(points[:, 2], kind="stable")]
    x, y = np.rint(plane.places(rising[:, :2].astype(np.float64))).astype(np.int64).T
    side = 1 if len(points) > _MANY_POINTS else 2
    inside = (x >= 0) & (x <= view.shape[1] - side) & (y >= 0) & (y <= view.shape[0] - side)
    low, high = np.percentile(points[:, 2], _FLOOR_SHARE)
    share = ((rising[:, 2] - low) / max(float(high - low), 1e-6)).clip(0, 1)
    grey = (_GREYS[0] + share * (_GREYS[1] - _GREYS[0])).astype(np.uint8)
    for down, right in np.ndindex(side, side):
        view[y[inside] + down, x[inside] + right] = grey[inside, None]


def _draw_label(
    picture: Image, detections: Detections3d, index: int, top: tuple[int, int], *, scale: float
) -> None:
    """The label above the topmost pixel of a box, inside the picture; nothing where that is far outside."""
    height, width = picture.shape[:2]
    text = f"{detections.label_of(index)} {float(detections.scores[index]):.2f}"
    size = vision.tag_size(text, scale)
    if not (-size[0] < top[0] < width + size[0] and -height < top[1] < height):
        return
    corner = vision.label_corner(np.array([*top, *top], np.float32), size=size, frame_size=(width, height))
    vision.draw_tag(picture, text, corner, scale=scale, color=color_for(int(detections.class_ids[index])))


def _pixel(place: Floats) -> tuple[int, int]:
    x, y = np.rint(place.clip(-_FARTHEST_PIXEL, _FARTHEST_PIXEL)).astype(int).tolist()
    return x, y
