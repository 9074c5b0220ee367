"""YOLO txt data sets: layouts, class names, data.yaml, and what is wrong named by file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import open_dataset, yolo_dataset
from tercelet.evaluation.datasets.data_yaml import read_data_yaml
from tercelet.evaluation.datasets.yolo_txt import label_path

WritePicture = Callable[..., Path]
LABELS = ("car", "bus")


def _labels(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("images", ["images/val", "val/images", "images"])
def test_each_layout_is_found_and_boxes_are_in_pixels(
    tmp_path: Path, write_picture: WritePicture, images: str
) -> None:
    picture = write_picture(tmp_path / images / "a.png", 200, 100)
    _labels(label_path(picture), "1 0.5 0.5 0.5 0.2\r\n\n0 0.25 0.5 0.1 1.0\n")
    dataset = open_dataset(tmp_path, labels=LABELS)
    assert (dataset.format, dataset.protocol, dataset.categories) == ("yolo", "coco", LABELS)
    assert dataset.images[0].boxes.ravel() == pytest.approx([50, 40, 150, 60, 40, 0, 60, 100])
    assert dataset.images[0].class_ids.tolist() == [1, 0]
    assert dataset.notes == ()


def test_the_label_file_replaces_the_last_folder_of_images() -> None:
    assert label_path(Path("/images/set/images/val/x.jpg")) == Path("/images/set/labels/val/x.txt")
    assert label_path(Path("pictures/x.jpg")) == Path("pictures/x.txt")


def test_a_frame_without_label_file_is_empty_and_noted(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "images" / "val" / "a.png")
    _labels(label_path(write_picture(tmp_path / "images" / "val" / "b.png")), "")
    dataset = yolo_dataset(tmp_path, labels=LABELS)
    assert [len(image.boxes) for image in dataset.images] == [0, 0]
    assert dataset.notes == ("1 of 2 frames have no label file and count as empty",)


def test_frames_without_any_label_file_are_refused(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "images" / "val" / "a.png")
    with pytest.raises(
        InputError, match=r"labels.val.a\.txt: expected the labels of a\.png there, got nothing"
    ):
        yolo_dataset(tmp_path, labels=LABELS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "expected a class from 0 to 1, got 2"),
        ("-1 0.5 0.5 0.1 0.1", "expected a class from 0 to 1, got -1"),
        ("0.5 0.5 0.5 0.1 0.1", r"expected a class from 0 to 1, got 0\.5"),
        ("car 0.5 0.5 0.1 0.1", "expected 5 numbers"),
        ("0 0.5 0.5 0.1", r"expected 5 columns \(class cx cy w h\), got 4"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2", "expected 5 columns .* got 7; polygons are not boxes"),
        ("0 320 240 50 50", "expected cx cy w h normalised to 0..1, got 320 240 50 50"),
        ("0 nan 0.5 0.1 0.1", "expected cx cy w h normalised"),
    ],
)
def test_a_wrong_line_is_named_by_file_and_number(
    tmp_path: Path, write_picture: WritePicture, line: str, message: str
) -> None:
    picture = write_picture(tmp_path / "images" / "val" / "a.png")
    _labels(label_path(picture), f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(InputError, match=rf"a\.txt:2: {message}"):
        yolo_dataset(tmp_path, labels=LABELS)


def test_a_split_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, write_picture: WritePicture
) -> None:
    write_picture(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match="expected split 'val', got train; choose one with --split"):
        open_dataset(tmp_path, labels=LABELS)


def test_class_names_come_from_the_folder_before_the_detector(
    tmp_path: Path, write_picture: WritePicture
) -> None:
    _labels(label_path(write_picture(tmp_path / "images" / "val" / "a.png")), "0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"expected class names in data\.yaml or classes\.txt, got neither"):
        yolo_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("tram\nship\n")
    assert yolo_dataset(tmp_path, labels=LABELS).categories == ("tram", "ship")
    (tmp_path / "data.yaml").write_text("names: [kite]\n")
    assert yolo_dataset(tmp_path, labels=LABELS).categories == ("kite",)


@pytest.mark.parametrize("val", ["images/test", "lists/val.txt"])
def test_a_data_yaml_says_where_the_frames_are(tmp_path: Path, write_picture: WritePicture, val: str) -> None:
    picture = write_picture(tmp_path / "root" / "images" / "test" / "a.png")
    _labels(label_path(picture), "0 0.5 0.5 0.1 0.1\n")
    _labels(tmp_path / "root" / "lists" / "val.txt", "../images/test/a.png\n")
    path = _labels(tmp_path / "set.yaml", f"path: root  # here\nval: {val}\nnames:\n  0: car\n")
    dataset = open_dataset(path)
    assert [image.path.name for image in dataset.images] == ["a.png"]
    assert dataset.categories == ("car",)


# Roboflow's ../valid/images; a path that names the folder the file lies in; one from a working folder above.
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("val: ../valid/images", "valid/images"),
        ("path: set\nval: ../valid/images", "valid/images"),
        ("path: set\nval: images/val", "images/val"),
        ("path: ../datasets/set\nval: images/val", "images/val"),
        ("val: set/images/val", "images/val"),
    ],
)
def test_a_data_yaml_as_tools_write_it_is_understood_and_noted(
    tmp_path: Path, write_picture: WritePicture, text: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    _labels(label_path(write_picture(folder / place / "a.png")), "0 0.5 0.5 0.1 0.1\n")
    _labels(folder / "data.yaml", f"{text}\nnc: 1\nnames: ['car']\n")
    monkeypatch.chdir(folder)
    for path in (folder, folder / "data.yaml", Path("data.yaml")):
        dataset = open_dataset(path)
        assert [image.path.resolve() for image in dataset.images] == [folder / place / "a.png"]
        assert [len(image.boxes) for image in dataset.images] == [1]
        assert "the data.yaml states" in dataset.notes[0]


def test_what_a_data_yaml_states_goes_before_every_guess(tmp_path: Path, write_picture: WritePicture) -> None:
    for place in ("valid/images", "set/valid/images"):
        _labels(label_path(write_picture(tmp_path / place / "a.png")), "0 0.5 0.5 0.1 0.1\n")
    _labels(tmp_path / "set" / "data.yaml", "val: ../valid/images\nnames: [car]\n")
    dataset = open_dataset(tmp_path / "set")
    assert dataset.images[0].path.resolve() == tmp_path / "valid" / "images" / "a.png"
    assert dataset.notes == ()


def test_all_places_that_were_tried_are_named(tmp_path: Path) -> None:
    _labels(tmp_path / "set" / "data.yaml", "path: root\nval: ../valid/images\nnames: [car]\n")
    with pytest.raises(InputError, match=r"val of its data\.yaml is \.\./valid/images: .*nothing") as caught:
        open_dataset(tmp_path / "set")
    tried = ("set/root/../valid/images", "set/root/valid/images", "root/valid/images", "set/valid/images")
    for place in tried:
        assert str(tmp_path / place) in str(caught.value)


@pytest.mark.parametrize("val", ["val: [images/val]", "val:\n  - images/val", "val: [\n  'images/val']"])
def test_a_split_may_be_a_list_of_one(tmp_path: Path, val: str) -> None:
    data = read_data_yaml(_labels(tmp_path / "data.yaml", f"{val}\nnames: [a]\n"))
    assert data.splits == {"val": "images/val"}


@pytest.mark.parametrize(
    "names",
    [
        "names: [person, 'traffic light', \"a, b\"]",
        "names: [person,\n  'traffic light',\n  \"a, b\" ]  # three",
        "names:\n- person\n- traffic light\n- 'a, b'\n",
        'names:\n  0: person\n  1: traffic light\n  2: "a, b"\n',
    ],
)
def test_the_usual_ways_to_write_names_are_read(tmp_path: Path, names: str) -> None:
    head = "# a data set\npath: ../x\ntrain: images/train # t\nval: 'images/val'\nnc: 3\n"
    text = f"{head}{names}\ndownload: |\n  echo 1\n"
    data = read_data_yaml(_labels(tmp_path / "data.yaml", text))
    assert data.names == ("person", "traffic light", "a, b")
    assert (data.path, data.classes) == ("../x", 3)
    assert data.splits == {"train": "images/train", "val": "images/val"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b]\nnc: 3\n", "as many names as nc states, got 2 names and nc 3"),
        ("nc: many\n", r"data\.yaml:1: nc: expected a number of classes, got 'many'"),
        ("nc: " + "9" * 5000 + "\n", "nc: expected a number of classes"),
        ("names:\n  " + "9" * 5000 + ": a\n", "names: expected `- name` or `0: name`"),
        ("val: [a, b]\n", r"data\.yaml:1: expected one value on the line, got a list or a block"),
        ("val:\n  - a\n  - b\n", r"data\.yaml:1: expected one value on the line, got a list or a block"),
        ("names: {0: a}\n", r"data\.yaml:1: names: expected \[a, b\] or one name a line"),
        ("names:\n  0: a\n  2: b\n", r"data\.yaml:3: names: expected number 1 next, got 2"),
        ("names:\n  - a\n  b\n", r"data\.yaml:3: names: expected `- name` or `1: name`, got 'b'"),
        ("names:\n", r"data\.yaml:1: names: expected \[a, b\] or one name a line"),
        ("<html>\n", r"data\.yaml:1: expected `key: value`, got '<html>'"),
    ],
)
def test_anything_else_in_a_data_yaml_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_data_yaml(_labels(tmp_path / "data.yaml", text))


def test_the_real_coco8_is_read(shared: Path) -> None:
    dataset = open_dataset(shared / "data" / "coco" / "coco8", labels=tuple(map(str, range(80))))
    assert [len(image.boxes) for image in dataset.images] == [2, 1, 9, 5]
    assert (dataset.images[0].width, dataset.images[0].height) == (481, 640)
