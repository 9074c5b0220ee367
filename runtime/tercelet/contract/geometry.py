"""Boxes and the maps between frame and canvas: one implementation for numpy arrays and torch tensors.

Boxes are xyxy unless a name says otherwise: left, top, right, bottom in pixels, continuous coordinates
(pixel (0, 0) covers 0..1), last axis of length 4. Every function takes numpy arrays or torch tensors and
returns the same kind; torch is never imported here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, TypeVar

Array = TypeVar("Array")


def _namespace(array: Any) -> Any:
    """The module (numpy or torch) that the array's type comes from."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def xyxy_from_cxcywh(boxes: Array) -> Array:
    """(..., 4) centre x, centre y, width, height -> (..., 4) xyxy, same unit and dtype."""
    b: Any = boxes
    cx, cy, w, h = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    return _namespace(b).stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), -1)  # type: ignore[no-any-return]


def cxcywh_from_xyxy(boxes: Array) -> Array:
    """(..., 4) xyxy -> (..., 4) centre x, centre y, width, height, same unit and dtype."""
    b: Any = boxes
    x1, y1, x2, y2 = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    return _namespace(b).stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)  # type: ignore[no-any-return]


def xyxy_from_ltrb(centres: Array, distances: Array) -> Array:
    """Centres (..., 2) and distances to left, top, right, bottom (..., 4), one unit -> (..., 4) xyxy."""
    c: Any = centres
    d: Any = distances
    parts = (c[..., 0] - d[..., 0], c[..., 1] - d[..., 1], c[..., 0] + d[..., 2], c[..., 1] + d[..., 3])
    return _namespace(d).stack(parts, -1)  # type: ignore[no-any-return]


def box_area(boxes: Array) -> Array:
    """(..., 4) xyxy -> (...) area in square pixels; a box turned inside out has area 0."""
    b: Any = boxes
    return (b[..., 2] - b[..., 0]).clip(0) * (b[..., 3] - b[..., 1]).clip(0)  # type: ignore[no-any-return]


def intersection_area(first: Array, second: Array) -> Array:
    """(N, 4) and (M, 4) xyxy -> (N, M) area that each pair shares, in square pixels."""
    a: Any = first
    b: Any = second
    xp = _namespace(a)
    low = xp.maximum(a[:, None, :2], b[None, :, :2])
    high = xp.minimum(a[:, None, 2:], b[None, :, 2:])
    side = (high - low).clip(0)
    return side[..., 0] * side[..., 1]  # type: ignore[no-any-return]


def pairwise_iou(first: Array, second: Array) -> Array:
    """(N, 4) and (M, 4) xyxy -> (N, M) intersection over union, 0 where both boxes are empty."""
    a: Any = first
    b: Any = second
    shared: Any = intersection_area(a, b)
    union = box_area(a)[:, None] + box_area(b)[None, :] - shared
    return shared / union.clip(1e-12)  # type: ignore[no-any-return]


def clip_boxes(boxes: Array, *, height: int, width: int) -> Array:
    """(..., 4) xyxy -> the same boxes cut at the borders of a frame of height x width pixels."""
    b: Any = boxes
    x1, y1 = b[..., 0].clip(0, width), b[..., 1].clip(0, height)
    x2, y2 = b[..., 2].clip(0, width), b[..., 3].clip(0, height)
    return _namespace(b).stack((x1, y1, x2, y2), -1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Letterbox:
    """Where a frame lies on a canvas: resized to (height, width), its corner at (left, top), all in pixels.

    The map is exact per axis (resized side / frame side), so that a box mapped to the canvas and back is
    the box that went in; the one rounded ratio that is often used for both axes is off by up to half a pixel.
    """

    frame_height: int
    frame_width: int
    height: int
    width: int
    top: int
    left: int

    def to_canvas(self, boxes: Array) -> Array:
        """(..., 4) xyxy in frame pixels -> (..., 4) xyxy in canvas pixels."""
        b: Any = boxes
        sx, sy = self.width / self.frame_width, self.height / self.frame_height
        x1, y1 = b[..., 0] * sx + self.left, b[..., 1] * sy + self.top
        x2, y2 = b[..., 2] * sx + self.left, b[..., 3] * sy + self.top
        return _namespace(b).stack((x1, y1, x2, y2), -1)  # type: ignore[no-any-return]

    def to_frame(self, boxes: Array) -> Array:
        """(..., 4) xyxy in canvas pixels -> (..., 4) xyxy in frame pixels, not cut at the frame's borders."""
        b: Any = boxes
        sx, sy = self.frame_width / self.width, self.frame_height / self.height
        x1, y1 = (b[..., 0] - self.left) * sx, (b[..., 1] - self.top) * sy
        x2, y2 = (b[..., 2] - self.left) * sx, (b[..., 3] - self.top) * sy
        return _namespace(b).stack((x1, y1, x2, y2), -1)  # type: ignore[no-any-return]


def letterbox_for(frame_height: int, frame_width: int, *, height: int, width: int) -> Letterbox:
    """Fit a frame into a canvas of height x width without changing its proportions, centred.

    The ratio is the smaller of the two; sides are rounded to whole pixels (at least 1), and an odd
    remainder puts the larger half of the padding to the right and below, as YOLOv5 and its successors do.
    """
    ratio = min(height / frame_height, width / frame_width)
    new_height = min(max(round(frame_height * ratio), 1), height)
    new_width = min(max(round(frame_width * ratio), 1), width)
    return Letterbox(
        frame_height=frame_height,
        frame_width=frame_width,
        height=new_height,
        width=new_width,
        top=round((height - new_height) / 2 - 0.1),
        left=round((width - new_width) / 2 - 0.1),
    )
