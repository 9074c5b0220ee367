"""Training of detectors: a run that learns, what it leaves behind, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from square_frames import CLASSES, write_squares

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.evaluation import synth_aerial
from tercelet.export.demonstration.packaged_weights import packaged_weights
from tercelet.runtime.command_line import main
from tercelet.training import build, load_checkpoint, train_detector, write_checkpoint
from tercelet.training.detector_training.data import open_training_data
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.records.epoch_rows import read_results
from tercelet.training.detector_training.samples import Augmentation, Windows, validation_views
from tercelet.training.detector_training.validating import validate

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
    assert "yolo11n: all weights drawn anew" in lines
    assert lines[1].endswith(", 2 frames, 5 boxes")


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


def test_bf16_arithmetic_gives_nearly_the_same_losses_and_the_weights_stay_float32(
    squares: Path, tmp_path: Path
) -> None:
    whole = train(squares, tmp_path / "whole", recipe=recipe(epochs=1))
    half = train(squares, tmp_path / "half", recipe=recipe(epochs=1, amp="bf16"))
    losses = [run.rows[0].losses["cls"] for run in (whole, half)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    detector, _ = load_checkpoint(half.output)
    assert {value.dtype for value in detector.parameters()} == {torch.float32}


def test_weights_stored_in_half_precision_are_those_that_were_judged(squares: Path, tmp_path: Path) -> None:
    longer = recipe(epochs=12, batch=8, nominal_batch=8, ema_ramp=5)
    trained = train(squares, tmp_path / "half", stored="fp16", val=squares, recipe=longer)
    whole = train(squares, tmp_path / "whole")
    sizes = [(run.output / "weights.safetensors").stat().st_size for run in (trained, whole)]
    assert sizes[0] < 0.55 * sizes[1]
    detector, manifest = load_checkpoint(trained.output)
    assert manifest.stored == "fp16"
    opened = open_training_data(squares, val=squares, class_map=CLASSES)
    views = validation_views(opened.validation, canvas=(SIZE, SIZE), classes=opened.validation_mapping)
    judged = validate(detector, views, labels=opened.labels, batch=8, device=torch.device("cpu"))
    assert judged.ap == trained.ap
    assert judged.result.ground_truth == trained.objects


def test_without_validation_frames_of_its_own_a_flat_yolo_folder_holds_some_back(tmp_path: Path) -> None:
    visdrone = write_squares(tmp_path / "squares", 9)
    yolo = tmp_path / "yolo"
    (yolo / "labels").mkdir(parents=True)
    shutil.copytree(visdrone / "images", yolo / "images")
    (yolo / "classes.txt").write_text("square\n")
    for picture in (yolo / "images").iterdir():
        (yolo / "labels" / f"{picture.stem}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    flat = open_training_data(yolo)
    assert (flat.frames, len(flat.validation.images)) == (8, 1)
    (yolo / "data.yaml").write_text("names: [square]\ntrain: images\nval: images/vall\n")
    with pytest.raises(InputError, match="val of its data.yaml is images/vall"):
        open_training_data(yolo)


def test_several_data_sets_need_frames_of_their_own_to_validate_on(squares: Path) -> None:
    with pytest.raises(InputError, match="expected val with 2 data sets"):
        open_training_data([squares, squares])


def test_patience_shorter_than_the_wait_for_a_validation_waits_for_it(squares: Path, tmp_path: Path) -> None:
    trained = train(squares, tmp_path / "out", recipe=recipe(epochs=5, lr=0.0, patience=1, validate_every=2))
    assert trained.best_epoch in (2, 4, 5)


def test_a_training_that_began_from_other_weights_does_not_go_on(squares: Path, tmp_path: Path) -> None:
    source = train(squares, tmp_path / "source", recipe=recipe(epochs=1)).output

    class Interrupted(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise Interrupted

    with pytest.raises(Interrupted):
        train(squares, tmp_path / "out", init=source, report=stop)
    with pytest.raises(InputError, match="began from other weights; give the same --init"):
        train(squares, tmp_path / "out", resume=True)
    lines: list[str] = []
    train(
        squares,
        tmp_path / "out",
        init=source,
        resume=True,
        recipe=recipe(epochs=3, lr=1e-3),
        report=lines.append,
    )
    assert "from here on with another epochs, lr than before" in lines


def test_the_data_can_be_looked_at_alone_and_everything_wrong_is_listed(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "yolo11n", "--data", str(squares), "-o", str(tmp_path / "out"), "--check"]
    assert main(arguments) == 0
    assert "14 frames to train on" in capsys.readouterr().out
    broken = shutil.copytree(squares, tmp_path / "broken")
    (broken / "annotations" / "001.txt").write_text("1,2,3,4,1,99,0,0\n")
    (broken / "images" / "002.png").write_bytes(b"")
    arguments[3] = str(broken)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "001.txt" in said
    assert "002.png" in said
    assert not (tmp_path / "out").exists()


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
    with pytest.raises(
        CheckFailedError,
        match="no finite numbers any more; look at the data",
    ):
        train(
            squares,
            tmp_path / "out",
            recipe=recipe(epochs=20, optimizer="sgd", lr=1e18, clip_norm=0.0),
        )
    assert not (tmp_path / "out").exists()


def test_a_run_ends_early_when_nothing_gets_better(tmp_path: Path) -> None:
    detector = packaged_weights().detector
    scenes = synth_aerial(tmp_path / "scenes", count=4, size=(320, 320), quiet=True).output
    lines: list[str] = []
    trained = train(
        scenes,
        tmp_path / "out",
        val=scenes,
        init=detector,
        class_map=detector / "class_map.json",
        recipe=recipe(epochs=9, lr=0.0, patience=2, height=320, width=320),
        report=lines.append,
    )
    assert trained.ap > 0.1
    assert len(trained.rows) == trained.best_epoch + 2 < 9
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
    with pytest.raises(InputError, match="momentum was 0.937 when it began, got 0.5"):
        train(squares, output, resume=True, recipe=recipe(momentum=0.5))
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
        ({"detector": "votenet"}, "expected a detector of pictures, got one of clouds of points"),
        ({"detector": "yolo11"}, "did you mean"),
        ({"device": "tpu"}, "device: expected cpu or cuda"),
        ({"workers": -1}, "workers: expected 0 or more"),
        ({"class_map": {"yellow": "horse"}}, "expected categories of the data set"),
        ({"class_map": {"a": "car", "b": "car"}}, "expected categories of its own for each label"),
        ({"val": "nowhere"}, "nowhere: expected a data set, got nothing there"),
        ({"init": "nowhere.pt"}, "nowhere.pt"),
        ({"stored": "int8"}, "stored: expected one of fp32, fp16"),
        ({"recipe": recipe(amp="fp16")}, "amp: expected off or bf16 on a CPU"),
        ({"recipe": recipe(freeze=24)}, "freeze: expected at most 23 of 24 layers"),
        ({"class_map": {"truck": "truck"}}, "expected at least one object of truck to train on, got none"),
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
