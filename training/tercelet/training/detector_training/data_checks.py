"""Looking at the data before a training spends hours on them, and saying what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import Dataset
from tercelet.evaluation.datasets.opening import detect_format
from tercelet.training.dataset_checks import check_dataset
from tercelet.training.detector_training.data import DataPlaces, TrainingData, open_training_data

Say = Callable[[str], object]


def checked_data(places: DataPlaces, *, strict: bool, say: Say, decode: bool = False) -> TrainingData:
    """The data, opened and checked; a line a data set, and a report of its problems where it has any.

    Where a parser refuses a file, all that is wrong with the data set is said before the error goes on.
    decode: read every picture whole. Raises InputError (see `open_training_data`), CheckFailedError for
    errors in the data, with `strict` for warnings too.
    """
    try:
        data = open_training_data(
            places.data,
            val=places.val,
            format=places.format,
            images=places.images,
            split=places.split,
            class_map=places.class_map,
        )
    except InputError:
        for place in places.listed():
            _say_all(place, places, say)
        raise
    for dataset in data.training:
        _report(dataset, "training", strict=strict, say=say, against=data.validation, decode=decode)
    _report(data.validation, "validation", strict=strict, say=say, decode=decode)
    return data


def _report(
    dataset: Dataset, role: str, *, strict: bool, say: Say, decode: bool, against: Dataset | None = None
) -> None:
    objects = sum(len(image.boxes) for image in dataset.images)
    say(f"{role}: {dataset.source}, {len(dataset.images)} frames, {objects} boxes")
    for note in dataset.notes:
        say(f"  {note}")
    found = check_dataset(dataset, against=against, decode=decode)
    if found.problems:
        say(found.text())
    found.raise_problems(strict=strict)


def _say_all(place: Path, places: DataPlaces, say: Say) -> None:
    """The report of a data set that its parser refuses; nothing where even that cannot be made."""
    try:
        kind = places.format or detect_format(place, split=places.split)
        images = places.images if kind == "coco" else None
        found = check_dataset(place, format=kind, images=images, split=places.split)
    except InputError:
        return
    if found.problems:
        say(found.text())
