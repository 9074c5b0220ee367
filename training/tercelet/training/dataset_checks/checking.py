"""The check of a data set, from its files to a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import clip_boxes
from tercelet.evaluation.datasets import Dataset, DatasetFormat, DatasetImage
from tercelet.training.dataset_checks.pictures import picture_problems, same_pictures
from tercelet.training.dataset_checks.report import DatasetReport, Problem
from tercelet.training.dataset_checks.tolerant import parse_tolerantly

_SMALL, _LARGE = 32**2, 96**2
# Written with a few decimals, boxes that end at the border come out a little beyond it.
_BORDER_TOLERANCE_PX = 0.5
# Boxes are the same where they agree to a tenth of a pixel.
_DECIMALS = 1
_THREADS = 2


def check_dataset(
    dataset: Dataset | str | Path,
    *,
    format: DatasetFormat | None = None,
    images: str | Path | None = None,
    split: str = "train",
    against: Dataset | None = None,
    decode: bool = False,
    workers: int = _THREADS,
    strict: bool = False,
) -> DatasetReport:
    """Look for what is wrong with a data set; which kinds are errors and which warnings: `KINDS`.

    dataset: parsed, or its path, with format, images and split as for `open_dataset`; of a path every wrong
    line is found, not only the first. against: the validation set, whose pictures should be others. decode:
    decode every picture whole, else those only that end as if cut short. workers: threads for it. strict: any
    problem raises CheckFailedError. InputError where the path is no data set at all.
    """
    if workers < 1:
        raise InputError(f"workers: expected at least 1 thread, got {workers}")
    problems: list[Problem] = []
    if isinstance(dataset, Dataset):
        data = dataset
    else:
        data, problems = parse_tolerantly(Path(dataset), format=format, images=images, split=split)
    pictures = picture_problems(data.images, decode=decode, workers=workers)
    problems += [problem for problem in pictures if problem is not None]
    for image in data.images:
        problems += _box_problems(image, len(data.categories))
    problems += same_pictures(data.images, () if against is None else against.images)
    report = _report(data, tuple(problems), decoded=decode)
    if strict:
        report.raise_problems(strict=True)
    return report


def _box_problems(image: DatasetImage, classes: int) -> Iterator[Problem]:
    where = str(image.path)
    unknown = (image.class_ids < 0) | (image.class_ids >= classes)
    if unknown.any():
        text = (
            f"{where}: expected classes from 0 to {classes - 1}, got {image.class_ids[unknown].tolist()[:5]}"
        )
        yield Problem("unknown class", where, text, int(unknown.sum()))
    inside = clip_boxes(image.boxes, height=image.height, width=image.width)
    flat = (image.boxes[:, 2:] <= image.boxes[:, :2]).any(1)
    outside = ~flat & (np.abs(inside - image.boxes) > _BORDER_TOLERANCE_PX).any(1)
    size = f"the frame of {image.width}x{image.height}"
    if flat.any():
        text = f"{where}: expected boxes with an area, got {_listed(image.boxes[flat])}; left out"
        yield Problem("box without area", where, text, int(flat.sum()))
    if outside.any():
        text = (
            f"{where}: expected boxes inside {size}, got {_listed(image.boxes[outside])}; cut at its border"
        )
        yield Problem("box outside", where, text, int(outside.sum()))
    rows = np.column_stack((image.class_ids, image.boxes.round(_DECIMALS)))
    distinct, first = np.unique(rows, axis=0, return_index=True)
    if len(distinct) < len(rows):
        again = np.setdiff1d(np.arange(len(rows)), first)
        text = f"{where}: expected each box once, got again {_listed(image.boxes[again])}"
        yield Problem("duplicate box", where, text, len(again))


def _listed(boxes: NDArray[np.float64]) -> str:
    """The first boxes, xyxy, and how many more."""
    shown = ", ".join("[" + " ".join(f"{value:g}" for value in box.round(1)) + "]" for box in boxes[:3])
    return shown + (f" and {len(boxes) - 3} more" if len(boxes) > 3 else "")


def _report(data: Dataset, problems: tuple[Problem, ...], *, decoded: bool) -> DatasetReport:
    counts = np.zeros(len(data.categories), np.int64)
    areas = [np.zeros(0)]
    without = ignored = 0
    for image in data.images:
        counted = ~image.ignore & (image.class_ids >= 0) & (image.class_ids < len(counts))
        np.add.at(counts, image.class_ids[counted], 1)
        areas.append(image.areas[counted])
        without += not counted.any()
        ignored += int(image.ignore.sum()) + len(image.ignored_regions)
    area = np.concatenate(areas)
    small, large = int((area < _SMALL).sum()), int((area >= _LARGE).sum())
    return DatasetReport(
        source=str(data.source),
        format=data.format,
        frames=len(data.images),
        frames_without_objects=without,
        objects=tuple(zip(data.categories, counts.tolist(), strict=True)),
        sizes=(("small", small), ("medium", len(area) - small - large), ("large", large)),
        ignored=ignored,
        decoded=decoded,
        problems=problems,
        notes=data.notes,
    )
