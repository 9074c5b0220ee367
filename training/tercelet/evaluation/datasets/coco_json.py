"""COCO JSON: images, annotations and categories in one file; the pictures lie beside it or elsewhere."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.dataset import Dataset, DatasetImage, image_with_boxes
from tercelet.evaluation.datasets.pictures import picture_size
from tercelet.runtime.given_path import given_path


def coco_dataset(path: str | Path, *, images: str | Path | None = None, limit: int | None = None) -> Dataset:
    """Parse a COCO file of boxes.

    images: the folder that the file names start from; without it, the file's folder, its images folder and
    the same two one level up are tried, and the folder named like the split in instances_SPLIT.json.
    category ids are mapped to 0.. in the file's order; iscrowd becomes `ignore`; `area` decides the size as
    COCO's own evaluator has it, the box's area where it is missing. limit: only the first so many frames.
    Raises InputError with the path of the field that is wrong.
    """
    path = Path(path)
    data = load_coco(path)
    categories = category_table(data, path)
    records = image_records(data, path)
    grouped = annotations_by_image(data, path, categories, {record["id"] for record in records})
    records = records[:limit]
    folder = picture_folder(path, records, images)
    parsed = [
        recorded_image(record, folder / record["file_name"], grouped[record["id"]]) for record in records
    ]
    oversized = sum(int(np.count_nonzero(i.areas > _box_areas(i) * (1 + 1e-6) + 1e-6)) for i in parsed)
    notes = []
    if oversized:
        notes.append(f"{oversized} annotations state an area larger than their box; sizes follow the file")
    return Dataset(
        source=path,
        format="coco",
        protocol="coco",
        categories=tuple(name for name, _ in categories.values()),
        images=tuple(parsed),
        notes=tuple(notes),
    )


def load_coco(path: Path) -> dict[str, Any]:
    """The object in the file with its three lists; InputError for anything else."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a COCO JSON file, got nothing there") from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no text, no JSON, endless digits
        raise InputError(f"{path}: expected a COCO JSON file: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise InputError(
                f"{path}: expected a COCO file with images, annotations and categories; {key} is no list"
            )
        for index, item in enumerate(data[key]):
            if not isinstance(item, dict):
                raise InputError(f"{path}: {key}[{index}]: expected an object, got {item!r:.40}")
    if not data["images"]:
        raise InputError(f"{path}: images: expected at least one, got an empty list")
    return data


def category_table(data: dict[str, Any], path: Path) -> dict[int, tuple[str, int]]:
    """COCO id -> (name, index)."""
    found: dict[int, tuple[str, int]] = {}
    for index, item in enumerate(data["categories"]):
        where = f"{path}: categories[{index}]"
        identity = _integer(item, "id", where)
        name = _text(item, "name", where)
        if identity in found or name in [known for known, _ in found.values()]:
            raise InputError(f"{where}: expected an id and a name of its own, got {identity} {name!r} again")
        found[identity] = (name, index)
    if not found:
        raise InputError(f"{path}: categories: expected at least one, got an empty list")
    return found


def image_records(data: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The entries of `images`, checked; InputError with the path of the field."""
    seen: set[int] = set()
    for index, item in enumerate(data["images"]):
        where = f"{path}: images[{index}]"
        identity = _integer(item, "id", where)
        if identity in seen:
            raise InputError(f"{where}.id: expected one of its own, got {identity} again")
        seen.add(identity)
        _text(item, "file_name", where)
        for side in ("width", "height"):
            if side in item and _integer(item, side, where) < 1:
                raise InputError(f"{where}.{side}: expected at least 1, got {item[side]}")
    return list(data["images"])


def annotations_by_image(
    data: dict[str, Any], path: Path, categories: dict[int, tuple[str, int]], images: set[int]
) -> dict[int, list[tuple[list[float], int, bool, float]]]:
    """image id -> (xyxy, category index, crowd, area) of each annotation."""
    grouped: dict[int, list[tuple[list[float], int, bool, float]]] = defaultdict(list)
    for index, item in enumerate(data["annotations"]):
        where = f"{path}: annotations[{index}]"
        image, category = _integer(item, "image_id", where), _integer(item, "category_id", where)
        if image not in images:
            raise InputError(f"{where}.image_id: expected the id of an image of the file, got {image}")
        if category not in categories:
            raise InputError(
                f"{where}.category_id: expected the id of a category of the file, got {category}"
            )
        left, top, width, height = _box(item, where)
        box = [left, top, left + width, top + height]
        if not all(_finite(value) for value in box):
            raise InputError(f"{where}.bbox: expected a box of finite size, got {item['bbox']!r:.60}")
        if item.get("iscrowd", 0) not in (0, 1):
            raise InputError(f"{where}.iscrowd: expected 0 or 1, got {item['iscrowd']!r}")
        area = item.get("area", width * height)
        if not _finite(area) or area < 0:
            raise InputError(f"{where}.area: expected a number of square pixels, got {area!r:.40}")
        grouped[image].append((box, categories[category][1], bool(item.get("iscrowd", 0)), float(area)))
    return grouped


def recorded_image(
    record: dict[str, Any], picture: Path, annotations: list[tuple[list[float], int, bool, float]]
) -> DatasetImage:
    """The frame of a record; its size is read from the picture where the record has none."""
    known = "width" in record and "height" in record
    return image_with_boxes(
        record["id"],
        picture,
        (record["width"], record["height"]) if known else picture_size(picture),
        boxes=np.array([item[0] for item in annotations], np.float64),
        class_ids=np.array([item[1] for item in annotations], np.int64),
        ignore=np.array([item[2] for item in annotations], bool),
        areas=np.array([item[3] for item in annotations], np.float64),
    )


def picture_folder(path: Path, records: list[dict[str, Any]], images: str | Path | None) -> Path:
    """Where the pictures lie: `images`, or the first place near the file with one; InputError for none."""
    if images is not None:
        places = [given_path(images, name="images")]
        if not places[0].is_dir():
            raise InputError(f"{images}: expected the folder of the pictures, got no folder")
    else:
        near = (path.parent, path.parent.parent)
        split = path.stem.rpartition("_")[2]
        places = [place / below for place in near for below in (".", "images", split, f"images/{split}")]
    names = [record["file_name"] for record in records]
    best = max(places, key=lambda place: sum((place / name).is_file() for name in names))
    for name in names:
        if not (best / name).is_file():
            raise InputError(
                f"{best / name}: expected the picture that {path.name} names, got nothing there; "
                "say with --images where the pictures are"
            )
    return best


def _box_areas(image: DatasetImage) -> np.ndarray[Any, np.dtype[np.float64]]:
    return (image.boxes[:, 2] - image.boxes[:, 0]) * (image.boxes[:, 3] - image.boxes[:, 1])


def _box(item: dict[str, Any], where: str) -> list[float]:
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(value) for value in box):
        raise InputError(f"{where}.bbox: expected [left, top, width, height] in pixels, got {box!r:.60}")
    if box[2] < 0 or box[3] < 0:
        raise InputError(f"{where}.bbox: expected width and height of 0 or more, got {box!r:.60}")
    return [float(value) for value in box]


def _integer(item: dict[str, Any], key: str, where: str) -> int:
    value = item.get(key)
    if type(value) is not int:
        raise InputError(f"{where}.{key}: expected an integer, got {value!r:.40}")
    return value


def _text(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}.{key}: expected a text, got {value!r:.40}")
    return value


def _finite(value: Any) -> bool:
    # An integer may have thousands of digits, which float() refuses; NaN is not below anything.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max
