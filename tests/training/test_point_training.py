"""Training of point detectors: what a run leaves behind, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.evaluation.synthetic.rooms import synth_rooms
from tercelet.runtime.command_line import main
from tercelet.training.checkpoint import load_checkpoint
from tercelet.training.detector_training.records.epoch_rows import read_results
from tercelet.training.detectors.imvotenet.losses import LOSS_WEIGHTS
from tercelet.training.detectors.point_layers import GATHERINGS
from tercelet.training.detectors.votenet.options import VoteNetOptions
from tercelet.training.point_training import running
from tercelet.training.point_training.augmentation import RoomAugmentation
from tercelet.training.point_training.recipe import point_recipe
from tercelet.training.point_training.train_points import TrainedPoints, train_points

POINTS = 512
OPTIONS = {"proposals": 16}
FILES = {"CARD.md", "curves.png", "manifest.json", "predictions.png", "results.csv", "weights.safetensors"}
# The backbone's channels, with a fraction of its points: a step takes a fraction of the time.
FEW_POINTS = tuple(
    replace(level, points=points, samples=4)
    for level, points in zip(GATHERINGS, (64, 48, 24, 12), strict=True)
)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rooms, in both forms."""
    folder = tmp_path_factory.mktemp("rooms") / "made"
    synth_rooms(folder, count=3, jobs=1, quiet=True)
    return folder


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VoteNetOptions, "gatherings", lambda options: FEW_POINTS)


def train(
    data: Path | list[Path], output: Path, *, detector: str = "votenet", **changes: Any
) -> TrainedPoints:
    """Two epochs of two rooms."""
    chosen: dict[str, Any] = {"recipe": recipe(), "points": POINTS, "workers": 0, "options": OPTIONS}
    return train_points(detector, data=data, output=output, **{**chosen, **changes})


def recipe(**changes: Any) -> Any:
    """Of a short training."""
    return point_recipe(**{"epochs": 2, "batch": 2, "threads": 1, **changes})


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder)[0].state_dict()


