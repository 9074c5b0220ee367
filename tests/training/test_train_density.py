"""Training of density networks: the truth they learn, and a run that learns."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import write_image
from tercelet.training import load_checkpoint, train_density
from tercelet.training.density_training.frames import LabelledFrame
from tercelet.training.density_training.loss import density_loss
from tercelet.training.density_training.truth import density_from_centres, weights_without
from tercelet.training.density_training.views import random_view, whole_view

NOTHING = np.zeros((0, 4))
SIDE = 96


def write_frames(folder: Path, count: int) -> Path:
    """A VisDrone folder: bright squares on a dark ground, three to nine a frame, one region of the last frame
    ignored."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(count):
        picture = generator.integers(30, 60, (SIDE, SIDE, 3), dtype=np.uint8)
        lines = []
        for _ in range(3 + number % 7):
            x, y = generator.integers(0, SIDE - 8, 2)
            picture[y : y + 8, x : x + 8] = 230
            lines.append(f"{x},{y},8,8,1,4,0,0")
        if number == count - 1:
            lines.append("0,0,20,20,0,0,0,0")
        write_image(folder / "images" / f"{number:03}.png", picture)
        (folder / "annotations" / f"{number:03}.txt").write_text("\r\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("frames") / "made", 24)


def test_a_frame_without_objects_has_an_empty_truth() -> None:
    empty = density_from_centres(np.zeros((0, 2)), rows=3, columns=5, cell=4, sigma=2.0)
    assert empty.shape == (3, 5)
    assert not empty.any()


@pytest.mark.parametrize(("cell", "sigma"), [(4, 0.1), (4, 6.0), (8, 6.0), (8, 500.0)])
def test_the_truth_sums_to_the_number_of_objects_also_at_the_borders(cell: int, sigma: float) -> None:
    centres = np.array([[0.0, 0.0], [95.99, 63.99], [40.0, 30.0], [40.0, 30.0], [96.0, 0.0]])
    truth = density_from_centres(centres, rows=64 // cell, columns=96 // cell, cell=cell, sigma=sigma)
    assert float(truth.sum()) == pytest.approx(len(centres), rel=1e-5)
    assert float(truth.min()) >= 0


def test_the_truth_is_highest_where_the_object_is() -> None:
    truth = density_from_centres(np.array([[41.0, 26.0]]), rows=16, columns=24, cell=4, sigma=5.0)
    assert np.unravel_index(truth.argmax(), truth.shape) == (6, 10)
    sharp = density_from_centres(np.array([[41.0, 26.0]]), rows=16, columns=24, cell=4, sigma=1e-3)
    assert sharp[6, 10] == pytest.approx(1)


def test_ignored_parts_weigh_nothing() -> None:
    weights = weights_without(np.array([[-9.0, 8.0, 8.0, 100.0]]), rows=4, columns=5, cell=4)
    assert weights[2:, :2].sum() == 0
    assert weights.sum() == 4 * 5 - 4


def test_the_loss_is_least_at_the_truth_and_pulls_negative_densities_up() -> None:
    truth = torch.tensor([[[0.0, 0.3, 2.0]]])
    weights = torch.ones_like(truth)
    least = density_loss(truth, truth, weights)
    for change in (-3.0, -0.1, 0.1, 3.0):
        for place in range(3):
            moved = truth.clone()
            moved[0, 0, place] += change
            assert density_loss(moved, truth, weights) > least
    moved = truth - 5
    assert density_loss(moved, truth, torch.zeros_like(truth)) == 0
    moved.requires_grad_()
    density_loss(moved, truth, weights).backward()  # type: ignore[no-untyped-call]
    assert moved.grad is not None
    assert bool((moved.grad < 0).all())


def test_objects_stay_on_their_pixels_in_every_view() -> None:
    pixels = np.zeros((150, 250, 3), np.uint8)
    centres = np.array([[30.5, 40.5], [200.5, 100.5], [120.5, 75.5]])
    for x, y in centres.astype(int):
        pixels[y - 4 : y + 5, x - 4 : x + 5] = 255
    frame = LabelledFrame(Path("f"), centres, np.array([[100.0, 50.0, 140.0, 90.0]]))
    generator = np.random.default_rng(3)
    views = [whole_view(pixels, frame, height=64, width=96)]
    views += [random_view(pixels, frame, height=64, width=96, generator=generator) for _ in range(40)]
    assert len(views[0].centres) == 3
    seen = 0
    for view in views:
        assert view.canvas.shape == (64, 96, 3)
        for x, y in view.centres:
            assert 0 <= x < 96
            assert 0 <= y < 64
            assert view.canvas[int(y), int(x)].min() > 90
            seen += 1
    assert 60 < seen < 123


def test_a_short_run_learns_to_count_and_writes_what_it_did(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "c"
    told = ["--epochs", "14", "--size", "96", "--batch", "6", "--lr", "5e-3", "--licence", "Apache-2.0"]
    assert (
        main(["train", "density-lite", "--data", str(frames), "-o", str(output), *told, "--json", "-"]) == 0
    )
    shown = capsys.readouterr()
    assert "epoch 14/14: loss " in shown.err
    report = json.loads(shown.out)
    first, best = report["epochs"][0], report["best"]
    assert best["count_error"] < 0.5 * first["count_error"]
    assert best["count_error"] < 0.35 * best["objects"]
    assert best["coverage"] > 0.5
    rows = list(csv.DictReader((output / "results.csv").open()))
    assert [row["epoch"] for row in rows] == [str(number) for number in range(1, 15)]
    network, manifest = load_checkpoint(output)
    assert network.detector == "density-lite"
    assert (manifest.preprocess.height, manifest.preprocess.width) == (96, 96)
    facts = manifest.provenance
    assert (facts.source, facts.format, facts.licence) == ("made (21 frames)", "trained", "Apache-2.0")
    assert facts.producer is not None
    assert (
        f"epoch {best['epoch']} of 14: canvas 96x96, batch 6, lr 0.005, sigma 6 px, seed 0" in facts.producer
    )


def short(frames: Path, output: Path, **options: Any) -> Path:
    """Train for two epochs at a small size."""
    given: dict[str, Any] = {"epochs": 2, "size": (48, 96), "batch": 8, **options}
    return train_density(given.pop("detector", "density-lite"), data=frames, output=output, **given).output


def test_the_same_seed_gives_the_same_weights_and_another_one_others(frames: Path, tmp_path: Path) -> None:
    first, again, other = (
        read_manifest(short(frames, tmp_path / name, seed=seed)).files["weights.safetensors"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other


def test_training_goes_on_from_a_checkpoint_and_from_a_weight_file(frames: Path, tmp_path: Path) -> None:
    start = short(frames, tmp_path / "start", detector="mcnn")
    on = short(frames, tmp_path / "on", detector="mcnn", init=start, size=None, epochs=1, val=frames)
    assert read_manifest(on).preprocess.width == 96
    assert "from start" in str(read_manifest(on).provenance.producer)
    assert read_manifest(on).provenance.source == "made (24 frames)"
    file = start / "weights.safetensors"
    again = short(frames, tmp_path / "again", detector="mcnn", init=file, epochs=1)
    assert "from weights.safetensors" in str(read_manifest(again).provenance.producer)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"detector": "yolov5n"},
            r"yolov5n: expected a density network \(mcnn, density-lite\)",
        ),
        ({"detector": "density-light"}, "unknown detector 'density-light': did you mean density-lite"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch": 0}, "batch: expected at least 1, got 0"),
        ({"lr": 0.0}, "lr: expected a number above 0, got 0.0"),
        ({"lr": float("nan")}, "lr: expected a number above 0, got nan"),
        ({"sigma": -1.0}, "sigma: expected a number above 0"),
        ({"device": "tpu"}, "device: expected cpu or cuda, got 'tpu'"),
        ({"size": (50, 96)}, "density-lite: expected .* multiples of 16, got 50x96"),
        ({"init": "nowhere"}, "nowhere: expected a weight file, got nothing"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_anything_is_written(
    options: dict[str, Any], match: str, frames: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=match):
        short(frames, tmp_path / "c", **options)
    assert not list(tmp_path.iterdir())


def test_one_frame_is_not_enough_and_other_checkpoints_are_no_start(frames: Path, tmp_path: Path) -> None:
    one = write_frames(tmp_path / "one", 1)
    with pytest.raises(InputError, match="expected at least 2 frames, one of them to validate on, got 1"):
        short(one, tmp_path / "c")
    start = short(frames, tmp_path / "start", epochs=1)
    with pytest.raises(InputError, match="expected a checkpoint of mcnn, got one of density-lite"):
        short(frames, tmp_path / "c", detector="mcnn", init=start)
