"""YOLO txt: images/ and labels/ side by side, one text file a frame, `class cx cy w h` a line, normalised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import xyxy_from_cxcywh
from tercelet.contract.labels import labels_from_file, numbered_labels
from tercelet.evaluation.datasets.data_yaml import DataYaml, read_data_yaml
from tercelet.evaluation.datasets.dataset import Dataset, DatasetImage, image_with_boxes
from tercelet.evaluation.datasets.pictures import picture_size, pictures_below

# Written with six decimals, a box that ends at the border may come out a little beyond it.
_BORDER_TOLERANCE = 1e-3


def yolo_dataset(
    path: str | Path, *, split: str = "val", labels: Sequence[str] | None = None, limit: int | None = None
) -> Dataset:
    """Parse a YOLO data set: its folder, or its data.yaml.

    Frames of `split` are looked for where the data.yaml says, else in images/SPLIT, SPLIT/images and images.
    What it says is taken from its `path` beside it, then, without leading ../, from its `path` beside it and
    one folder up, then from its own folder; a note tells of any but the first.
    The label file of a frame has `labels` for the last `images` in its path. Category names come from the
    data.yaml, else from classes.txt in the folder, else from `labels` (those of the detector). limit: only
    the first so many frames. A frame without a label file counts as one without objects, and a note says how
    many there are; InputError if none has one, and with file and line where a line is wrong.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    description = description_at(path)
    pictures, notes = pictures_of_split(folder, description, split)
    categories = category_names(folder, description, labels)
    if not any(label_path(picture).is_file() for picture in pictures):
        raise InputError(
            f"{label_path(pictures[0])}: expected the labels of {pictures[0].name} there, got nothing, "
            "nor for any other frame; YOLO data sets have a folder labels beside images"
        )
    images, without = [], 0
    for number, picture in enumerate(pictures[:limit]):
        label_file = label_path(picture)
        without += not label_file.is_file()
        images.append(_image(number, picture, label_file, categories))
    if without:
        notes = (*notes, f"{without} of {len(images)} frames have no label file and count as empty")
    return Dataset(
        source=path, format="yolo", protocol="coco", categories=categories, images=tuple(images), notes=notes
    )


def label_path(picture: Path) -> Path:
    """Where the label file of a picture belongs: the last `images` of its path becomes `labels`."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def has_split(path: Path, split: str) -> bool:
    """Whether a YOLO data set speaks of a split: its data.yaml names it, or a folder does."""
    description = description_at(path)
    folder = path if path.is_dir() else path.parent
    stated = description is not None and bool(description.splits.get(split))
    return stated or (folder / "images" / split).is_dir() or (folder / split / "images").is_dir()


def description_at(path: Path) -> DataYaml | None:
    """The data.yaml at or in a path, None for a folder without one."""
    if path.is_dir():
        found = [path / name for name in ("data.yaml", "data.yml") if (path / name).is_file()]
        return read_data_yaml(found[0]) if found else None
    return read_data_yaml(path)


def pictures_of_split(
    folder: Path, description: DataYaml | None, split: str
) -> tuple[list[Path], tuple[str, ...]]:
    """The pictures of a split, and notes on where they were found."""
    stated = description.splits.get(split) if description else None
    if description and stated:
        places = places_of_split(folder, description.path or ".", stated)
        place = next((place for place in places if place.exists()), None)
        if place is None:
            tried = ", ".join(map(str, places))
            raise InputError(
                f"{folder}: {split} of its data.yaml is {stated}: expected pictures in one of {tried}, "
                "got nothing there"
            )
        note = f"pictures are those of {place}; the data.yaml states {places[0]}, where nothing is"
        return _listed_pictures(place), () if place == places[0] else (note,)
    return _pictures_by_layout(folder, split), ()


def places_of_split(folder: Path, root: str, stated: str) -> list[Path]:
    """Where a split may be, best first.

    Written by hand and by tools: from the folder of the file, from a working folder above it, or with a
    leading ../ that leads out of the data set.
    """
    below = re.sub(r"^(\.\./)+", "", stated)
    roots = (folder / root, folder.resolve().parent / root, folder)
    return list(dict.fromkeys((folder / root / stated, *(place / below for place in roots))))


def _pictures_by_layout(folder: Path, split: str) -> list[Path]:
    for place in (folder / "images" / split, folder / split / "images"):
        if place.is_dir():
            return pictures_below(place)
    images = folder / "images"
    if not images.is_dir():
        raise InputError(
            f"{folder}: expected pictures in images/{split}, {split}/images or images, got no such folder"
        )
    splits = sorted(p.name for p in images.iterdir() if p.is_dir())
    if splits:
        raise InputError(
            f"{images}: expected split {split!r}, got {', '.join(splits)}; choose one with --split"
        )
    return pictures_below(images)


def _listed_pictures(place: Path) -> list[Path]:
    if place.suffix != ".txt":
        return pictures_below(place)
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: expected a list of pictures, one a line: {error}") from error
    pictures = [place.parent / line.strip() for line in lines if line.strip()]
    for number, picture in enumerate(pictures, 1):
        if not picture.is_file():
            raise InputError(f"{place}: picture {number}: expected a file {picture}, got nothing there")
    if not pictures:
        raise InputError(f"{place}: expected a list of pictures, got an empty file")
    return pictures


def category_names(
    folder: Path, description: DataYaml | None, labels: Sequence[str] | None
) -> tuple[str, ...]:
    """The names of the classes: those of data.yaml, of classes.txt, or `labels`; InputError for none."""
    if description and description.names:
        return description.names
    if (folder / "classes.txt").is_file():
        return labels_from_file(folder / "classes.txt")
    if labels:
        return tuple(labels)
    if description and description.classes:
        return numbered_labels(description.classes)
    raise InputError(f"{folder}: expected class names in data.yaml or classes.txt, got neither")


def _image(number: int, picture: Path, label_file: Path, categories: tuple[str, ...]) -> DatasetImage:
    class_ids, normalised = _read_labels(label_file, categories)
    width, height = picture_size(picture)
    boxes: NDArray[np.float64] = xyxy_from_cxcywh(normalised) * (width, height, width, height)
    return image_with_boxes(number, picture, (width, height), boxes=boxes, class_ids=class_ids)


def _read_labels(path: Path, categories: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """class_ids (N,) and cx cy w h (N, 4), normalised; a missing file holds nothing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a YOLO label file, got something unreadable: {error}") from error
    rows = [
        label_row(line, categories, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    table = np.array(rows, np.float64).reshape(-1, 5)
    return table[:, 0].astype(np.int64), table[:, 1:]


def label_row(line: str, categories: tuple[str, ...], where: str) -> list[float]:
    """Class, centre and size of a line, normalised; InputError beginning with `where`."""
    texts = line.split()
    if len(texts) != 5:
        hint = "; polygons are not boxes" if len(texts) > 6 else ""
        raise InputError(f"{where}: expected 5 columns (class cx cy w h), got {len(texts)}{hint}")
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise InputError(f"{where}: expected 5 numbers (class cx cy w h), got {line.strip()!r}") from error
    if not values[0].is_integer() or not 0 <= values[0] < len(categories):
        raise InputError(
            f"{where}: expected a class from 0 to {len(categories) - 1}, got {texts[0]}; "
            "are these labels of another data set than the class names?"
        )
    if not all(0 <= value <= 1 + _BORDER_TOLERANCE for value in values[1:]):
        raise InputError(f"{where}: expected cx cy w h normalised to 0..1, got {' '.join(texts[1:])}")
    return values
