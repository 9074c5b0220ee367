"""From what the user named to a parsed data set: which format it is, or which one was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.coco_json import coco_dataset
from tercelet.evaluation.datasets.dataset import Dataset
from tercelet.evaluation.datasets.visdrone_txt import visdrone_dataset
from tercelet.evaluation.datasets.yolo_txt import yolo_dataset
from tercelet.runtime.given_path import given_path

DatasetFormat = Literal["coco", "yolo", "visdrone"]
FORMATS: tuple[DatasetFormat, ...] = ("coco", "yolo", "visdrone")


def open_dataset(
    path: str | Path,
    *,
    format: DatasetFormat | None = None,
    images: str | Path | None = None,
    split: str = "val",
    labels: Sequence[str] | None = None,
    limit: int | None = None,
) -> Dataset:
    """Parse a data set. format: None looks at the files.

    images: COCO only, the folder of the pictures. split: YOLO only. labels: YOLO only, the class names if the
    data set has none. limit: only the first so many frames. Raises InputError, also for `images` with a
    format that has no use for it.
    """
    path = given_path(path, name="dataset")
    given_path(split, name="split")
    if format is not None and format not in FORMATS:
        raise InputError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 frame, got {limit}")
    chosen = detect_format(path, split=split) if format is None else format
    if images is not None and chosen != "coco":
        raise InputError(f"images: expected with a COCO file only, got it with {path}, which is {chosen}")
    if chosen == "coco":
        return coco_dataset(path, images=images, limit=limit)
    if chosen == "visdrone":
        return visdrone_dataset(path, limit=limit)
    return yolo_dataset(path, split=split, labels=labels, limit=limit)


def detect_format(path: Path, *, split: str = "val") -> DatasetFormat:
    """Which format the path looks like; InputError that lists what would be recognised."""
    if not path.exists():
        raise InputError(f"{path}: expected a data set, got nothing there; check the path")
    if path.is_file() and path.suffix.lower() == ".json":
        return "coco"
    if path.is_file() and path.suffix.lower() in (".yaml", ".yml"):
        return "yolo"
    if path.is_dir():
        if any((path / name).is_file() for name in ("data.yaml", "data.yml")):
            return "yolo"
        if (path / "labels").is_dir() or (path / split / "labels").is_dir():
            return "yolo"
        if (path / "images").is_dir():
            return "visdrone" if (path / "annotations").is_dir() else "yolo"
    raise InputError(
        f"{path}: expected a COCO .json file, a YOLO folder (images, labels) or its data.yaml, or a VisDrone "
        f"folder (images, annotations); got {'a folder' if path.is_dir() else 'a file'} that is none of them"
    )
