"""Which labels are judged against which categories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tercelet.contract.errors import InputError
from tercelet.evaluation.class_mapping import map_classes
from tercelet.evaluation.datasets import VISDRONE_CATEGORIES

COCO_SOME = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "boat")
COCO_ON_VISDRONE = {
    "person": ["pedestrian", "people"],
    "bicycle": "bicycle",
    "car": ["car", "van"],
    "truck": "truck",
    "bus": "bus",
    "motorcycle": "motor",
}


def test_labels_match_categories_by_name_whatever_their_case() -> None:
    mapping = map_classes(("Car", "boat", "bus"), ("bus", "car", "van"))
    assert [item.name for item in mapping.classes] == ["Car", "bus"]
    assert mapping.of_label.tolist() == [0, -1, 1]
    assert mapping.of_category.tolist() == [1, 0, -1]
    assert (mapping.unmatched_labels, mapping.unmatched_categories) == (("boat",), ("van",))
    assert mapping.by_name


def test_an_exact_name_goes_before_one_of_another_case() -> None:
    mapping = map_classes(("car",), ("Car", "car"))
    assert mapping.of_category.tolist() == [-1, 0]


def test_coco_labels_are_judged_on_visdrone_by_a_class_map(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(COCO_ON_VISDRONE))
    mapping = map_classes(COCO_SOME, VISDRONE_CATEGORIES, path)
    assert [item.name for item in mapping.classes] == [
        "person", "bicycle", "car", "truck", "bus", "motorcycle",
    ]  # fmt: skip
    assert mapping.of_category.tolist() == [0, 0, 1, 2, 2, 3, -1, -1, 4, 5]
    assert mapping.of_label.tolist() == [0, 1, 2, 5, 4, 3, -1]
    assert mapping.unmatched_categories == ("tricycle", "awning-tricycle")
    assert mapping.unmatched_labels == ("boat",)
    assert not mapping.by_name


def test_labels_with_the_same_categories_are_one_class() -> None:
    mapping = map_classes(("rider", "walker"), ("human",), {"rider": "human", "walker": ["human"]})
    assert [item.name for item in mapping.classes] == ["rider+walker"]
    assert mapping.of_label.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        (None, r"no label of the detector \(car, bus\) is a category of the data set \(ship\).*--class-map"),
        ({}, "at least one label"),
        ({"lorry": "ship"}, r"labels of the detector \(car, bus\), got 'lorry'"),
        ({"car": "boat"}, r"car: expected categories of the data set \(ship\), got 'boat'"),
        ({"car": []}, "car: expected a category or a list of categories"),
        ({"car": 3}, "car: expected a category or a list of categories, got 3"),
        ({"car": {"ship": 1}}, "car: expected a category or a list of categories"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(class_map: dict | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        map_classes(("car", "bus"), ("ship",), class_map)


def test_a_category_in_two_different_classes_is_refused() -> None:
    with pytest.raises(InputError, match="'van' in several that differ"):
        map_classes(("car", "bus"), ("van", "tram"), {"car": "van", "bus": ["van", "tram"]})


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff"])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "map.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"map\.json: expected a JSON object"):
        map_classes(("car",), ("car",), path)


@pytest.mark.parametrize("value", ["9" * 5000, "1e999", "NaN"])
def test_a_class_map_of_absurd_numbers_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(f'{{"car": {value}}}')
    with pytest.raises(InputError, match=r"map\.json: .*expected a "):
        map_classes(("car",), ("ship",), path)


def test_an_empty_name_of_a_class_map_is_refused() -> None:
    with pytest.raises(InputError, match="class_map: expected a path, got an empty name"):
        map_classes(("car",), ("car",), "")
