"""Rooms from above: what is there beside what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import corners_of_boxes
from tercelet.contract.labels import color_for
from tercelet.evaluation.room_detections import RoomDetections
from tercelet.training.density_training.frames import opencv
from tercelet.training.detector_training.records.pictures import SHEET_GROUND, legend_entries, save_sheet

_SIDE = 420  # pixels of a room
_EDGE = 0.05  # of it that stays free at each side
_SHOWN = 4000  # points


@dataclass(frozen=True)
class ShownRoom:
    """points: (N, 3). boxes: (K, 7), class_ids: (K,) what is there. found: what was found."""

    points: NDArray[np.float32]
    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    found: RoomDetections


def save_rooms(rooms: Sequence[ShownRoom], path: str | Path, *, labels: Sequence[str], score: float) -> Path:
    """Write the rooms as one PNG, truth left and detections above `score` right, and return the path.

    +y is upwards, points are brighter the higher; the line in a box leads from its middle to the side that
    its yaw points at. InputError without a room or for a class without a label.
    """
    tiles, truth_ids, found_ids = [], [], []
    for room in rooms:
        found = room.found.above(score)
        pair = [
            _tile(room, room.boxes, room.class_ids),
            _tile(room, found.boxes.astype(np.float64), found.class_ids),
        ]
        gap = np.full((_SIDE, 2, 3), SHEET_GROUND, np.uint8)
        tiles.append(np.concatenate((pair[0], gap, pair[1]), axis=1))
        truth_ids.append(room.class_ids)
        found_ids.append(found.class_ids)
    entries = legend_entries(labels, np.concatenate(truth_ids), np.concatenate(found_ids)) if rooms else []
    title = (f"left: ground truth   right: found, score above {score:.2g}", SHEET_GROUND)
    return save_sheet(path, tiles, min(2, max(len(tiles), 1)), [title, *entries])


def _tile(room: ShownRoom, boxes: NDArray[np.float64], class_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    cv2 = opencv()
    picture = np.full((_SIDE, _SIDE, 3), SHEET_GROUND, np.uint8)
    points = room.points[:: max(1, len(room.points) // _SHOWN)].astype(np.float64)
    low, high = np.percentile(points[:, :2], (0.5, 99.5), axis=0)
    scale = _SIDE * (1 - 2 * _EDGE) / max(float((high - low).max()), 1e-3)
    middle = (low + high) / 2

    def pixels(places: NDArray[np.float64]) -> NDArray[np.int64]:
        moved = (places[:, :2] - middle) * scale * (1, -1) + _SIDE / 2
        found: NDArray[np.int64] = np.clip(moved.round(), -_SIDE, 2 * _SIDE).astype(np.int64)
        return found

    floor, ceiling = np.percentile(points[:, 2], (2, 98))
    bright = np.clip((points[:, 2] - floor) / max(float(ceiling - floor), 1e-3), 0, 1)
    order = np.argsort(bright, kind="stable")
    at = pixels(points)[order]
    inside = ((at >= 0) & (at < _SIDE)).all(axis=1)
    picture[at[inside, 1], at[inside, 0]] = (70 + 150 * bright[order][inside, None]).astype(np.uint8)
    for box, class_id in zip(boxes, class_ids.tolist(), strict=True):
        corners = corners_of_boxes(box)
        around = pixels(corners[corners[:, 2] <= box[2]])
        hull = cv2.convexHull(around.astype(np.int32))
        cv2.polylines(picture, [hull], True, color_for(class_id), 2, cv2.LINE_AA)
        ahead = box[:2] + box[3] / 2 * np.array([np.cos(box[6]), np.sin(box[6])])
        start, stop = (tuple(point.tolist()) for point in pixels(np.array([box[:2], ahead])))
        cv2.line(picture, start, stop, color_for(class_id), 2, cv2.LINE_AA)
    return picture
