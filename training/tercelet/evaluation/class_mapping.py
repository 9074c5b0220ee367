"""Which labels of a detector are judged against which categories of a data set.

By name where the names agree (upper and lower case apart). Otherwise by a class map, a JSON object of
detector label to category or list of categories. Weights trained on COCO are judged on VisDrone with

    {"person": ["pedestrian", "people"], "bicycle": "bicycle", "car": ["car", "van"], "truck": "truck",
     "bus": "bus", "motorcycle": "motor"}

Every entry is one evaluated class: the boxes of all its categories count as one. Labels with the very same
categories are one class together. Whatever is not mentioned is not evaluated, and is reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.given_path import given_path

ClassMap = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class EvaluatedClass:
    """One row of the results: detections of any of `labels` against ground truth of any of `categories`."""

    name: str
    labels: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True)
class ClassMapping:
    """The evaluated classes, and what is left out on either side.

    of_label: (labels,) int64 and of_category: (categories,) int64, index of the evaluated class, -1 for none.
    """

    classes: tuple[EvaluatedClass, ...]
    of_label: NDArray[np.int64]
    of_category: NDArray[np.int64]
    unmatched_labels: tuple[str, ...]
    unmatched_categories: tuple[str, ...]
    by_name: bool


def map_classes(
    labels: Sequence[str], categories: Sequence[str], class_map: str | Path | ClassMap | None = None
) -> ClassMapping:
    """Map labels to categories. class_map: a JSON file, a mapping, or None to go by name.

    Raises InputError if nothing matches, a name of the class map does not exist, or one category is in two
    classes that differ.
    """
    if class_map is None:
        groups = _groups_by_name(labels, categories)
        if not groups:
            raise InputError(
                f"no label of the detector ({_list(labels)}) is a category of the data set "
                f"({_list(categories)}); say which belong together with --class-map FILE, "
                'for example {"person": ["pedestrian", "people"]}'
            )
        return _mapping(groups, labels, categories, by_name=True)
    if isinstance(class_map, Mapping):
        return _mapping(
            _groups(class_map, labels, categories, "class map"), labels, categories, by_name=False
        )
    entries = _read(given_path(class_map, name="class_map"))
    return _mapping(_groups(entries, labels, categories, str(class_map)), labels, categories, by_name=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no text, no JSON, endless digits
        raise InputError(
            f"{path}: expected a JSON object of label to category or categories: {error}"
        ) from error
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: expected a JSON object of label to category or categories, got {data!r:.40}"
        )
    return data


def _groups_by_name(
    labels: Sequence[str], categories: Sequence[str]
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Categories of a class -> its labels."""
    spelled = {category.casefold(): category for category in categories}
    groups: dict[tuple[str, ...], tuple[str, ...]] = {}
    for label in labels:
        category = label if label in categories else spelled.get(label.casefold())
        if category is not None:
            groups[(category,)] = (*groups.get((category,), ()), label)
    return groups


def _groups(
    entries: Mapping[str, Any], labels: Sequence[str], categories: Sequence[str], where: str
) -> dict[tuple[str, ...], tuple[str, ...]]:
    groups: dict[tuple[str, ...], tuple[str, ...]] = {}
    for label, value in entries.items():
        named = (value,) if isinstance(value, str) else value
        if isinstance(named, Mapping) or not isinstance(named, Sequence) or not named:
            raise InputError(
                f"{where}: {label}: expected a category or a list of categories, got {value!r:.40}"
            )
        if label not in labels:
            raise InputError(f"{where}: expected labels of the detector ({_list(labels)}), got {label!r}")
        for name in named:
            if name not in categories:
                raise InputError(
                    f"{where}: {label}: expected categories of the data set ({_list(categories)}), "
                    f"got {name!r}"
                )
        key = tuple(category for category in categories if category in named)
        groups[key] = (*groups.get(key, ()), label)
    used = [category for key in groups for category in key]
    for category in used:
        if used.count(category) > 1:
            raise InputError(
                f"{where}: expected each category in one class, got {category!r} in several that differ; "
                "give their labels the same list to make them one class"
            )
    if not groups:
        raise InputError(f"{where}: expected at least one label, got an empty object")
    return groups


def _mapping(
    groups: Mapping[tuple[str, ...], tuple[str, ...]],
    labels: Sequence[str],
    categories: Sequence[str],
    *,
    by_name: bool,
) -> ClassMapping:
    classes = tuple(
        EvaluatedClass("+".join(dict.fromkeys(named)), named, belonging)
        for belonging, named in groups.items()
    )
    of_label = _indices(labels, [item.labels for item in classes])
    of_category = _indices(categories, [item.categories for item in classes])
    return ClassMapping(
        classes=classes,
        of_label=of_label,
        of_category=of_category,
        unmatched_labels=tuple(name for name, index in zip(labels, of_label, strict=True) if index < 0),
        unmatched_categories=tuple(
            name for name, index in zip(categories, of_category, strict=True) if index < 0
        ),
        by_name=by_name,
    )


def _indices(names: Sequence[str], members: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    found = {name: index for index, group in enumerate(members) for name in group}
    return np.array([found.get(name, -1) for name in names], np.int64)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f", ... {len(names)} in all" if len(names) > 12 else "")
