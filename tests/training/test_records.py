"""What a training leaves behind in numbers and words: results.csv, curves, the model card, TensorBoard."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
import torch

from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.evaluation.average_precision import ClassPrecision
from tercelet.training.detector_training.records import (
    DataFingerprint,
    EpochRow,
    ModelCard,
    ResultsFile,
    TensorBoardLog,
    hardware_words,
    library_versions,
    model_card,
    read_results,
    save_curves,
    write_whole,
)

PARTS = ("box", "class", "dfl")
HEADER = "epoch,seconds,images_per_second,data_wait,lr,loss_box,loss_class,loss_dfl,loss,ap50,ap,objects"


def epoch_row(epoch: int, *, ap50: float | None = 0.5) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        seconds=12.25,
        images_per_second=31.5,
        data_wait=0.03,
        lr=0.01 / epoch,
        losses={"box": 1.5, "class": 0.75, "dfl": 0.125},
        loss=2.375,
        ap50=ap50,
        ap=None if ap50 is None else ap50 / 2,
        objects=345,
    )


def test_a_new_file_holds_the_header_alone(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "new" / "results.csv", parts=PARTS)
    assert results.path.read_text() == HEADER + "\n"
    assert results.rows == read_results(results.path) == ()


def test_rows_are_there_at_once_and_read_back_as_they_were(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.csv", parts=PARTS)
    rows = [epoch_row(1, ap50=None), epoch_row(2, ap50=0.0), epoch_row(4)]
    for count, row in enumerate(rows, 1):
        results.append(row)
        assert read_results(results.path) == tuple(rows[:count])
    assert results.path.read_text().splitlines()[:2] == [
        HEADER,
        "1,12.25,31.5,0.03,0.01,1.5,0.75,0.125,2.375,,,345",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_a_loss_that_is_no_number_is_kept_as_what_it_is(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.csv", parts=PARTS)
    results.append(replace(epoch_row(1), loss=math.nan))
    assert math.isnan(read_results(results.path)[0].loss)


@pytest.mark.parametrize(("resume_after", "kept"), [(0, 0), (2, 2), (3, 3), (9, 3)])
def test_a_resumed_training_keeps_its_rows_and_drops_later_ones(
    tmp_path: Path, resume_after: int, kept: int
) -> None:
    first = ResultsFile(tmp_path / "results.csv", parts=PARTS)
    for epoch in (1, 2, 3):
        first.append(epoch_row(epoch))
    lines = first.path.read_text().splitlines()
    resumed = ResultsFile(first.path, parts=PARTS, resume_after=resume_after)
    assert first.path.read_text().splitlines() == lines[: kept + 1]
    resumed.append(epoch_row(resume_after + 1))
    assert [row.epoch for row in read_results(first.path)] == [*range(1, kept + 1), resume_after + 1]


def test_a_file_that_was_removed_meanwhile_begins_anew(tmp_path: Path) -> None:
    assert ResultsFile(tmp_path / "results.csv", parts=PARTS, resume_after=5).rows == ()


def test_rows_out_of_order_and_of_other_losses_are_refused(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.csv", parts=PARTS)
    results.append(epoch_row(3))
    with pytest.raises(InputError, match="expected an epoch after 3, got 3"):
        results.append(epoch_row(3))
    with pytest.raises(InputError, match="expected the parts of the loss box, class, dfl, got box"):
        results.append(replace(epoch_row(4), losses={"box": 1.0}))
    assert len(read_results(results.path)) == 1
    with pytest.raises(InputError, match=r"parts of the loss box, object, got box, class, dfl; resume"):
        ResultsFile(results.path, parts=("box", "object"), resume_after=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns epoch, .*, got an empty file"),
        ("epoch,loss\n1,2\n", "expected the columns epoch, .*, got epoch, loss"),
        (HEADER + "\n1,2,3\n", r"results.csv:2: expected the numbers of an epoch: .*; remove the line"),
        (HEADER + "\nx" + ",1" * 11 + "\n", r"results.csv:2: expected the numbers of an epoch: invalid"),
    ],
)
def test_a_file_that_is_no_results_is_refused_and_left_alone(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        ResultsFile(path, parts=PARTS, resume_after=1)
    assert path.read_text() == text


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.csv"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"results\.csv: cannot be written: No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["results.csv"]


def test_curves_without_an_epoch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"curves\.png: expected at least one epoch to draw, got none"):
        save_curves([], tmp_path / "curves.png")


@pytest.mark.parametrize(
    "rows",
    [
        [epoch_row(1, ap50=None)],
        [epoch_row(epoch, ap50=epoch / 10 if epoch % 2 else None) for epoch in range(1, 8)],
        [replace(epoch_row(1), loss=math.nan, losses=dict.fromkeys(PARTS, math.nan)), epoch_row(2)],
    ],
    ids=["one epoch, not evaluated", "every other evaluated", "not a number"],
)
def test_curves_are_one_picture_of_four_panels(tmp_path: Path, rows: list[EpochRow]) -> None:
    picture = cv2.imread(str(save_curves(rows, tmp_path / "new" / "curves.png")))
    assert picture.shape == (840, 1320, 3)
    for panel in (picture[:420, :660], picture[:420, 660:], picture[420:, :660], picture[420:, 660:]):
        assert (panel.max(axis=2) < 80).any()  # ink of titles and axes


CARD = ModelCard(
    title="Hawk-eye n",
    summary="Finds vehicles from above.",
    detector="yolo11n",
    options={"classes": 2, "seam": True},
    labels=("car", "bus|coach"),
    parameters=2_590_035,
    canvas=(320, 640),
    start="random, seed 3",
    licence="Apache-2.0",
    intended_use="Views from drones.",
    limits=("Objects below 6 pixels.", "Night."),
    trained_on=DataFingerprint("scenes", 1200, {"car": 34_567, "bus|coach": 89}, "ab" * 32),
    validated_on=DataFingerprint("other scenes", 200, {"car": 400, "bus|coach": 7}, "cd" * 32),
    recipe={"lr": 0.01, "amp": "off", "patience": None, "augment": {"mosaic": 1.0, "flip": (0.5, 0.0)}},
    seed=3,
    versions={"tercelet": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    hardware="2 CPU threads",
    seconds=7384.0,
    epochs=40,
    best_epoch=37,
    metrics={"AP50": 0.81234, "AP large": None},
    per_class={"car": ClassPrecision(0.5, 0.75, 400, 512), "bus|coach": ClassPrecision(None, None, 0, 2)},
    files={"weights.safetensors": "the weights, fp16"},
)


@pytest.mark.parametrize(
    "line",
    [
        "# Hawk-eye n",
        "Finds vehicles from above.",
        "| detector | yolo11n (classes 2, seam yes) |",
        "| classes | 2: car, bus\\|coach |",
        "| parameters | 2,590,035 |",
        "| canvas | 640x320 pixels (width x height) |",
        "| weights before training | random, seed 3 |",
        "| licence of the weights | Apache-2.0 |",
        "* Objects below 6 pixels.",
        "On other scenes, 200 frames.",
        "| AP50 | 0.8123 |",
        "| AP large | - |",
        "| car | 0.5000 | 0.7500 | 400 | 512 |",
        "| bus\\|coach | - | - | 0 | 2 |",
        "| training | scenes | 1,200 | `" + "ab" * 32 + "` |",
        "| validation | other scenes | 200 | `" + "cd" * 32 + "` |",
        "| car | 34,567 | 400 |",
        "| all | 34,656 | 407 |",
        "| seed | 3 |",
        "| epochs | 40, these weights are those of epoch 37 |",
        "| time | 2 h 3 min |",
        "| hardware | 2 CPU threads |",
        "| torch version | 2.13.0 |",
        "| lr | 0.01 |",
        "| patience | none |",
        "| augment.mosaic | 1 |",
        "| augment.flip | 0.5, 0 |",
        "| weights.safetensors | the weights, fp16 |",
    ],
)
def test_the_card_states(line: str) -> None:
    assert line in model_card(CARD).splitlines()


def test_every_table_of_the_card_has_as_many_cells_in_each_row() -> None:
    text = model_card(CARD).replace("\\|", "")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 8
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_a_card_without_validation_options_and_limits_says_so() -> None:
    bare = replace(CARD, validated_on=None, options={}, limits=(), metrics={}, per_class={}, seconds=59.6)
    lines = model_card(bare).splitlines()
    assert "Not evaluated: there was no validation data." in lines
    assert "None were stated." in lines
    assert "| detector | yolo11n |" in lines
    assert "| time | 1 min 0 s |" in lines
    assert not any("validation |" in line for line in lines)


def test_versions_and_hardware_name_no_machine() -> None:
    assert set(library_versions()) == {"tercelet", "torch", "python"}
    assert library_versions()["torch"] == torch.__version__
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert hardware_words() == "1 CPU thread"
        torch.set_num_threads(2)
        assert hardware_words("cpu", processes=2) == "2 processes, each 2 CPU threads"
    finally:
        torch.set_num_threads(before)


def test_without_tensorboard_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        TensorBoardLog(tmp_path)


def test_tensorboard_gets_the_numbers_of_an_epoch_but_none_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []

    class Writer:
        def __init__(self, log_dir: str) -> None:
            written.append(log_dir)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            written.append("flushed")

        def close(self) -> None:
            written.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with TensorBoardLog(tmp_path) as log:
        log.add(epoch_row(1, ap50=None))
        assert written[-1] == "flushed"
        log.add(epoch_row(2))
    assert (written[0], written[-1]) == (str(tmp_path), "closed")
    assert ("loss/box", 1.5, 1) in written
    assert ("validation/AP50", 0.5, 2) in written
    assert not [item for item in written if item[0] == "validation/AP50" and item[2] == 1]


def test_the_log_of_the_real_tensorboard_is_an_event_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the optional package tensorboard is not installed")
    with TensorBoardLog(tmp_path) as log:
        log.add(epoch_row(1))
    (events,) = tmp_path.iterdir()
    assert b"validation/AP50" in events.read_bytes()
