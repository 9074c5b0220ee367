"""From what the user named to the frames of a training and of its validation, in the detector's classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.class_mapping import ClassMap, map_classes
from tercelet.evaluation.datasets import Dataset, DatasetFormat, open_dataset

# Without data to validate on, every eighth frame is held back.
_HELD_BACK = 8


@dataclass(frozen=True)
class TrainingData:
    """training, validation: data sets, joined. labels: of the detector. mappings, validation_mapping: for
    each data set the class of each of its categories, -1 for those that are not learned. class_map: the one
    that was given, None for none."""

    training: tuple[Dataset, ...]
    validation: Dataset
    labels: tuple[str, ...]
    mappings: tuple[NDArray[np.int64], ...]
    validation_mapping: NDArray[np.int64]
    class_map: ClassMap | None = None

    @property
    def frames(self) -> int:
        """How many frames are trained on."""
        return sum(len(dataset.images) for dataset in self.training)

    def objects(self) -> dict[str, int]:
        """How many boxes of each label are trained on."""
        counts = np.zeros(len(self.labels), np.int64)
        for dataset, mapping in zip(self.training, self.mappings, strict=True):
            for image in dataset.images:
                classes = mapping[image.class_ids[~image.ignore]]
                counts += np.bincount(classes[classes >= 0], minlength=len(counts))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    def identity(self) -> str:
        """Hex sha256 over names, sizes, boxes and classes of all frames: which data it was."""
        digest = hashlib.sha256("\0".join(self.labels).encode())
        pairs = zip((*self.training, self.validation), (*self.mappings, self.validation_mapping), strict=True)
        for dataset, mapping in pairs:
            for image in dataset.images:
                digest.update(f"\0{image.path.name}\0{image.width}x{image.height}\0".encode())
                for part in (image.boxes, image.ignored_regions):
                    digest.update(part.astype("<f8").tobytes())
                digest.update(mapping[image.class_ids].astype("<i8").tobytes() + image.ignore.tobytes())
        return digest.hexdigest()


def open_training_data(
    data: str | Path | Sequence[str | Path],
    *,
    val: str | Path | None = None,
    format: DatasetFormat | None = None,
    images: str | Path | None = None,
    split: str = "train",
    class_map: str | Path | ClassMap | None = None,
) -> TrainingData:
    """Parse everything and settle the classes.

    data: one data set or several that are joined; val: what to validate on, None for the split `val` of a
    YOLO data set that has one, otherwise for every eighth frame of the (first) data set. class_map: label to
    category or categories; its labels become the detector's, in that order, and categories that it does not
    mention are ignored; None learns the categories of the first data set.
    Raises InputError: nothing there, categories of joined data sets that differ, a wrong class map.
    """
    if isinstance(class_map, (str, Path)):
        class_map = read_class_map(class_map)
    places = [data] if isinstance(data, (str, Path)) else list(data)
    if not places:
        raise InputError("data: expected at least one data set, got none")
    opened = [open_dataset(place, format=format, images=images, split=split) for place in places]
    labels = _labels(opened[0], class_map)
    first, validation = _split(opened[0], val, format=format, split=split)
    training = (first, *opened[1:])
    return TrainingData(
        training=training,
        validation=validation,
        labels=labels,
        mappings=tuple(_mapping(dataset, labels, class_map) for dataset in training),
        validation_mapping=_mapping(validation, labels, class_map),
        class_map=class_map,
    )


def read_class_map(path: str | Path) -> ClassMap:
    """The class map in a JSON file; InputError where there is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a JSON object of label to category or categories: {error}"
        ) from error
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"{path}: expected a JSON object of label to category or categories, got {found!r:.40}"
        )
    return found


def _labels(dataset: Dataset, class_map: ClassMap | None) -> tuple[str, ...]:
    if class_map is None:
        return dataset.categories
    return tuple(class_map)


def _mapping(dataset: Dataset, labels: tuple[str, ...], class_map: ClassMap | None) -> NDArray[np.int64]:
    if class_map is None and dataset.categories != labels:
        raise InputError(
            f"{dataset.source}: expected the categories of the first data set ({', '.join(labels[:12])}), "
            f"got {', '.join(dataset.categories[:12])}; say which belong together with --class-map FILE"
        )
    found = map_classes(labels, dataset.categories, class_map)
    # One evaluated class may stand for several labels there; here every label has categories of its own.
    label_of_class = [labels.index(item.labels[0]) for item in found.classes]
    if len(label_of_class) != len(labels) and class_map is not None:
        raise InputError("class map: expected categories of its own for each label, got some in two labels")
    return np.array([label_of_class[i] if i >= 0 else -1 for i in found.of_category], np.int64)


def _split(
    dataset: Dataset, val: str | Path | None, *, format: DatasetFormat | None, split: str
) -> tuple[Dataset, Dataset]:
    """What to train on of a data set, and what to validate on."""
    if val is not None:
        return dataset, open_dataset(val, format=format, labels=dataset.categories)
    if dataset.format == "yolo" and split != "val":
        try:
            return dataset, open_dataset(
                dataset.source, format="yolo", split="val", labels=dataset.categories
            )
        except InputError:
            pass  # no such split: frames are held back
    count = len(dataset.images)
    if count < 2:
        raise InputError(
            f"{dataset.source}: expected at least 2 frames, one of them to validate on, got {count}; "
            "name data to validate on with val"
        )
    held = set(range(count)[_HELD_BACK - 1 :: _HELD_BACK]) or {count - 1}
    kept = tuple(image for index, image in enumerate(dataset.images) if index not in held)
    back = tuple(dataset.images[index] for index in sorted(held))
    return replace(dataset, images=kept), replace(dataset, images=back)