def test_a_run_from_the_command_line_leaves_everything_that_people_look_at(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    text = f"--points {POINTS} --epochs 2 --batch 2 --threads 1 --workers 0 --option proposals=16 --json -"
    assert main(["train", "votenet", "--data", str(rooms), "-o", str(output), *text.split()]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {path.name for path in output.iterdir()} == FILES
    rows = read_results(output / "results.csv")
    assert [row.epoch for row in rows] == [1, 2]
    for row in rows:
        assert tuple(row.losses) == tuple(LOSS_WEIGHTS)
        assert row.loss == pytest.approx(sum(row.losses.values()), rel=1e-5)
        assert row.ap25 is not None
        assert row.ap50 is not None
    assert said["best_epoch"] in (1, 2)
    assert said["ap25"] == pytest.approx(max(row.ap25 or 0 for row in rows), abs=1e-6)
    network, manifest = load_checkpoint(output)
    assert network.options["points"] == POINTS
    assert manifest.labels[3] == "chair"
    card = (output / "CARD.md").read_text()
    assert "mAP at IoU 0.25" in card
    assert "| chair |" in card
    assert not (tmp_path / "out.training").exists()


def test_a_training_that_is_interrupted_goes_on_bit_for_bit(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(rooms, tmp_path / "whole", recipe=recipe(epochs=3))
    interrupt_after(monkeypatch, epoch=2)
    with pytest.raises(KeyboardInterrupt):
        train(rooms, tmp_path / "parts", recipe=recipe(epochs=3))
    monkeypatch.setattr(running._PointEpochs, "batches", BATCHES)
    assert [row.epoch for row in read_results(tmp_path / "parts.training" / "results.csv")] == [1, 2]
    said: list[str] = []
    parts = train(rooms, tmp_path / "parts", recipe=recipe(epochs=3), resume=True, report=said.append)
    assert "goes on after epoch 2 of 3" in said
    for row, same in zip(parts.rows, whole.rows, strict=True):
        # The rows before the interruption are as results.csv rounds them.
        assert dict(row.losses) == pytest.approx(dict(same.losses), rel=1e-6)
    assert dict(parts.rows[-1].losses) == dict(whole.rows[-1].losses)
    first, second = weights_of(whole.output), weights_of(parts.output)
    assert all(torch.equal(first[name], second[name]) for name in first)


BATCHES = running._PointEpochs.batches


def interrupt_after(monkeypatch: pytest.MonkeyPatch, *, epoch: int) -> None:
    """As Ctrl-C in the middle of the epoch after that."""

    def batches(self: Any, number: int) -> Any:
        if number == epoch:
            raise KeyboardInterrupt
        return BATCHES(self, number)

    monkeypatch.setattr(running._PointEpochs, "batches", batches)


def test_workers_change_nothing(rooms: Path, tmp_path: Path) -> None:
    alone = train(rooms, tmp_path / "alone")
    helped = train(rooms, tmp_path / "helped", workers=2)
    first, second = weights_of(alone.output), weights_of(helped.output)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_is_where_a_second_training_begins(rooms: Path, tmp_path: Path) -> None:
    first = train(rooms, tmp_path / "first")
    said: list[str] = []
    train(rooms, tmp_path / "second", init=first.output, options=None, points=None, report=said.append)
    taken = len(weights_of(first.output))
    assert any(f"from first: {taken} tensors taken over, 0 drawn anew" in line for line in said)
    assert load_checkpoint(tmp_path / "second")[0].options["proposals"] == OPTIONS["proposals"]


def test_an_imvotenet_is_trained_on_the_same_rooms(rooms: Path, tmp_path: Path) -> None:
    trained = train(rooms, tmp_path / "out", detector="imvotenet")
    network, _ = load_checkpoint(trained.output)
    assert network.options["image_branch"] is False
    assert all(np.isfinite(row.loss) for row in trained.rows)


@pytest.mark.slow
def test_three_rooms_are_learned_by_heart(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = tuple(
        replace(level, points=points, samples=16)
        for level, points in zip(GATHERINGS, (1024, 512, 256, 128), strict=True)
    )
    monkeypatch.setattr(VoteNetOptions, "gatherings", lambda options: levels)
    trained = train(
        [rooms] * 10,
        tmp_path / "out",
        val=rooms,
        points=4096,
        options={"proposals": 64},
        augmentation=RoomAugmentation(flip=0.0, degrees=0.0, scale=(1.0, 1.0)),
        recipe=recipe(epochs=20, batch=3, lr=3e-3, validate_every=20, threads=2),
    )
    # Rooms that nothing but memory can tell: a network that learned nothing is near 0.
    assert trained.ap25 > 0.8
    assert trained.ap50 > 0.5


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_state(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(monkeypatch, epoch=1)
    with pytest.raises(KeyboardInterrupt):
        train(rooms, tmp_path / "out", recipe=recipe(epochs=3))
    monkeypatch.setattr(running._PointEpochs, "batches", BATCHES)
    with pytest.raises(CheckFailedError, match="no finite numbers any more.*lower lr"):
        train(rooms, tmp_path / "out", recipe=recipe(epochs=3, lr=1e30, warmup_epochs=0.0), resume=True)
    assert (tmp_path / "out.training" / "state.json").is_file()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--mosaic 1", "--mosaic: votenet has no use for it"),
        ("--size 640", "--size: votenet has no use for it"),
        ("--windows 1", "--windows: votenet has no use for it"),
        ("--sigma 3", "--sigma: votenet has no use for it"),
        ("--freeze 2", "--freeze: votenet has no use for it"),
        ("--points 0", "points: expected"),
        ("--points 9 --option points=8", "points: expected once"),
        ("--epochs 0", "epochs: expected at least 1"),
    ],
)
def test_options_that_clouds_have_no_use_for_are_refused_by_name(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    output = str(tmp_path / "out")
    assert main(["train", "votenet", "--data", str(rooms), "-o", output, *option.split()]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_points_are_refused_for_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "yolo11n", "--data", "x", "-o", str(tmp_path / "out"), "--points", "9"]) == 2
    assert "--points: yolo11n has no use for it" in capsys.readouterr().err


@pytest.fixture
def broken(rooms: Path, tmp_path: Path) -> Path:
    """A copy of VoteNet's form of the rooms, to be spoilt."""
    return Path(shutil.copytree(rooms / "sunrgbd_pc_bbox_votes", tmp_path / "broken"))


def test_rooms_without_boxes_are_refused_by_name(broken: Path, tmp_path: Path) -> None:
    (broken / "000001_bbox.npy").unlink()
    with pytest.raises(InputError, match=r"000001_bbox\.npy"):
        train(broken, tmp_path / "out")


def test_a_class_out_of_range_is_refused_by_name(broken: Path, tmp_path: Path) -> None:
    boxes = np.load(broken / "000001_bbox.npy")
    boxes[0, 7] = 10
    np.save(broken / "000001_bbox.npy", boxes)
    with pytest.raises(InputError, match=r"000001_bbox\.npy: expected classes 0 to 9"):
        train(broken, tmp_path / "out")


@pytest.mark.parametrize("workers", [0, 1])
def test_votes_of_another_length_are_refused_by_name(broken: Path, tmp_path: Path, workers: int) -> None:
    np.savez(broken / "000001_votes.npz", point_votes=np.zeros((7, 10), np.float32))
    with pytest.raises(InputError, match=r"000001_votes\.npz: expected votes of the 20000 points.*got 7"):
        train(broken, tmp_path / "out", workers=workers)


def test_clouds_alone_are_refused_for_a_detector_that_looks_at_pictures(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="room 000000: expected its picture and its calibration and 2D boxes"
    ):
        train(broken, tmp_path / "out", detector="imvotenet")


def test_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing there"):
        train(tmp_path / "none", tmp_path / "out")
