"""SUN RGB-D as VoteNet prepares it: a folder of NUMBER_pc.npz, NUMBER_bbox.npy and NUMBER_votes.npz."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.sunrgbd_scenes import (
    RoomDataset,
    RoomScene,
    boxes_from_votenet,
    checked_boxes,
    first_file,
)

_CLOUD, _BOXES, _VOTES = "_pc.npz", "_bbox.npy", "_votes.npz"


def votenet_dataset(path: str | Path, *, limit: int | None = None) -> RoomDataset:
    """Parse a folder like sunrgbd_pc_bbox_votes_50k_v1_val; limit: only the first so many scenes.

    Raises InputError for a folder without clouds, a cloud without boxes, and boxes that are none.
    """
    path = Path(path)
    clouds = sorted(path.glob(f"*{_CLOUD}"))[:limit]
    if not clouds:
        raise InputError(f"{path}: expected clouds named NUMBER{_CLOUD}, got none")
    scenes = []
    for cloud in clouds:
        number = cloud.name[: -len(_CLOUD)]
        boxes, class_ids = read_votenet_boxes(path / f"{number}{_BOXES}")
        votes = first_file(path / f"{number}{_VOTES}")
        scenes.append(RoomScene(id=number, boxes=boxes, class_ids=class_ids, cloud=cloud, votes=votes))
    return RoomDataset(source=path, format="votenet", scenes=tuple(scenes))


def read_votenet_boxes(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(K, 7) boxes and (K,) class ids of a file of (K, 8): centre, half sizes, heading, class."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected boxes as .npy (K, 8): {error}") from error
    if (
        not isinstance(rows, np.ndarray)
        or rows.ndim != 2
        or rows.shape[1] != 8
        or rows.dtype.kind not in "fiu"
    ):
        raise InputError(f"{path}: expected boxes (K, 8): centre, half sizes, heading, class")
    classes = rows[:, 7]
    if not np.isin(classes, np.arange(len(SUNRGBD_CLASSES))).all():
        raise InputError(f"{path}: expected classes 0 to {len(SUNRGBD_CLASSES) - 1}, got {classes.tolist()}")
    return checked_boxes(boxes_from_votenet(rows), where=str(path)), classes.astype(np.int64)


def read_votes(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """VoteNet's votes of N points: (N,) whether a point lies in a box, and (N, 3, 3) its three offsets to the
    centres of the boxes that it lies in, metres, upright frame."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rows = arrays["point_votes"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected an array 'point_votes': {error}") from error
    if rows.ndim != 2 or rows.shape[1] != 10:
        raise InputError(f"{path}: expected point_votes (N, 10): mask and three votes, got {rows.shape}")
    return rows[:, 0] != 0, rows[:, 1:].reshape(-1, 3, 3).astype(np.float32)
