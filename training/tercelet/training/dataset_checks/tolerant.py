"""Parsing a data set past what its parser refuses, whose messages become problems.

The parsers stop at the first wrong line. Here the same functions of theirs see one line, one annotation, one
picture at a time, so that what is left can be checked too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import (
    VISDRONE_CATEGORIES,
    Dataset,
    DatasetFormat,
    DatasetImage,
    VisDroneAnnotation,
    coco_json,
    open_dataset,
    visdrone_txt,
    yolo_txt,
)
from tercelet.evaluation.datasets.data_yaml import DataYaml
from tercelet.evaluation.datasets.dataset import image_with_boxes
from tercelet.evaluation.datasets.opening import detect_format
from tercelet.evaluation.datasets.pictures import picture_size, pictures_below
from tercelet.training.dataset_checks.report import Kind, Problem

# What the parsers say of a class that the data set does not have.
_ABOUT_CLASSES = ("expected a class from", "category: expected", "category_id: expected the id")


def parse_tolerantly(
    path: Path, *, format: DatasetFormat | None, images: str | Path | None, split: str
) -> tuple[Dataset, list[Problem]]:
    """What can be read of a data set, and a problem for each part that cannot.

    Raises InputError where nothing can: a path that is no data set, a file without structure or classes.
    """
    try:
        return open_dataset(path, format=format, images=images, split=split), []
    except InputError as error:
        refusal = error
    chosen = detect_format(path, split=split) if format is None else format
    if chosen == "visdrone":
        data, problems = _visdrone(path)
    elif chosen == "yolo":
        data, problems = _yolo(path, split)
    else:
        data, problems = _coco(path, images)
    if not problems:
        raise refusal
    return data, problems


def _visdrone(folder: Path) -> tuple[Dataset, list[Problem]]:
    problems: list[Problem] = []
    images: list[DatasetImage] = []
    for number, picture in enumerate(pictures_below(folder / "images")):
        file = folder / "annotations" / f"{picture.stem}.txt"
        if not file.is_file():
            text = f"{file}: expected the annotation of {picture.name} there, got nothing"
            problems.append(Problem("missing annotation", str(file), text))
            continue
        rows: list[list[int]] = []
        for line, where in _lines(file, problems):
            try:
                rows.append(visdrone_txt.annotation_row(line, where))
            except InputError as error:
                problems.append(_problem(where, error))
        try:
            images.append(visdrone_txt.annotated_image(number, picture, _visdrone_annotation(rows)))
        except InputError as error:
            problems.append(Problem("unreadable picture", str(picture), str(error)))
    return Dataset(folder, "visdrone", "visdrone", VISDRONE_CATEGORIES, tuple(images)), problems


def _visdrone_annotation(rows: Sequence[Sequence[int]]) -> VisDroneAnnotation:
    table = np.array(rows, np.int64).reshape(-1, 8)
    boxes = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1).astype(np.float64)
    return VisDroneAnnotation(boxes, table[:, 4], table[:, 5], table[:, 6], table[:, 7])


def _yolo(path: Path, split: str) -> tuple[Dataset, list[Problem]]:
    problems: list[Problem] = []
    folder = path if path.is_dir() else path.parent
    description = yolo_txt.description_at(path)
    listed = _listed_pictures(folder, description, split, problems)
    pictures, notes = (listed, ()) if listed else yolo_txt.pictures_of_split(folder, description, split)
    categories = yolo_txt.category_names(folder, description, None)
    images: list[DatasetImage] = []
    for number, picture in enumerate(pictures):
        rows: list[list[float]] = []
        file = yolo_txt.label_path(picture)
        for line, where in _lines(file, problems) if file.is_file() else ():
            try:
                rows.append(yolo_txt.label_row(line, categories, where))
            except InputError as error:
                problems.append(_problem(where, error))
        try:
            images.append(_yolo_image(number, picture, rows))
        except InputError as error:
            problems.append(Problem("unreadable picture", str(picture), str(error)))
    return Dataset(path, "yolo", "coco", categories, tuple(images), notes), problems


def _listed_pictures(
    folder: Path, description: DataYaml | None, split: str, problems: list[Problem]
) -> list[Path]:
    """Those pictures of a split's text file that are there; nothing where it is no text file."""
    stated = description.splits.get(split) if description else None
    if description is None or stated is None or not stated.endswith(".txt"):
        return []
    places = [p for p in yolo_txt.places_of_split(folder, description.path or ".", stated) if p.is_file()]
    found: list[Path] = []
    for line, where in _lines(places[0], problems) if places else ():
        picture = places[0].parent / line.strip()
        if picture.is_file():
            found.append(picture)
        else:
            text = f"{where}: expected a picture {picture}, got nothing there"
            problems.append(Problem("missing picture", where, text))
    return found


def _yolo_image(number: int, picture: Path, rows: Sequence[Sequence[float]]) -> DatasetImage:
    table = np.array(rows, np.float64).reshape(-1, 5)
    size = picture_size(picture)
    boxes = np.concatenate((table[:, 1:3] - table[:, 3:5] / 2, table[:, 1:3] + table[:, 3:5] / 2), axis=1)
    return image_with_boxes(
        number, picture, size, boxes=boxes * (*size, *size), class_ids=table[:, 0].astype(np.int64)
    )


def _coco(path: Path, folder: str | Path | None) -> tuple[Dataset, list[Problem]]:
    data = coco_json.load_coco(path)
    categories = coco_json.category_table(data, path)
    records = coco_json.image_records(data, path)
    known = {record["id"] for record in records}
    problems: list[Problem] = []
    grouped: dict[int, list[tuple[list[float], int, bool, float]]] = defaultdict(list)
    for index, item in enumerate(data["annotations"]):
        try:
            for image, parsed in coco_json.annotations_by_image(
                {"annotations": [item]}, path, categories, known
            ).items():
                grouped[image] += parsed
        except InputError as error:
            text = str(error).replace("annotations[0]", f"annotations[{index}]", 1)
            problems.append(_problem(f"{path}: annotations[{index}]", InputError(text)))
    images = [_coco_image(path, record, folder, grouped, problems) for record in records]
    names = tuple(name for name, _ in categories.values())
    kept = tuple(image for image in images if image is not None)
    return Dataset(path, "coco", "coco", names, kept), problems


def _coco_image(
    path: Path,
    record: dict[str, Any],
    folder: str | Path | None,
    grouped: dict[int, list[tuple[list[float], int, bool, float]]],
    problems: list[Problem],
) -> DatasetImage | None:
    try:
        picture = coco_json.picture_folder(path, [record], folder) / record["file_name"]
    except InputError as error:
        problems.append(Problem("missing picture", record["file_name"], str(error)))
        return None
    try:
        return coco_json.recorded_image(record, picture, grouped[record["id"]])
    except InputError as error:
        problems.append(Problem("unreadable picture", str(picture), str(error)))
        return None


def _lines(file: Path, problems: list[Problem]) -> list[tuple[str, str]]:
    """The lines of a file that hold something, each with its place."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        text = f"{file}: expected annotations as text, got something unreadable: {error}"
        problems.append(Problem("wrong annotation", str(file), text))
        return []
    return [(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _problem(where: str, error: InputError) -> Problem:
    about_class = any(sign in str(error) for sign in _ABOUT_CLASSES)
    kind: Kind = "unknown class" if about_class else "wrong annotation"
    return Problem(kind, where, str(error))
