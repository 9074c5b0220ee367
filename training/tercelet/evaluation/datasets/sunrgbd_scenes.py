"""What every parser of SUN RGB-D returns: scenes with boxes in one convention, that of `contract.box3d`.

The same box is written in three ways: label files have half sizes w, l, h and a direction (ox, oy); VoteNet's
files half sizes l, w, h and a heading, clockwise from above; mmdetection3d's infos full sizes l, w, h and a
yaw, which was VoteNet's heading before version 1.0 and is counter-clockwise since.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import SUNRGBD_CLASSES, yaw_from_heading
from tercelet.contract.errors import InputError
from tercelet.runtime.clouds import Cloud, read_cloud

SunRgbdFormat = Literal["votenet", "infos", "trainval"]


@dataclass(frozen=True, eq=False)
class RoomScene:
    """One frame. id: unique in the data set. boxes: (K, 7) float64 as in `contract.box3d`. class_ids: (K,)
    int64 into the categories. boxes_2d: (K, 4) float64 xyxy in pixels of the image. depth2img: (3, 3) float64
    to the image's pixels, counted from 1. votes: VoteNet's file of votes. What is None, the source has not;
    cloud, image and votes are None too where the named file is not there."""

    id: str
    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    boxes_2d: NDArray[np.float64] | None = None
    depth2img: NDArray[np.float64] | None = None
    cloud: Path | None = None
    image: Path | None = None
    votes: Path | None = None

    def read_cloud(self) -> Cloud:
        """The upright cloud, its points six columns wide in a .bin; InputError where there is none."""
        if self.cloud is None:
            raise InputError(f"scene {self.id}: expected its cloud, the data set has none for it")
        return read_cloud(self.cloud, columns=6 if self.cloud.suffix.lower() == ".bin" else None)


@dataclass(frozen=True)
class RoomDataset:
    """source: what the user named. notes: what a reader of the results should know, one sentence each."""

    source: Path
    format: SunRgbdFormat
    scenes: tuple[RoomScene, ...]
    categories: tuple[str, ...] = SUNRGBD_CLASSES
    notes: tuple[str, ...] = ()


def boxes_from_label(
    centres: NDArray[np.float64], half_wlh: NDArray[np.float64], directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Label files' centres (K, 3), half sizes w, l, h (K, 3) and directions ox, oy (K, 2) -> (K, 7)."""
    yaw = np.arctan2(directions[:, 1], directions[:, 0])
    return np.concatenate((centres, 2 * half_wlh[:, [1, 0, 2]], yaw[:, None]), axis=1)


def boxes_from_votenet(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """VoteNet's centre, half l, w, h and heading (K, 7 or more) -> (K, 7)."""
    wide = rows.astype(np.float64)
    return np.concatenate((wide[:, :3], 2 * wide[:, 3:6], yaw_from_heading(wide[:, 6:7])), axis=1)


def checked_boxes(boxes: NDArray[np.float64], *, where: str) -> NDArray[np.float64]:
    """The boxes, if all numbers are finite and all sizes above 0; InputError otherwise."""
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 3:6] > 0).all(axis=1))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{where}: box {row}: expected finite numbers and sizes above 0, got {boxes[row].tolist()}"
        )
    return boxes


def first_file(*candidates: Path) -> Path | None:
    """The first of these that is a file."""
    return next((path for path in candidates if path.is_file()), None)
