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
from tercelet.evaluation.datasets.opening import detect_format
from tercelet.evaluation.datasets.yolo_txt import has_split

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
        return hashlib.sha256((self.training_sha256() + self.validation_sha256()).encode()).hexdigest()

    def training_sha256(self) -> str:
        """That of what is trained on alone."""
        return _sha256(self.labels, self.training, self.mappings)

    def validation_sha256(self) -> str:
        """That of what is validated on alone."""
        return _sha256(self.labels, (self.validation,), (self.validation_mapping,))


@dataclass(frozen=True)
class DataPlaces:
    """What the user named; see `open_training_data`."""

    data: str | Path | Sequence[str | Path]
    val: str | Path | None = None
    format: DatasetFormat | None = None
    images: str | Path | None = None
    split: str = "train"
    class_map: str | Path | ClassMap | None = None

    def listed(self) -> list[Path]:
        """The data sets to train on."""
        return [Path(self.data)] if isinstance(self.data, (str, Path)) else [Path(p) for p in self.data]


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
    images: of COCO data sets, that for validation included where its pictures are not found without.
    Raises InputError: nothing there, no object to learn or to validate on, several data sets without val,
    categories of joined data sets that differ, a wrong class map.
    """
    if isinstance(class_map, (str, Path)):
        class_map = read_class_map(class_map)
    places = [data] if isinstance(data, (str, Path)) else list(data)
    if not places:
        raise InputError("data: expected at least one data set, got none")
    if len(places) > 1 and val is None:
        raise InputError(
            f"data: expected val with {len(places)} data sets, got none; frames held back from one would "
            "come back as crops in another: name data to validate on with --val"
        )
    opened = [_open(place, format=format, images=images, split=split) for place in places]
    labels = _labels(opened[0], class_map)
    first, validation = _split(opened[0], val, format=format, images=images, split=split)
    training = (first, *opened[1:])
    _check_class_map(class_map, (*training, validation))
    found = TrainingData(
        training=training,
        validation=validation,
        labels=labels,
        mappings=tuple(_mapping(dataset, labels, class_map) for dataset in training),
        validation_mapping=_mapping(validation, labels, class_map),
        class_map=None if class_map is None else dict(class_map),
    )
    _check_objects(found)
    return found


def _open(
    place: str | Path, *, format: DatasetFormat | None, images: str | Path | None, split: str
) -> Dataset:
    """One data set of several, which may be of other formats than COCO."""
    kind = format or detect_format(Path(place), split=split)
    return open_dataset(place, format=kind, images=images if kind == "coco" else None, split=split)


def _sha256(
    labels: tuple[str, ...], datasets: Sequence[Dataset], mappings: Sequence[NDArray[np.int64]]
) -> str:
    digest = hashlib.sha256("\0".join(labels).encode())
    for dataset, mapping in zip(datasets, mappings, strict=True):
        for image in dataset.images:
            digest.update(f"\0{image.path.name}\0{image.width}x{image.height}\0".encode())
            for part in (image.boxes, image.ignored_regions):
                digest.update(part.astype("<f8").tobytes())
            digest.update(mapping[image.class_ids].astype("<i8").tobytes() + image.ignore.tobytes())
    return digest.hexdigest()


def _check_objects(data: TrainingData) -> None:
    counted = (
        (data.training, data.mappings, "train"),
        ((data.validation,), (data.validation_mapping,), "validate"),
    )
    for datasets, mappings, purpose in counted:
        total = sum(
            int(np.count_nonzero(mapping[image.class_ids[~image.ignore]] >= 0))
            for dataset, mapping in zip(datasets, mappings, strict=True)
            for image in dataset.images
        )
        if not total:
            names = ", ".join(str(dataset.source) for dataset in datasets)
            raise InputError(
                f"{names}: expected at least one object of {', '.join(data.labels[:12])} to {purpose} on, "
                "got none; look at the class map and at the labels"
            )


def _check_class_map(class_map: ClassMap | None, datasets: Sequence[Dataset]) -> None:
    """InputError for a category that none of the data sets has."""
    known = dict.fromkeys(name for dataset in datasets for name in dataset.categories)
    for label, value in (class_map or {}).items():
        for name in (value,) if isinstance(value, str) else value:
            if name not in known:
                raise InputError(
                    f"class map: {label}: expected categories of the data set ({', '.join([*known][:12])}), "
                    f"got {name!r}"
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
    own = None if class_map is None else _restricted(class_map, dataset.categories)
    if own is not None and not own:
        return np.full(len(dataset.categories), -1, np.int64)
    found = map_classes(labels, dataset.categories, own)
    # One evaluated class may stand for several labels there; here every label has categories of its own.
    label_of_class = [labels.index(item.labels[0]) for item in found.classes]
    if own is not None and len(label_of_class) != len(own):
        raise InputError("class map: expected categories of its own for each label, got some in two labels")
    return np.array([label_of_class[i] if i >= 0 else -1 for i in found.of_category], np.int64)


def _restricted(class_map: ClassMap, categories: Sequence[str]) -> dict[str, list[str]]:
    """The class map without the categories that a data set does not have."""
    listed = {label: [value] if isinstance(value, str) else [*value] for label, value in class_map.items()}
    kept = {label: [name for name in names if name in categories] for label, names in listed.items()}
    return {label: names for label, names in kept.items() if names}


def _split(
    dataset: Dataset,
    val: str | Path | None,
    *,
    format: DatasetFormat | None,
    images: str | Path | None,
    split: str,
) -> tuple[Dataset, Dataset]:
    """What to train on of a data set, and what to validate on."""
    if val is not None:
        return dataset, _validation(val, dataset.categories, format=format, images=images)
    if dataset.format == "yolo" and split != "val" and has_split(dataset.source, "val"):
        return dataset, open_dataset(dataset.source, format="yolo", split="val", labels=dataset.categories)
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


def _validation(
    val: str | Path, labels: tuple[str, ...], *, format: DatasetFormat | None, images: str | Path | None
) -> Dataset:
    try:
        return open_dataset(val, format=format, labels=labels)
    except InputError:
        if images is None or (format or detect_format(Path(val))) != "coco":
            raise
        return open_dataset(val, format="coco", images=images)
