"""tercelet prepare again: it goes on where it stopped, and refuses what it cannot do right."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from visdrone_splits import CLUSTER, TEXT, contents, make_split, prepare

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.scenes import synthetic_frame
from tercelet.evaluation import prepare_visdrone
from tercelet.evaluation.preparation import workers, writing
from tercelet.evaluation.preparation.result import preparation_text
from tercelet.runtime.vision import write_image


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return make_split(tmp_path / "visdrone", {"a.png": TEXT, "b.png": "", "c.png": CLUSTER})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_two_runs_give_the_same_bytes_whatever_the_number_of_processes(split: Path, tmp_path: Path) -> None:
    prepare(split, tmp_path / "one", jobs=1)
    prepare(split, tmp_path / "two", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_frame_that_is_complete_is_not_made_again(split: Path, output: Path) -> None:
    prepare(split, output)
    before = {path: path.stat().st_mtime_ns for path in (output / "density").iterdir()}
    made = contents(output)
    result = prepare(split, output)
    assert result.splits[0].found == 3
    assert {path: path.stat().st_mtime_ns for path in (output / "density").iterdir()} == before
    assert contents(output) == made


@pytest.mark.parametrize("damage", ["removed", "cut", "record", "no record", "open record"])
def test_a_frame_that_is_incomplete_is_made_again_and_no_other(
    split: Path, output: Path, damage: str
) -> None:
    prepare(split, output)
    made = contents(output)
    density, record = output / "density" / "a.npy", output / "records" / "a.json"
    if damage == "removed":
        density.unlink()
    elif damage == "cut":
        density.write_bytes(density.read_bytes()[:-5])
    elif damage == "record":
        record.write_text('{"complete": true, "outputs": {"../../a": 3}}')
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text(record.read_text().replace('"complete": true', '"complete": false'))
    (output / "density" / ".abc.part").write_bytes(b"left by a kill")
    assert prepare(split, output).splits[0].found == 2
    assert contents(output) == made


def test_a_frame_that_has_changed_is_made_again_without_its_old_crops(split: Path, output: Path) -> None:
    prepare(split, output)
    (split / "annotations" / "a.txt").write_text("250,150,30,20,1,9,0,1\n")
    picture = split / "images" / "c.png"
    os.utime(picture, ns=(1, 1))
    assert prepare(split, output).splits[0].found == 1
    prepare(split, output.with_name("fresh"))
    assert contents(output) == contents(output.with_name("fresh"))


def test_other_settings_in_the_same_folder_are_refused_by_name(split: Path, output: Path) -> None:
    prepare(split, output)
    with pytest.raises(
        InputError, match=r"made with other settings \(window 70, not 80; parity False, not T"
    ):
        prepare(split, output, window=80, parity=True)
    (output / "prepared.json").write_text('{"format": 2, "settings": {}}')
    with pytest.raises(InputError, match="another version"):
        prepare(split, output)
    (output / "prepared.json").write_text("[]")
    with pytest.raises(InputError, match="expected what tercelet prepare wrote there"):
        prepare(split, output)


def test_a_folder_of_somebody_else_is_left_alone(split: Path, output: Path) -> None:
    output.mkdir()
    (output / "photo.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"one with 'photo\.jpg' in it; choose another -o"):
        prepare(split, output)
    assert contents(output) == {"photo.jpg": b""}
    with pytest.raises(InputError, match="is a file"):
        prepare(split, output / "photo.jpg")
    with pytest.raises(InputError, match="with 'annotations' in it"):
        prepare(split, split)
    with pytest.raises(InputError, match="where it would be taken for frames"):
        prepare(split, split / "images" / "out")


def test_outputs_of_a_frame_that_is_gone_are_not_passed_off_as_part_of_the_data(
    split: Path, output: Path
) -> None:
    prepare(split, output)
    (split / "images" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.json: is of a frame that the data set does not have"):
        prepare(split, output)


def test_an_annotation_without_a_picture_is_mentioned(split: Path, output: Path) -> None:
    (split / "annotations" / "z.txt").write_text("")
    result = prepare(split, output)
    assert result.notes == ("visdrone: 1 annotations have no picture, for example z.txt",)
    assert "for example z.txt" in preparation_text(result)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: (s / "annotations" / "c.txt").unlink(), r"c\.txt: expected the annotation .*\(1 of 3 "),
        (lambda s: (s / "annotations" / "c.txt").write_text("\n1,2,3\n"), r"c\.txt:2: expected 8 columns"),
        (
            lambda s: write_image(s / "images" / "a.jpg", synthetic_frame(0, height=9, width=9)),
            "differ in more",
        ),
        (
            lambda s: (s / "images").rename(s / "pictures"),
            "expected VisDrone's folders images and annotations",
        ),
        (lambda s: [p.unlink() for p in (s / "images").iterdir()], "expected pictures"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_written(
    split: Path, output: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(split)
    with pytest.raises(InputError, match=message):
        prepare(split, output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window: expected at least 1 pixel"),
        ({"threshold": float("nan")}, "threshold: expected a number"),
        ({"sigma": 0}, "sigma: expected a standard deviation above 0"),
        ({"density_scale": 2}, "density_scale: expected 1 or 4, got 2"),
        ({"min_visible": 1.5}, "min_visible: expected a share from 0 to 1"),
        ({"parity": True, "keep_score0": True}, "parity: expected without"),
        ({"jobs": 0}, "jobs: expected at least 1 process"),
        ({"output": ""}, "output: expected a path, got an empty name"),
    ],
)
def test_an_impossible_option_is_refused(
    split: Path, output: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare_visdrone(split, **{"output": output, "quiet": True, **options})
    with pytest.raises(InputError, match=r"nowhere: expected a VisDrone folder, got nothing"):
        prepare(split / "nowhere", output)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_broken_picture_is_named_and_the_others_are_kept(split: Path, output: Path, jobs: int) -> None:
    picture = split / "images" / "b.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:200])
    with pytest.raises(InputError, match=r"b\.png: expected a picture"):
        prepare(split, output, jobs=jobs)
    assert not (output / "annotations_frames.json").exists()
    picture.write_bytes(whole)
    assert prepare(split, output, jobs=jobs).splits[0].found >= 1


def test_coco_files_of_an_earlier_state_do_not_outlive_it(split: Path, output: Path) -> None:
    prepare(split, output)
    (split / "images" / "b.png").write_bytes(b"")
    with pytest.raises(InputError):
        prepare(split, output)
    assert not (output / "annotations_frames.json").exists()
    assert not (output / "annotations_crops.json").exists()


def test_a_full_disk_is_a_sentence_and_leaves_no_half_of_a_file(
    split: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.Path, "replace", refuse)
    with pytest.raises(
        InputError, match=r"cannot be written: No space left .* goes on where this one stopped"
    ):
        prepare(split, output)
    assert contents(output) == {}


def test_a_second_run_in_the_same_folder_has_to_wait(split: Path, output: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    output.mkdir()
    descriptor = os.open(output, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another tercelet prepare is writing there"):
        prepare(split, output)
    os.close(descriptor)
    assert prepare(split, output).splits[0].frames == 3


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        ("raise SystemExit(9)", CheckFailedError, r"ended with exit code 9 \(is memory short\?\)"),
        ('input(); print(\'{"error": "unexpected", "message": "Trace"}\')', RuntimeError, "Trace"),
    ],
)
def test_a_process_that_dies_or_fails_is_reported(
    split: Path, output: Path, monkeypatch: pytest.MonkeyPatch, program: str, error: type, message: str
) -> None:
    monkeypatch.setattr(workers, "_PROGRAM", program)
    with pytest.raises(error, match=message):
        prepare(split, output, jobs=2)
