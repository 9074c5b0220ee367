"""The demo: the package's own weights on scenes that it draws, and never over somebody's files."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import lively_detector
from stand_in_weights import CANVASES, CLASSES, LABELS

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.scenes import synthetic_frame
from tercelet.evaluation.synthetic import SyntheticResult
from tercelet.export import demo
from tercelet.export.demonstration import demonstrating, packaged_demo
from tercelet.export.demonstration.demo_folder import times_of, written_since
from tercelet.export.demonstration.demo_scenes import DemoScenes, write_flight
from tercelet.export.demonstration.packaged_weights import PackagedWeights, packaged_weights
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import VideoReader, write_image
from tercelet.training import write_checkpoint

SCENES = [f"aerial_{seed:08d}.jpg" for seed in (40000, 40001, 40002)]
FLIGHT_FRAMES = 12


@pytest.fixture(scope="module")
def shown(weights: PackagedWeights, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a quick demo of the stand-ins, and its figures."""
    folder = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstrating, "packaged_weights", lambda: weights)
        patch.chdir(folder)
        assert main(["demo", "--quick", "--json", "figures.json"]) == 0
    return folder / "demo", json.loads((folder / "figures.json").read_text())


def test_a_package_without_its_weights_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = PackagedWeights(*(tmp_path / name for name in ("detector", "density", "bundle")))
    monkeypatch.setattr(demonstrating, "packaged_weights", lambda: nowhere)
    assert main(["demo", "-o", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert "this copy came without them" in said
    assert "tercelet demo --weights FILE --detector NAME" in said
    assert list(tmp_path.iterdir()) == []


def test_the_finished_bundle_without_the_checkpoints_is_not_exported_anew(
    weights: PackagedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrating, "packaged_weights", lambda: replace(weights, density=tmp_path / "no"))
    with pytest.raises(MissingDependencyError, match="no: expected the weights of the demo"):
        demo(output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_weights_lie_inside_the_packages() -> None:
    found = packaged_weights()
    assert found.detector.parts[-4:] == ("tercelet", "training", "demo_weights", "detector")
    assert found.density.parts[-4:] == ("tercelet", "training", "demo_weights", "density")
    assert found.bundle.parts[-3:] == ("tercelet", "runtime", "demo_bundle")
    assert (found.bundle.parent / "opening.py").is_file()


def test_a_demo_draws_scenes_exports_and_shows_both_plans(shown: tuple[Path, dict[str, Any]]) -> None:
    folder, figures = shown
    assert sorted(path.name for path in (folder / "scenes-3" / "images").iterdir()) == SCENES
    assert figures["exported"] is True
    assert figures["missing"] == []
    named = [Path(path).relative_to("demo/pictures").as_posix() for path in figures["pictures"]]
    assert named == [f"{plan}/{name}" for plan in ("full", "canvas") for name in (*SCENES, "flight.mp4")]
    assert all((folder.parent / path).is_file() for path in figures["pictures"])
    for plan in ("full", "canvas"):
        assert len((folder / f"scenes-{plan}.jsonl").read_text().splitlines()) == len(SCENES)
        assert len((folder / f"flight-{plan}.jsonl").read_text().splitlines()) == FLIGHT_FRAMES


def test_the_exported_bundle_is_made_as_the_finished_one_and_finds_the_same(
    shown: tuple[Path, dict[str, Any]], weights: PackagedWeights
) -> None:
    folder, figures = shown
    finished, fresh = read_manifest(weights.bundle), read_manifest(folder / "bundle")
    assert fresh.aerial == finished.aerial
    assert (fresh.network, fresh.preprocess, fresh.labels) == (
        finished.network, finished.preprocess, finished.labels,
    )  # fmt: skip
    assert fresh.stored == finished.stored == "fp16"
    assert figures["comparison"]["agrees"] is True
    assert figures["comparison"]["matched"] > 0
    assert figures["parity"]["missing"] == 0
    assert figures["density_parity"]["cells_max"] <= figures["density_parity"]["gate"]


def test_a_demo_measures_both_plans_by_the_class_map_of_the_weights(
    shown: tuple[Path, dict[str, Any]],
) -> None:
    figures = shown[1]
    assert list(figures["plans"]) == list(figures["evaluation"]["plans"]) == ["full", "canvas"]
    assert figures["evaluation"]["frames"] == len(SCENES)
    assert figures["evaluation"]["class_mapping"]["by_name"] is False
    assert set(figures["evaluation"]["plans"]["canvas"]["per_class"]) == set(CLASSES)
    inferences = []
    for plan in ("full", "canvas"):
        (times,) = figures["plans"][plan]["benchmark"]["bundles"]
        assert times["plan"] == plan
        assert times["total_ms"]["p50"] > 0
        inferences.append(times["inferences_per_frame"])
        assert figures["plans"][plan]["flight"]["frames"] == FLIGHT_FRAMES
    assert inferences[0] == 1
    assert 1 < inferences[1] <= 1 + CANVASES
    assert set(figures["stages_s"]) == {"scenes", "bundle", "run", "evaluate", "benchmark"}


def test_a_bundle_that_does_not_find_what_the_finished_one_finds_ends_the_demo(
    weights: PackagedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(weights.detector)
    other = lively_detector("yolov5n", seed=1, classes=len(LABELS))
    write_checkpoint(tmp_path / "other", other, labels=LABELS, provenance=manifest.provenance, stored="fp16")
    monkeypatch.setattr(packaged_demo, "make_scenes", _one_small_scene)
    monkeypatch.setattr(
        demonstrating, "packaged_weights", lambda: replace(weights, detector=tmp_path / "other")
    )
    with pytest.raises(CheckFailedError, match="does not find what the finished bundle"):
        demo(output=tmp_path / "out")


def _one_small_scene(output: Path, *, quick: bool) -> DemoScenes:
    output.mkdir()
    picture = output / "scene.png"
    write_image(picture, synthetic_frame(0, height=96, width=160))
    truth = SyntheticResult(output, "default", 0, 1, 160, 96, {}, None, 0.0)
    return DemoScenes(truth, (picture,), picture, 1, (96, 160))


def test_a_flight_glides_over_one_scene(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight.mp4", frames=3)
    video = VideoReader(str(tmp_path / "flight.mp4"), live=False)
    frames = []
    while (item := video.read()) is not None:
        frames.append(item[1])
    video.close()
    assert [frame.shape for frame in frames] == [(720, 1280, 3)] * 3
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in pairwise(frames))


def test_only_files_written_since_are_named(tmp_path: Path) -> None:
    assert times_of(tmp_path / "nothing") == {}
    (tmp_path / "old").write_text("1")
    before = times_of(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "new").write_text("1")
    assert written_since(before, tmp_path) == (tmp_path / "folder" / "new",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "nowhere.pt"}, "expected weights and detector together"),
        ({"detector": "yolov5n"}, "expected weights and detector together"),
        ({"weights": "nowhere.pt", "detector": "yolov5n"}, "nowhere.pt: expected a file with weights"),
        ({"images": ["bus.jpg"]}, "images: expected together with weights and detector"),
        ({"data": "coco8"}, "data: expected together with weights and detector"),
        ({"json": ""}, "expected a file name, or - for stdout"),
    ],
)
def test_a_demo_that_cannot_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        demo(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_earlier_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="already exists and is no earlier demo's"):
        demo(output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
