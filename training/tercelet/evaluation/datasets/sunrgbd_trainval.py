"""SUN RGB-D as its MATLAB extraction leaves it: a folder of image, depth, calib and label or label_v1."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.sunrgbd_scenes import (
    RoomDataset,
    RoomScene,
    boxes_from_label,
    checked_boxes,
    first_file,
)
from tercelet.runtime.clouds import read_calib_txt

LabelVersion = Literal["v1", "v2"]
_FOLDERS = {"v1": ("label_v1",), "v2": ("label_v2", "label")}


def trainval_dataset(
    path: str | Path, *, labels: LabelVersion = "v1", split: str | None = None, limit: int | None = None
) -> RoomDataset:
    """Parse a folder like sunrgbd_trainval.

    labels: v1 (what papers report on) or v2. split: "train" or "val", whose numbers stand in
    SPLIT_data_idx.txt; all scenes without it. limit: only the first so many. Objects of other than the ten
    classes are left out. Raises InputError for what is missing or no label.
    """
    path = Path(path)
    folder = next((path / name for name in _FOLDERS[labels] if (path / name).is_dir()), None)
    if folder is None:
        raise InputError(f"{path}: expected a folder {' or '.join(_FOLDERS[labels])} with labels, got none")
    numbers = sorted(file.stem for file in folder.glob("*.txt")) if split is None else _split(path, split)
    if not numbers:
        raise InputError(f"{folder}: expected labels named NUMBER.txt, got none")
    scenes, left_out = [], 0
    for number in numbers[:limit]:
        boxes, class_ids, boxes_2d, others = read_sunrgbd_label(folder / f"{number}.txt")
        left_out += others
        scenes.append(
            RoomScene(
                id=number,
                boxes=boxes,
                class_ids=class_ids,
                boxes_2d=boxes_2d,
                depth2img=read_calib_txt(path / "calib" / f"{number}.txt").depth2img(),
                cloud=first_file(path / "depth" / f"{number}.mat"),
                image=first_file(path / "image" / f"{number}.jpg"),
            )
        )
    notes = (f"{left_out} objects of other classes are left out",) if left_out else ()
    return RoomDataset(source=path, format="trainval", scenes=tuple(scenes), notes=notes)


def read_sunrgbd_label(
    path: Path,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], int]:
    """Boxes (K, 7), class ids (K,) and 2D boxes (K, 4) xyxy of the ten classes; how many others there are."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a label file: {error}") from error
    rows, class_ids, others = [], [], 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if words[0] not in SUNRGBD_CLASSES:
            others += 1
            continue
        try:
            values = [float(word) for word in words[1:]]
        except ValueError as error:
            raise InputError(f"{path}:{number}: expected numbers after the class: {error}") from error
        if len(values) != 12:
            raise InputError(
                f"{path}:{number}: expected class, x y w h, centre, w l h, ox oy (13 words), got {len(words)}"
            )
        rows.append(values)
        class_ids.append(SUNRGBD_CLASSES.index(words[0]))
    table = np.array(rows, np.float64).reshape(-1, 12)
    boxes = boxes_from_label(table[:, 4:7], table[:, 7:10], table[:, 10:12])
    boxes_2d = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1)
    return checked_boxes(boxes, where=str(path)), np.array(class_ids, np.int64), boxes_2d, others


def _split(path: Path, split: str) -> list[str]:
    file = path / f"{split}_data_idx.txt"
    try:
        numbers = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: expected the numbers of the split {split!r}: {error}") from error
    if not all(number.isdigit() for number in numbers):
        raise InputError(f"{file}: expected whole numbers, one a line")
    return [f"{int(number):06d}" for number in numbers]
