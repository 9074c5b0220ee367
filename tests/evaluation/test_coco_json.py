"""COCO JSON: ids mapped, crowds kept, pictures found, and what is wrong named by its field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import coco_dataset, open_dataset

WritePicture = Callable[..., Path]
COCO: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "b.png", "width": 64, "height": 48},
        {"id": 3, "file_name": "a.png"},
    ],
    "categories": [{"id": 90, "name": "boat"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 0, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 20], "area": 150.5, "iscrowd": 0},
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [0, 0, 30.5, 4], "iscrowd": 1},
    ],
}


def _write(folder: Path, data: Any, name: str = "instances_val.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("place", [".", "images", "../images", "../val", "../images/val", ".."])
def test_ids_are_mapped_and_pictures_found(tmp_path: Path, write_picture: WritePicture, place: str) -> None:
    path = _write(tmp_path / "annotations", COCO)
    for name in ("a.png", "b.png"):
        write_picture(path.parent / place / name)
    dataset = open_dataset(path)
    first, second = dataset.images
    assert (dataset.format, dataset.protocol, dataset.categories) == ("coco", "coco", ("boat", "person"))
    assert (first.id, first.path.name, first.width, first.height) == (7, "b.png", 64, 48)
    assert first.boxes.tolist() == [[1, 2, 11, 22], [0, 0, 30.5, 4]]
    assert first.class_ids.tolist() == [1, 0]
    assert first.ignore.tolist() == [False, True]
    assert first.areas.tolist() == [150.5, 122]
    assert (second.id, second.width, second.height, len(second.boxes)) == (3, 64, 48, 0)


def test_the_folder_of_the_pictures_can_be_named(tmp_path: Path, write_picture: WritePicture) -> None:
    path = _write(tmp_path / "annotations", COCO)
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "elsewhere" / name)
    with pytest.raises(
        InputError, match=r"b\.png: expected the picture that instances_val\.json names.*--images"
    ):
        coco_dataset(path)
    assert len(coco_dataset(path, images=tmp_path / "elsewhere").images) == 2
    assert len(coco_dataset(path, images=tmp_path / "elsewhere", limit=1).images) == 1
    with pytest.raises(InputError, match="expected the folder of the pictures, got no folder"):
        coco_dataset(path, images=tmp_path / "nowhere")


def _changed(where: tuple[Any, ...], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(COCO)
    place: Any = data
    for key in where[:-1]:
        place = place[key]
    if value is None:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    return data


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (
            ("images",),
            None,
            "expected a COCO file with images, annotations and categories; images is no list",
        ),
        (("annotations",), {}, "annotations is no list"),
        (("images",), [], "images: expected at least one"),
        (("categories",), [], "categories: expected at least one"),
        (("images", 0), 5, r"images\[0\]: expected an object, got 5"),
        (("images", 1, "id"), 7, r"images\[1\]\.id: expected one of its own, got 7 again"),
        (("images", 1, "id"), "3", r"images\[1\]\.id: expected an integer, got '3'"),
        (("images", 0, "width"), 0, r"images\[0\]\.width: expected at least 1, got 0"),
        (("images", 0, "file_name"), None, r"images\[0\]\.file_name: expected a text, got None"),
        (("categories", 1, "id"), 90, r"categories\[1\]: expected an id and a name of its own"),
        (("categories", 1, "name"), " ", r"categories\[1\]\.name: expected a text"),
        (
            ("annotations", 1, "image_id"),
            8,
            r"annotations\[1\]\.image_id: expected the id of an image .* got 8",
        ),
        (
            ("annotations", 1, "category_id"),
            2,
            r"annotations\[1\]\.category_id: expected the id of a category",
        ),
        (
            ("annotations", 0, "bbox"),
            [1, 2, 3],
            r"annotations\[0\]\.bbox: expected \[left, top, width, height\]",
        ),
        (("annotations", 0, "bbox"), [1, 2, float("nan"), 3], r"annotations\[0\]\.bbox: expected \[left"),
        (
            ("annotations", 0, "bbox"),
            [1, 2, -3, 3],
            r"annotations\[0\]\.bbox: expected width and height of 0",
        ),
        (("annotations", 0, "iscrowd"), "no", r"annotations\[0\]\.iscrowd: expected 0 or 1, got 'no'"),
        (("annotations", 0, "area"), "big", r"annotations\[0\]\.area: expected a number"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, where: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        coco_dataset(_write(tmp_path, _changed(where, value)))


@pytest.mark.parametrize("text", ["", "{", "[]", "\x89PNG"])
def test_a_file_that_is_no_coco_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"x\.json: expected a COCO"):
        coco_dataset(path)


def test_a_real_file_is_read_and_its_odd_areas_are_noted(shared: Path) -> None:
    dataset = open_dataset(shared / "data" / "sahi" / "combined_coco.json")
    assert dataset.categories == ("human", "car", "big_vehicle")
    assert [(i.path.name, i.width, i.height) for i in dataset.images] == [
        ("terrain1.jpg", 2048, 1365),
        ("terrain2.png", 1024, 682),
    ]
    assert sum(len(image.boxes) for image in dataset.images) == 12
    assert dataset.notes == ("12 annotations state an area larger than their box; sizes follow the file",)


def test_a_real_file_whose_picture_is_missing_is_refused(shared: Path) -> None:
    with pytest.raises(
        InputError, match=r"terrain3\.png: expected the picture that terrain_all_coco\.json names"
    ):
        open_dataset(shared / "data" / "sahi" / "terrain_all_coco.json")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"id": 7', '"id": ' + "7" * 5000, r"x\.json: expected a COCO JSON file: Exceeds the limit"),
        ("150.5", "1e999", r"annotations\[0\]\.area: expected a number of square pixels, got inf"),
        ("150.5", "1" + "0" * 400, r"annotations\[0\]\.area: expected a number of square pixels"),
        ("[1, 2, 10, 20]", "[1, 2, 1e999, 20]", r"annotations\[0\]\.bbox: expected \[left"),
        ("[1, 2, 10, 20]", f"[1, 2, 1{'0' * 400}, 20]", r"annotations\[0\]\.bbox: expected \[left"),
        ("[1, 2, 10, 20]", "[1e308, 2, 1e308, 1e-9]", r"annotations\[0\]\.bbox: expected a box of finite"),
        ("[0, 0, 30.5, 4]", "[0, 0, 1e300, 1e300]", r"annotations\[1\]\.area: expected .* got inf"),
    ],
)
def test_absurd_numbers_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = json.dumps(COCO)
    assert old in text
    (tmp_path / "x.json").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        coco_dataset(tmp_path / "x.json")
