"""Which format a path is, and how large a picture is without decoding it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import open_dataset
from tercelet.evaluation.datasets.opening import detect_format
from tercelet.evaluation.datasets.pictures import picture_size, pictures_below
from tercelet.runtime.vision import read_image

WritePicture = Callable[..., Path]


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected a COCO \.json file, a YOLO folder.*got a folder that is none"
    ):
        open_dataset(tmp_path)
    (tmp_path / "images" / "val").mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"images.val: expected pictures \(.jpg, .jpeg, .png, ...\), got none"
    ):
        open_dataset(tmp_path, labels=("car",))


@pytest.mark.parametrize(
    ("folders", "name", "expected"),
    [
        (("images", "annotations"), "", "visdrone"),
        (("images", "labels"), "", "yolo"),
        (("val/images", "val/labels"), "", "yolo"),
        (("images",), "data.yaml", "yolo"),
        ((), "instances.json", "coco"),
    ],
)
def test_the_format_is_told_by_the_files(
    tmp_path: Path, folders: tuple[str, ...], name: str, expected: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    path = tmp_path / name
    if name:
        path.write_text("names: [a]\n")
    assert detect_format(path) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "voc"}, "format: expected one of coco, yolo, visdrone, got 'voc'"),
        ({"limit": 0}, "limit: expected at least 1 frame, got 0"),
        ({"format": "visdrone", "images": "x"}, "images: expected with a COCO file only"),
        ({"format": "coco"}, "expected a COCO JSON file"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path, **options)


@pytest.mark.parametrize("name", ["dataset", "split", "images"])
def test_an_empty_name_is_not_taken_for_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_picture: WritePicture, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("")
    (tmp_path / "a.json").write_text(
        '{"images": [{"id": 1, "file_name": "images/a.png"}], "annotations": [],'
        ' "categories": [{"id": 1, "name": "car"}]}'
    )
    options = {"path": "a.json" if name == "images" else ".", "labels": ("car",)}
    assert len(open_dataset(**options).images) == 1  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{name}: expected a path, got an empty name"):
        open_dataset(**{**options, "path" if name == "dataset" else name: ""})  # type: ignore[arg-type]


def test_a_path_with_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a data set, got nothing there"):
        open_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_the_size_of_a_picture_is_that_of_the_frame(
    tmp_path: Path, write_picture: WritePicture, suffix: str
) -> None:
    assert picture_size(write_picture(tmp_path / f"a{suffix}", 37, 21)) == (37, 21)


def test_a_jpeg_that_its_exif_data_turn_is_measured_upright(tmp_path: Path) -> None:
    done, data = cv2.imencode(".jpg", np.full((20, 50, 3), 90, np.uint8))
    assert done
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    raw = data.tobytes()
    path = tmp_path / "turned.jpg"
    path.write_bytes(raw[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + raw[2:])
    assert read_image(path).shape == (50, 20, 3)
    assert picture_size(path) == (20, 50)


def test_a_jpeg_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"a\.jpg: expected a picture, got an HTML page"):
        picture_size(path)


def test_hidden_files_are_no_pictures(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "below" / "a.png")
    write_picture(tmp_path / "._a.png")
    assert [path.name for path in pictures_below(tmp_path)] == ["a.png"]
