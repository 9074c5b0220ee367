"""The check of a data set: each kind of problem is found with its place, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.evaluation.datasets import open_dataset
from tercelet.runtime.vision import write_image
from tercelet.training.dataset_checks import KINDS, DatasetReport, check_dataset

Change = Callable[[Path], object]


def write_picture(path: Path, seed: int, size: tuple[int, int] = (60, 80)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three frames, with two boxes, one, and none."""
    for number in range(3):
        write_picture(tmp_path / "images" / f"{number}.jpg", number)
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 5, "bbox": [10, 10, 20, 20]},
        {"id": 2, "image_id": 0, "category_id": 7, "bbox": [0, 0, 80, 60]},
        {"id": 3, "image_id": 1, "category_id": 7, "bbox": [30, 10, 40, 40], "iscrowd": 0},
    ]
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 80, "height": 60} for i in range(3)],
        "annotations": annotations,
        "categories": [{"id": 5, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    return tmp_path / "data.json"


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def set_in(*keys: str | int, value: object) -> Change:
    """Set one value of the COCO file."""

    def change(path: Path) -> None:
        content = target = json.loads(path.read_text())
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value
        path.write_text(json.dumps(content))

    return change


def cut_short(path: Path) -> None:
    picture = path.parent / "images" / "1.jpg"
    picture.write_bytes(picture.read_bytes()[:-400])


def repeat_annotation(path: Path) -> None:
    edited(path, lambda content: content["annotations"].append({**content["annotations"][0], "id": 9}))


def test_frames_without_objects_are_counted_and_no_problem(coco: Path) -> None:
    edited(coco, lambda content: content["annotations"].clear())
    report = check_dataset(coco)
    assert (report.frames, report.frames_without_objects, report.problems) == (3, 3, ())
    assert report.objects == (("cat", 0), ("dog", 0))


def test_a_sound_data_set_has_figures_and_no_problems(coco: Path) -> None:
    report = check_dataset(coco, decode=True, strict=True)
    assert report.problems == ()
    assert (report.frames, report.frames_without_objects, report.ignored) == (3, 1, 0)
    assert report.objects == (("cat", 1), ("dog", 2))
    assert report.sizes == (("small", 1), ("medium", 2), ("large", 0))
    assert report.decoded


# What is done to the files, the kind of problem, its place and a part of its message.
PROBLEMS: dict[str, tuple[Change, str, str, str]] = {
    "a picture is gone": (
        lambda path: (path.parent / "images" / "1.jpg").unlink(),
        "missing picture",
        "1.jpg",
        "expected the picture that data.json names",
    ),
    "a picture is cut short": (cut_short, "unreadable picture", "1.jpg", "damaged or cut short"),
    "a picture is a text": (
        lambda path: (path.parent / "images" / "1.jpg").write_text("not found"),
        "unreadable picture",
        "1.jpg",
        "expected a picture",
    ),
    "a picture has another size": (
        set_in("images", 1, "width", value=90),
        "size mismatch",
        "1.jpg",
        "expected 90x60 pixels, as the data set states, got 80x60",
    ),
    "a class is unknown": (
        set_in("annotations", 2, "category_id", value=6),
        "unknown class",
        "annotations[2]",
        "annotations[2].category_id: expected the id of a category",
    ),
    "a box is no box": (
        set_in("annotations", 1, "bbox", value=[1, 2, 3]),
        "wrong annotation",
        "annotations[1]",
        "annotations[1].bbox: expected [left, top, width, height]",
    ),
    "a box reaches over the border": (
        set_in("annotations", 0, "bbox", value=[-5, 10, 20, 20]),
        "box outside",
        "0.jpg",
        "expected boxes inside the frame of 80x60, got [-5 10 15 30]; cut",
    ),
    "a box has no area": (
        set_in("annotations", 0, "bbox", value=[5, 10, 0, 20]),
        "box without area",
        "0.jpg",
        "expected boxes with an area, got [5 10 5 30]; left out",
    ),
    "a box is there twice": (
        repeat_annotation,
        "duplicate box",
        "0.jpg",
        "expected each box once, got again [10 10 30 30]",
    ),
    "a picture is there twice": (
        lambda path: shutil.copy(path.parent / "images" / "0.jpg", path.parent / "images" / "2.jpg"),
        "same picture twice",
        "2.jpg",
        "expected another picture than",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_kind_of_problem_is_found_at_its_place(coco: Path, name: str) -> None:
    change, kind, place, message = PROBLEMS[name]
    change(coco)
    report = check_dataset(coco)
    (problem,) = report.problems
    assert problem.kind == kind
    assert problem.where.endswith(place)
    assert message in problem.message
    assert problem.count == 1
    assert problem in (report.errors if KINDS[problem.kind] == "error" else report.warnings)
    assert len(report.errors) + len(report.warnings) == 1
    assert message in report.text()
    assert json.loads(json.dumps(report.record()))["problems"][0]["kind"] == kind
    with pytest.raises(CheckFailedError, match=kind):
        check_dataset(coco, strict=True)


def test_a_box_a_little_over_the_border_is_rounding(coco: Path) -> None:
    set_in("annotations", 0, "bbox", value=[-0.4, 10, 20, 20])(coco)
    assert check_dataset(coco).problems == ()


def test_what_is_left_is_checked_past_the_first_wrong_line(coco: Path) -> None:
    set_in("annotations", 0, "category_id", value=99)(coco)
    set_in("annotations", 2, "category_id", value=98)(coco)
    (coco.parent / "images" / "2.jpg").unlink()
    report = check_dataset(coco)
    assert sorted(problem.kind for problem in report.problems) == [
        "missing picture",
        "unknown class",
        "unknown class",
    ]
    assert (report.frames, report.objects) == (2, (("cat", 0), ("dog", 1)))


def test_pictures_of_the_validation_set_are_named(coco: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_picture(other / "images" / "x.jpg", 1)
    write_picture(other / "images" / "y.jpg", 8)
    (other / "annotations").mkdir()
    for name in ("x", "y"):
        (other / "annotations" / f"{name}.txt").write_text("")
    report = check_dataset(coco, against=open_dataset(other))
    (problem,) = report.problems
    assert problem.kind == "same picture in both"
    assert "x.jpg" in problem.message
    own = open_dataset(coco)
    assert [p.kind for p in check_dataset(own, against=own).problems] == ["same picture in both"] * 3


def test_wrong_lines_of_yolo_labels_are_all_found(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / "images" / "train" / f"{number}.png", number)
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: [a, b]\ntrain: images/train\nval: images/train\n")
    (labels / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1\n")
    (labels / "1.txt").write_text("\n\n0 0.5 1.5 0.2 0.2\n")
    report = check_dataset(tmp_path)
    assert [(p.kind, Path(p.where).name) for p in report.problems] == [
        ("unknown class", "0.txt:2"),
        ("wrong annotation", "0.txt:3"),
        ("wrong annotation", "1.txt:3"),
    ]
    assert report.objects == (("a", 1), ("b", 0))
    assert report.frames_without_objects == 2


def test_pictures_that_a_list_names_in_vain_are_all_found(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.png", 0)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "train.txt").write_text("images/x.png\nimages/a.png\nimages/y.png\n")
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: train.txt\n")
    report = check_dataset(tmp_path)
    assert [(p.kind, Path(p.where).name) for p in report.problems] == [
        ("missing picture", "train.txt:1"),
        ("missing picture", "train.txt:3"),
    ]
    assert (report.frames, report.objects) == (1, (("a", 1),))


def test_wrong_lines_of_visdrone_are_all_found(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / "images" / f"{number}.jpg", number)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "0.txt").write_text("1,1,9,9,1,4,0,0\r\n1,1,9,9,1,12,0,0\r\n1,1,9\r\n")
    (tmp_path / "annotations" / "1.txt").write_text("0,0,5,5,0,0,0,0,\n")
    report = check_dataset(tmp_path)
    assert [(p.kind, Path(p.where).name) for p in report.problems] == [
        ("unknown class", "0.txt:2"),
        ("wrong annotation", "0.txt:3"),
        ("missing annotation", "2.txt"),
    ]
    assert (report.frames, report.ignored, dict(report.objects)["car"]) == (2, 1, 1)


def test_many_problems_are_shown_in_part_and_counted(coco: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        for number in range(12):
            content["annotations"].append(
                {"id": 50 + number, "image_id": 2, "category_id": 1, "bbox": [0] * 4}
            )

    edited(coco, add)
    report = check_dataset(coco)
    assert "error: unknown class: 12" in report.text()
    assert "and 7 more like it" in report.text()
    with pytest.raises(CheckFailedError, match=r"(?s)got 12.*annotations\[3\].*and 7 more"):
        report.raise_problems()


def test_warnings_stop_only_the_strict(coco: Path) -> None:
    repeat_annotation(coco)
    report = check_dataset(coco)
    report.raise_problems()
    with pytest.raises(CheckFailedError, match="or train without --strict"):
        report.raise_problems(strict=True)


def test_what_is_no_data_set_is_refused(tmp_path: Path, coco: Path) -> None:
    with pytest.raises(InputError, match="expected a data set"):
        check_dataset(tmp_path / "nothing")
    with pytest.raises(InputError, match="workers: expected at least 1"):
        check_dataset(coco, workers=0)
    coco.write_text("{}")
    with pytest.raises(InputError, match="expected a COCO file with images"):
        check_dataset(coco)


def test_labels_that_lie_nowhere_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "train" / "a.png", 0)
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: images/train\n")
    with pytest.raises(InputError, match="nor for any other frame"):
        check_dataset(tmp_path)


@pytest.mark.parametrize(
    ("folder", "split", "objects"), [("visdrone", "train", 2096), ("coco/coco8", "val", 17)]
)
def test_real_data_sets_are_sound(shared: Path, folder: str, split: str, objects: int) -> None:
    path = shared / "data" / folder
    dataset = open_dataset(path, split=split, labels=[str(number) for number in range(80)])
    report: DatasetReport = check_dataset(dataset, decode=True)
    assert report.errors == ()
    assert sum(count for _, count in report.objects) == objects
