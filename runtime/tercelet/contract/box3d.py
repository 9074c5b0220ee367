"""Oriented boxes in the upright depth frame: corners, bounds, members, and the bins that networks predict.

Frame: x right, y forward, z up, metres. A box is (7,): centre x, y, z (the centre of gravity, not of the
bottom), full sizes dx, dy, dz, and yaw in radians, counter-clockwise about +z as seen from above, which is
the sign of mmdetection3d 1.0 and later. The heading of VoteNet's files is -yaw (`yaw_from_heading`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

YAW_BINS = 12
# The ten classes of SUN RGB-D that VoteNet and its successors detect, in the order of their class ids, and
# the mean full size dx, dy, dz of each in metres, from which sizes are predicted.
SUNRGBD_CLASSES = (
    "bed", "table", "sofa", "chair", "toilet", "desk", "dresser", "night_stand", "bookshelf", "bathtub",
)  # fmt: skip
SUNRGBD_MEAN_SIZES = (
    (2.114256, 1.620300, 0.927272),
    (0.791118, 1.279516, 0.718182),
    (0.923508, 1.867419, 0.845495),
    (0.591958, 0.552978, 0.827272),
    (0.699104, 0.454178, 0.756250),
    (0.695190, 1.346299, 0.736364),
    (0.528526, 1.002642, 1.172878),
    (0.500618, 0.632163, 0.683424),
    (0.404671, 1.071108, 1.688889),
    (0.765840, 1.398258, 0.472728),
)
# Corner by corner which end of each axis: the bottom and the top go round in the plane of the first face.
_CORNERS = np.array(
    [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]], np.float32
)


def yaw_from_heading(heading: Floats) -> Floats:
    """Heading in radians, clockwise from above (+x towards -y) as VoteNet's files have it, to yaw."""
    return -heading


def corners_of_boxes(boxes: Floats) -> Floats:
    """(..., 7) -> (..., 8, 3) corners in metres, same dtype.

    Corners 0 to 3 lie on the side of the smallest local x, 4 to 7 opposite; within a side in the order
    (y, z) = low low, low high, high high, high low.
    """
    local = (_CORNERS.astype(boxes.dtype) - boxes.dtype.type(0.5)) * boxes[..., None, 3:6]
    cosine, sine = np.cos(boxes[..., 6])[..., None], np.sin(boxes[..., 6])[..., None]
    x = local[..., 0] * cosine - local[..., 1] * sine
    y = local[..., 0] * sine + local[..., 1] * cosine
    return np.stack((x, y, local[..., 2]), axis=-1) + boxes[..., None, :3]


def bounds_of_boxes(boxes: Floats) -> Floats:
    """(..., 7) -> (..., 6) smallest axis-aligned box around each: low x, y, z, high x, y, z, same dtype."""
    corners = corners_of_boxes(boxes)
    return np.concatenate((corners.min(axis=-2), corners.max(axis=-2)), axis=-1)


def points_in_boxes(points: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Points (N, 3 or more columns) and boxes (P, 7) -> (N, P) whether each point lies in each box.

    The bottom and the top belong to the box, the four sides do not. Nothing lies in a box of negative size.
    """
    inside = np.zeros((len(points), len(boxes)), bool)
    for number, rows in _members(points, boxes):
        inside[rows, number] = True
    return inside


def count_points_in_boxes(points: Floats, boxes: Floats) -> NDArray[np.int64]:
    """Points (N, 3 or more columns) and boxes (P, 7) -> (P,) how many lie in each, as `points_in_boxes` has
    it, without the table of N x P."""
    counts = np.zeros(len(boxes), np.int64)
    for number, rows in _members(points, boxes):
        counts[number] = len(rows)
    return counts


def _members(points: Floats, boxes: Floats) -> list[tuple[int, NDArray[np.intp]]]:
    """Box number and the rows of its points, for each box whose numbers are finite."""
    # Sorted by x, so that each box looks at the few points that its circle round the centre can hold.
    order = np.argsort(points[:, 0], kind="stable")
    xyz = np.ascontiguousarray(points[order, :3].T, np.float32)
    narrow = boxes.astype(np.float32)
    reach = np.hypot(narrow[:, 3], narrow[:, 4]) / 2 + np.float32(1e-3)
    finite = np.isfinite(narrow).all(axis=1)
    first = np.searchsorted(xyz[0], narrow[:, 0] - reach)
    last = np.searchsorted(xyz[0], narrow[:, 0] + reach, side="right")
    found = []
    for number in np.flatnonzero(finite).tolist():
        cx, cy, cz, dx, dy, dz, yaw = narrow[number]
        part = slice(int(first[number]), int(last[number]))
        x, y = xyz[0, part] - cx, xyz[1, part] - cy
        cosine, sine = np.cos(yaw), np.sin(yaw)
        inside = np.abs(xyz[2, part] - cz) <= dz / 2
        inside &= np.abs(x * cosine + y * sine) < dx / 2
        inside &= np.abs(y * cosine - x * sine) < dy / 2
        found.append((number, order[part][inside]))
    return found


def bins_from_yaw(yaw: Floats, *, bins: int = YAW_BINS) -> tuple[NDArray[np.int64], Floats]:
    """Yaw in radians -> bin (int64) and what is left from the bin's middle (radians, within half a bin).

    Bin 0 lies around yaw 0, a border belongs to the bin above it.
    """
    width = 2 * math.pi / bins
    shifted = np.mod(np.mod(yaw, 2 * math.pi) + width / 2, 2 * math.pi)
    # A remainder may round up to the whole circle, where the bin would be one too many.
    # Divided by whole times, as upstream does, and not by rounding a quotient, which differs at a border.
    number = np.minimum(np.floor_divide(shifted, width), bins - 1)
    return number.astype(np.int64), shifted - (number * width + width / 2)


def yaw_from_bins(number: NDArray[np.integer[Any]], left: Floats, *, bins: int = YAW_BINS) -> Floats:
    """Bins and what is left (radians) -> yaw in radians, -pi..pi, in the dtype of `left`."""
    angle = number.astype(left.dtype) * left.dtype.type(2 * math.pi / bins) + left
    return np.where(angle > math.pi, angle - left.dtype.type(2 * math.pi), angle)


def boxes_from_bins(
    centres: Floats,
    yaw_class: NDArray[np.integer[Any]],
    yaw_left: Floats,
    size_class: NDArray[np.integer[Any]],
    size_left: Floats,
    *,
    mean_sizes: Floats,
) -> Floats:
    """What a network of VoteNet's kind predicts -> boxes (..., 7).

    centres (..., 3) and size_left (..., 3) in metres, yaw_left (...) in radians: not normalised. mean_sizes:
    (C, 3) metres. Sizes may come out negative where the network says so.
    """
    sizes = mean_sizes.astype(centres.dtype)[size_class] + size_left
    yaw = yaw_from_bins(yaw_class, yaw_left)
    return np.concatenate((centres, sizes, yaw[..., None]), axis=-1)
