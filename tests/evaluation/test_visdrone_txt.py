"""VisDrone annotations: the real files, and all that can be wrong with one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import VISDRONE_CATEGORIES, read_visdrone_annotation, visdrone_dataset

WritePicture = Callable[..., Path]


def _annotation(folder: Path, text: str, name: str = "a") -> Path:
    path = folder / "annotations" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("text", ["", "\r\n", "\n\n"])
def test_an_empty_file_holds_nothing(tmp_path: Path, text: str) -> None:
    annotation = read_visdrone_annotation(_annotation(tmp_path, text))
    assert annotation.boxes.shape == (0, 4)
    assert annotation.is_object.shape == (0,)


@pytest.mark.parametrize("end", ["\n", "\r\n", ",\n", ",\r\n", ""])
def test_every_column_is_kept_whatever_the_end_of_a_line(tmp_path: Path, end: str) -> None:
    lines = ["10,20,30,40,1,4,1,2", "0,0,5,6,0,0,0,0", "1,2,3,4,0,11,0,0", "7,7,0,9,1,1,0,0"]
    annotation = read_visdrone_annotation(_annotation(tmp_path, (end or "\n").join(lines) + end))
    assert annotation.boxes.tolist() == [[10, 20, 40, 60], [0, 0, 5, 6], [1, 2, 4, 6], [7, 7, 7, 16]]
    assert annotation.scores.tolist() == [1, 0, 0, 1]
    assert annotation.categories.tolist() == [4, 0, 11, 1]
    assert annotation.truncation.tolist() == [1, 0, 0, 0]
    assert annotation.occlusion.tolist() == [2, 0, 0, 0]
    assert annotation.is_region.tolist() == [False, True, False, False]
    assert annotation.is_object.tolist() == [True, False, False, True]
    assert annotation.has_extent.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3,4,1,4,0", "expected 8 columns .* got 7: '1,2,3,4,1,4,0'"),
        ("1,2,3,4,1,4,0,0,0", "expected 8 columns .* got 9"),
        ("1,2,3,4,1,car,0,0", "expected 8 integers .* got '1,2,3,4,1,car,0,0'"),
        ("1 2 3 4 1 4 0 0", "expected 8 integers"),
        ("1,2,3,4,1," + "4" * 30 + ",0,0", "expected 8 integers"),
        ("1,2,3," + "4" * 5000 + ",1,4,0,0", "expected 8 integers"),
        ("1,2,3,4,2,4,0,0", r"score: expected 0 \(ignored\) or 1 \(evaluated\), got 2"),
        ("1,2,3,4,1,12,0,0", "category: expected 0 to 11, got 12"),
        ("1,2,-3,4,1,4,0,0", "width and height: expected 0 or more, got -3 and 4"),
    ],
)
def test_a_wrong_line_is_named_by_file_and_number(tmp_path: Path, line: str, message: str) -> None:
    path = _annotation(tmp_path, f"1,2,3,4,1,4,0,0\r\n{line}\r\n")
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}:2: {message}"):
        read_visdrone_annotation(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = _annotation(tmp_path, "")
    path.write_bytes(b"\xff\xd8\xff\xe0\x00")
    with pytest.raises(InputError, match="expected a VisDrone annotation, got something unreadable"):
        read_visdrone_annotation(path)


def test_objects_regions_and_ignored_boxes_are_told_apart(
    tmp_path: Path, write_picture: WritePicture
) -> None:
    write_picture(tmp_path / "images" / "a.png", 90, 70)
    write_picture(tmp_path / "images" / "b.png", 90, 70)
    _annotation(
        tmp_path, "1,2,3,4,1,4,0,0\n1,2,3,4,0,1,0,0\n0,0,9,9,0,0,0,0\n5,5,5,5,0,11,0,0\n5,5,0,5,1,2,0,0\n"
    )
    _annotation(tmp_path, "", "b")
    _annotation(tmp_path, "", "spare")
    dataset = visdrone_dataset(tmp_path)
    first, second = dataset.images
    assert (first.width, first.height, first.id, second.id) == (90, 70, 0, 1)
    assert first.class_ids.tolist() == [3, 0]
    assert first.ignore.tolist() == [False, True]
    assert first.areas.tolist() == [12, 12]
    assert first.ignored_regions.tolist() == [[0, 0, 9, 9]]
    assert len(second.boxes) == 0
    assert dataset.protocol == "visdrone"
    assert dataset.categories == VISDRONE_CATEGORIES
    notes = "; ".join(dataset.notes)
    assert "1 lines with a side of length 0 were left out" in notes
    assert "1 boxes of category 11" in notes
    assert "1 annotations have no picture, for example spare.txt" in notes
    assert len(visdrone_dataset(tmp_path, limit=1).images) == 1


def test_a_picture_without_its_annotation_is_refused(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "images" / "a.png")
    (tmp_path / "annotations").mkdir()
    with pytest.raises(
        InputError, match=r"annotations.a\.txt: expected a VisDrone annotation there, got nothing"
    ):
        visdrone_dataset(tmp_path)


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no annotations"):
        visdrone_dataset(tmp_path)


# Frame: objects of categories 1 to 10, lines of categories 0 and 11, width, height.
REAL = {
    "0000001_02999_d_0000005": (127, 1, 1920, 1080),
    "0000022_00500_d_0000005": (32, 0, 960, 540),
    "0000081_00000_d_0000001": (86, 7, 960, 540),
    "0000115_00796_d_0000081": (78, 10, 960, 540),
    "0000291_00001_d_0000868": (178, 4, 1360, 765),
    "0000295_02400_d_0000033": (317, 13, 1360, 765),
    "0000127_00002_d_0000119": (218, 2, 1920, 1080),
    "0000074_15298_d_0000030": (62, 2, 1920, 1080),
    "9999979_00000_d_0000023": (210, 19, 1400, 1050),
    "9999996_00000_d_0000029": (52, 0, 1400, 1050),
    "9999976_00000_d_0000001": (26, 1, 1400, 788),
    "0000031_00000_d_0000037": (164, 0, 960, 540),
    "0000040_02454_d_0000068": (19, 0, 960, 540),
    "9999943_00000_d_0000049": (351, 9, 1400, 1050),
    "9999998_00112_d_0000090": (105, 4, 2000, 1500),
    "0000006_00159_d_0000001": (71, 4, 1360, 765),
}


def test_the_real_frames_hold_what_their_list_says(shared: Path) -> None:
    folder = shared / "data" / "visdrone"
    dataset = visdrone_dataset(folder)
    assert len(dataset.images) == len(REAL) == 16
    for image in dataset.images:
        annotation = read_visdrone_annotation(folder / "annotations" / f"{image.path.stem}.txt")
        objects, others, width, height = REAL[image.path.stem]
        assert (len(image.boxes), image.width, image.height) == (objects, width, height)
        assert int(np.count_nonzero(~annotation.is_object)) == others
        assert (image.boxes >= 0).all()
        assert (image.boxes[:, 2:] <= (width, height)).all()
