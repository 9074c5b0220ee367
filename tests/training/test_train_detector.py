"""Training of detectors: a run that learns, what it leaves behind, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from square_frames import CLASSES, write_squares

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.runtime.command_line import main
from tercelet.training import build, load_checkpoint, train_detector, write_checkpoint
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.records.epoch_rows import read_results
from tercelet.training.detector_training.samples import Augmentation, Windows

SIZE = 64
EPOCHS = 90
FILES = {
    "CARD.md",
    "class_map.json",
    "confusion.json",
    "confusion.png",
    "curves.png",
    "f1.png",
    "manifest.json",
    "precision_recall.json",
    "precision_recall.png",
    "predictions.png",
    "results.csv",
    "samples.png",
    "weights.safetensors",
}


def recipe(**changes: Any) -> Recipe:
    """A short training on small canvases."""
    chosen = {
        "epochs": 2,
        "batch": 4,
        "height": SIZE,
        "width": SIZE,
        "nominal_batch": 4,
        "optimizer": "adamw",
        "lr": 2e-3,
        "warmup_epochs": 0.0,
        "close_mosaic": 1,
        **changes,
    }
    return Recipe(**chosen)


def train(data: Path, output: Path, **changes: Any) -> Any:
    """Train yolo11n on the squares."""
    chosen = {"recipe": recipe(), "class_map": CLASSES, "workers": 0, **changes}
    return train_detector(chosen.pop("detector", "yolo11n"), data=data, output=output, **chosen)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares") / "made", 16)


def test_a_run_from_the_command_line_learns_and_leaves_everything_that_people_look_at(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, classes = tmp_path / "out", tmp_path / "classes.json"
    classes.write_text(json.dumps(CLASSES))
    options = (
        f"--epochs {EPOCHS} --size {SIZE} --batch 8 --nominal-batch 8 --optimizer adamw --lr 0.004 "
        "--schedule cosine --warmup 5 --mosaic 0 --scale 0.1 --hsv 0,0.1,0.1 --ema-ramp 20 --ema-decay 0.98 "
        "--workers 0 --cache ram --validate-every 30 --licence Apache-2.0 --json -"
    )
    arguments = [
        "--data",
        str(squares),
        "--val",
        str(squares),
        "--class-map",
        str(classes),
        "-o",
        str(output),
    ]
    arguments += options.split()
    assert main(["train", "yolov8n", *arguments]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert record["ap50"] > 0.5
    assert len(record["rows"]) == EPOCHS
    assert f"epoch {EPOCHS}/{EPOCHS}" in captured.err
    assert {path.name for path in output.iterdir()} == FILES
    assert not output.with_name("out.training").exists()
    assert [row.epoch for row in read_results(output / "results.csv") if row.ap is not None] == [30, 60, 90]
    manifest = read_manifest(output)
    assert manifest.labels == ("yellow", "blue")
    assert (manifest.preprocess.height, manifest.preprocess.width) == (SIZE, SIZE)
    assert manifest.provenance.licence == "Apache-2.0"
    card = (output / "CARD.md").read_text()
    assert manifest.provenance.sha256 in card
    assert f"{record['ap50']:.4f}" in card
    # The figures are those of the file: judged again by the verb on whole frames, they come out the same.
    assert (
        main(["evaluate", str(output), str(squares), "--class-map", str(classes), "--json", "-", "--quiet"])
        == 0
    )
    again = json.loads(capsys.readouterr().out)
    assert again["ap50"] == pytest.approx(record["ap50"], abs=0.05)


def test_without_data_to_validate_on_every_eighth_frame_is_held_back(squares: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    trained = train(squares, tmp_path / "out", report=lines.append)
    card = (trained.output / "CARD.md").read_text()
    assert "14 frames" in card
    assert lines[0] == "yolo11n: all weights drawn anew"


def test_the_same_arguments_give_the_same_weights_whatever_prepares_the_samples(
    squares: Path, tmp_path: Path
) -> None:
    first = train(squares, tmp_path / "a", windows=Windows(share=0.5, scale=(0.5, 2.0), per_frame=2))
    second = train(
        squares,
        tmp_path / "b",
        windows=Windows(share=0.5, scale=(0.5, 2.0), per_frame=2),
        workers=2,
        cache="ram",
    )
    other = train(squares, tmp_path / "c", recipe=recipe(seed=1))
    weights = [(run.output / "weights.safetensors").read_bytes() for run in (first, second, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("detector", ["yolov5n", "yolov5n-akconv"])
def test_anchor_based_detectors_train_and_their_loss_falls(
    squares: Path, tmp_path: Path, detector: str
) -> None:
    trained = train(
        squares,
        tmp_path / "out",
        detector=detector,
        recipe=recipe(epochs=6, offset_lr=0.1),
        augmentation=Augmentation.none(),
    )
    assert trained.rows[-1].loss < trained.rows[0].loss
    assert list(trained.rows[0].losses) == ["box", "obj", "cls"]


def test_a_multiseam_head_trains_at_its_smallest_size(squares: Path, tmp_path: Path) -> None:
    trained = train(
        squares,
        tmp_path / "out",
        detector="yolo11n-multiseam",
        recipe=recipe(epochs=1, height=224, width=224),
    )
    assert np.isfinite(trained.rows[0].loss)
    with pytest.raises(InputError, match="expected at least 224 pixels per side, got 64x64"):
        train(squares, tmp_path / "small", detector="yolo11n-multiseam")


def test_bf16_arithmetic_learns_too_and_the_weights_stay_float32(squares: Path, tmp_path: Path) -> None:
    trained = train(squares, tmp_path / "out", recipe=recipe(epochs=4, amp="bf16"))
    assert trained.rows[-1].loss < trained.rows[0].loss
    detector, _ = load_checkpoint(trained.output)
    assert {value.dtype for value in detector.parameters()} == {torch.float32}


def test_weights_stored_in_half_precision_are_those_that_were_judged(squares: Path, tmp_path: Path) -> None:
    trained = train(squares, tmp_path / "half", stored="fp16")
    whole = train(squares, tmp_path / "whole")
    sizes = [(run.output / "weights.safetensors").stat().st_size for run in (trained, whole)]
    assert sizes[0] < 0.55 * sizes[1]


def test_a_fine_tuning_takes_over_what_fits_names_the_rest_and_leaves_frozen_layers_alone(
    squares: Path, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    source = build("yolov5n", classes=7).eval()
    from tercelet.contract.manifest import Provenance

    write_checkpoint(
        tmp_path / "source",
        source,
        labels=[str(number) for number in range(7)],
        provenance=Provenance(source="made here", sha256="0" * 64, format="none"),
    )
    lines: list[str] = []
    trained = train(
        squares,
        tmp_path / "out",
        detector="yolov5n",
        init=tmp_path / "source",
        recipe=recipe(freeze=10),
        report=lines.append,
    )
    line = next(text for text in lines if "taken over" in text)
    assert line.endswith("6 drawn anew: model.24.m.0, model.24.m.1, model.24.m.2")
    detector, _ = load_checkpoint(trained.output)
    before, after = source.state_dict(), detector.state_dict()
    moved = {name for name in before if before[name].shape == after[name].shape}
    moved = {name for name in moved if not torch.equal(before[name], after[name])}
    assert not any(int(name.split(".")[1]) < 10 for name in moved)
    assert "model.17.cv1.conv.weight" in moved
    with pytest.raises(InputError, match="expected a checkpoint of yolo11n, got one of yolov5n"):
        train(squares, tmp_path / "wrong", init=tmp_path / "source")


def test_a_diverging_run_ends_with_advice_and_keeps_what_was_reached(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="the loss is no finite number any more; lower lr"):
        train(
            squares,
            tmp_path / "out",
            recipe=recipe(epochs=20, optimizer="sgd", lr=1e18, clip_norm=0.0),
        )
    assert not (tmp_path / "out").exists()


def test_a_run_ends_early_when_nothing_gets_better(squares: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    trained = train(
        squares, tmp_path / "out", recipe=recipe(epochs=9, lr=0.0, patience=2), report=lines.append
    )
    assert len(trained.rows) == 3
    assert trained.best_epoch == 1
    assert any("no better AP for 2 epochs" in line for line in lines)


def test_an_interrupted_run_is_neither_overwritten_nor_mixed_up(squares: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(InputError, match="expected the state of an interrupted training there, got none"):
        train(squares, output, resume=True)

    class Interrupted(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise Interrupted

    with pytest.raises(Interrupted):
        train(squares, output, report=stop)
    with pytest.raises(InputError, match="an interrupted training lies there"):
        train(squares, output)
    with pytest.raises(InputError, match="lr was 0.002 when it began, got 0.1"):
        train(squares, output, resume=True, recipe=recipe(lr=0.1))
    with pytest.raises(InputError, match="is a training of yolo11n, got yolov8n"):
        train(squares, output, resume=True, detector="yolov8n")
    with pytest.raises(InputError, match="trained on other data"):
        train(write_squares(tmp_path / "others", 16, seed=9), output, resume=True)
    state = next(output.with_name("out.training").glob("state-*.safetensors"))
    whole = state.read_bytes()
    state.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged or missing"):
        train(squares, output, resume=True)
    state.write_bytes(whole)
    assert len(train(squares, output, resume=True).rows) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "density-lite"}, "expected a detector, got a density network"),
        ({"detector": "yolo11"}, "did you mean"),
        ({"device": "tpu"}, "device: expected cpu or cuda"),
        ({"workers": -1}, "workers: expected 0 or more"),
        ({"class_map": {"yellow": "horse"}}, "expected categories of the data set"),
        ({"class_map": {"a": "car", "b": "car"}}, "expected categories of its own for each label"),
        ({"val": "nowhere"}, "nowhere: expected a data set, got nothing there"),
        ({"init": "nowhere.pt"}, "nowhere.pt"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_anything_is_written(
    squares: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(squares, tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"lr": -1.0}, "lr: expected a number of 0 or more"),
        ({"lr": float("nan")}, "lr: expected a number of 0 or more"),
        ({"optimizer": "lion"}, "optimizer: expected one of auto, sgd, adamw"),
        ({"amp": "int8"}, "amp: expected one of off, bf16, fp16"),
        ({"patience": 0}, "patience: expected at least 1"),
    ],
)
def test_a_recipe_refuses_what_it_cannot_mean(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sigma", "3"], "--sigma: yolo11n has no use for it"),
        (["--window-scale", "1,2"], "--window-scale: expected --windows SHARE with it"),
        (["--hsv", "1"], "--hsv: expected hue, saturation and value"),
        (["--windows", "1", "--window-scale", "a,b"], "--window-scale: expected lowest and highest scale"),
    ],
)
def test_options_that_make_no_sense_are_named(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    arguments = ["train", "yolo11n", "--data", str(squares), "-o", str(tmp_path / "out"), *options]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_detector_options_are_refused_for_density_networks(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train",
        "density-lite",
        "--data",
        str(squares),
        "-o",
        str(tmp_path / "out"),
        "--mosaic",
        "1",
    ]
    assert main(arguments) == 2
    assert "--mosaic: density-lite has no use for it" in capsys.readouterr().err
