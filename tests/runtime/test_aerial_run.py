"""The verbs with a plan: results, lines, pictures, and what inspect says of the bundles."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blob_detector import blob_pipeline, frame_with

from tercelet.contract.manifest import Provenance
from tercelet.contract.plan import AerialReport, Plan
from tercelet.contract.scenes import synthetic_frame
from tercelet.export import bundle_aerial, export
from tercelet.runtime import inspect, open_pipeline
from tercelet.runtime.command_line import main
from tercelet.runtime.inspection_table import table_from_inspection
from tercelet.runtime.pipelines.density_crops import DensityCropsPipeline
from tercelet.runtime.plan_text import text_from_plan
from tercelet.runtime.planning.grid import plan_grid
from tercelet.runtime.run_console import RunConsole, line_from_frame, line_from_summary
from tercelet.runtime.running import RunSummary, run
from tercelet.runtime.sources import Frame
from tercelet.runtime.vision import read_image, write_image
from tercelet.training import build, write_checkpoint

STAGES = ["read", "preprocess", "density", "infer", "plan", "cut", "postprocess"]
# Between a canvas alone and in a batch, in pixels: float32, summed in another order.
BATCH_PX = 0.02
FEW = ("--score", "0.3", "--threads", "1", "--no-check")


@pytest.fixture(scope="module")
def batched_bundle(tiny_checkpoint: Path) -> Path:
    """The tiny detector for any number of canvases up to 4 in one run."""
    return export(tiny_checkpoint, output=tiny_checkpoint.parent / "tiny-batched", batch=4)


@pytest.fixture(scope="module")
def density_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A density network with seeded weights and a canvas of 48x80."""
    folder = tmp_path_factory.mktemp("density")
    torch.manual_seed(0)
    network = build("density-lite")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    provenance = Provenance(source="seeded", sha256="0" * 64, format="none", licence="Apache-2.0")
    write_checkpoint(
        folder / "checkpoint", network, labels=("object",), provenance=provenance, canvas=(48, 80)
    )
    return export(folder / "checkpoint", output=folder / "bundle")


@pytest.fixture(scope="module")
def aerial_bundle(batched_bundle: Path, density_bundle: Path) -> Path:
    """Both in one folder."""
    return bundle_aerial(batched_bundle, density_bundle, output=batched_bundle.parent / "tiny-aerial")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A picture of 320x200."""
    write_image(tmp_path / "scene.png", synthetic_frame(3, height=200, width=320))
    return tmp_path / "scene.png"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_hold_the_plan_the_counts_the_sources_and_the_time_of_each_stage(
    aerial_bundle: Path, scene: Path, tmp_path: Path
) -> None:
    results = tmp_path / "r.jsonl"
    summary = run(aerial_bundle, scene, json=results, plan="canvas", evidence=["full", "density"], score=0.3)
    (record,) = lines_of(results)
    plan = record["plan"]
    assert plan["name"] == "canvas"
    assert plan["inferences"] == 1 + plan["canvases"] == summary.inferences
    assert plan["pixels"] == plan["inferences"] * 64 * 64
    assert plan["evidence"] == ["full", "density"]
    assert plan["counted"] >= 0
    assert list(record["timing_ms"]) == STAGES
    assert all(spent >= 0 for spent in record["timing_ms"].values())
    assert len(record["detections"]) == summary.detections > 0
    for found in record["detections"]:
        assert found["source"] in ("full", "region")
        assert (found["source"] == "region") == ("region" in found)
        if "region" in found:
            left, top, right, bottom = plan["regions"][found["region"]]["box"]
            x1, y1, x2, y2 = found["box"]
            assert left - 0.01 <= x1 < x2 <= right + 0.01
            assert top - 0.01 <= y1 < y2 <= bottom + 0.01


@pytest.mark.parametrize("plan", ["full", "grid", "canvas", "dmnet"])
def test_two_runs_differ_in_their_times_alone(
    aerial_bundle: Path, tmp_path: Path, write_clip: Callable[..., Path], plan: str
) -> None:
    clip, found = write_clip(tmp_path / "clip.avi", frames=4, height=120, width=200), []
    for number in range(2):
        results = tmp_path / f"{number}.jsonl"
        assert main(["run", str(aerial_bundle), str(clip), "--plan", plan, "--json", str(results), *FEW]) == 0
        records = lines_of(results)
        for record in records:
            del record["timing_ms"]
        found.append(records)
    assert len(found[0]) == 4
    assert found[0] == found[1]


def test_plan_full_gives_what_the_single_pipeline_gives(tiny_bundle: Path) -> None:
    for seed in range(3):
        frame = synthetic_frame(seed, height=150, width=260)
        with open_pipeline(tiny_bundle, threads=1, score_threshold=0.2, max_detections=500) as single:
            expected = single(frame)
        with open_pipeline(tiny_bundle, threads=1, score_threshold=0.2, plan="full") as detect:
            assert isinstance(detect, DensityCropsPipeline)
            found = detect(frame)
        assert len(found) > 0
        for part in ("boxes", "scores", "class_ids"):
            assert np.array_equal(getattr(found, part), getattr(expected, part))


def test_tiles_one_by_one_and_in_a_batch_show_the_same(tiny_bundle: Path, batched_bundle: Path) -> None:
    frame, found = synthetic_frame(5, height=200, width=320), []
    for bundle in (tiny_bundle, batched_bundle):
        with open_pipeline(bundle, threads=1, score_threshold=0.3, plan="grid") as detect:
            found.append(detect(frame))
    assert found[0].report == found[1].report
    assert len(found[0]) == len(found[1]) > 0
    assert found[0].class_ids.tolist() == found[1].class_ids.tolist()
    np.testing.assert_allclose(found[0].boxes, found[1].boxes, atol=BATCH_PX)


def test_a_budget_that_is_measured_buys_some_canvases(tiny_bundle: Path) -> None:
    frame = synthetic_frame(5, height=400, width=640)
    with open_pipeline(tiny_bundle, threads=1, plan="grid", budget_ms=2000) as detect:
        report = detect(frame).report
    assert report is not None
    assert report.inferences > 5
    assert report.predicted_ms is not None
    assert 0 < report.predicted_ms <= 2000


def test_a_line_ends_with_what_was_planned_and_the_summary_says_what_it_cost(
    aerial_bundle: Path, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(aerial_bundle), str(scene), "--plan", "grid", *FEW]) == 0
    captured = capsys.readouterr()
    tiles = plan_grid(200, 320, canvas=(64, 64)).canvases
    assert captured.out.endswith(f"  plan grid: {tiles} canvases, {tiles} regions, 0 left out\n")
    assert f", {tiles + 1}.0 inferences a frame" in captured.err


def test_without_a_plan_lines_are_as_ever(
    tiny_bundle: Path, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tiny_bundle), str(scene), *FEW]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith(" ms)\n")
    assert "inferences" not in captured.err


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan("canvas"), "plan canvas: 0 canvases, 0 regions, 0 left out"),
        (Plan("dmnet", canvases=1, left_out=((0, 0, 1, 1),)), "plan dmnet: 1 canvas, 0 regions, 1 left out"),
    ],
)
def test_a_plan_is_one_line(plan: Plan, text: str) -> None:
    assert text_from_plan(plan) == text


def test_the_summary_counts_inferences_only_where_there_was_a_plan() -> None:
    plain = RunSummary(frames=4, detections=7, broken=0, dropped=0, seconds=1.0)
    assert line_from_summary(plain) == "4 frames, 7 detections in 1.0 s"
    planned = RunSummary(frames=4, detections=7, broken=0, dropped=0, seconds=1.0, inferences=10)
    assert line_from_summary(planned) == "4 frames, 7 detections in 1.0 s, 2.5 inferences a frame"


def test_a_budget_below_the_full_frame_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = RunConsole(quiet=True, verbose=False, stdout_is_taken=False)
    with blob_pipeline(plan="grid", budget_ms=1e-3) as detect:
        for index in range(3):
            image = frame_with(200, 300)
            console.frame_done(Frame("clip.mp4", index, image, 0.0), detect(image))
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert re.search(r"tercelet: the budget of 0.001 ms is less than the full frame alone takes, about", line)
    assert "--budget-ms" in line


@pytest.mark.parametrize(
    ("limit", "budget", "predicted"), [(3, 10.0, 12.0), (0, 10.0, 9.0), (0, None, None), (0, 10.0, None)]
)
def test_a_budget_that_suffices_is_not_talked_about(
    capsys: pytest.CaptureFixture[str], limit: int, budget: float | None, predicted: float | None
) -> None:
    console = RunConsole(quiet=True, verbose=False, stdout_is_taken=False)
    with blob_pipeline(plan="full") as detect:
        plain = detect(frame_with(20, 30))
    report = AerialReport(Plan("canvas", limit=limit), 1, 1, budget_ms=budget, predicted_ms=predicted)
    found = replace(plain, report=report)
    console.frame_done(Frame("a.png", 0, frame_with(20, 30), 0.0), found)
    assert capsys.readouterr().err == ""
    line = line_from_frame(Frame("a.png", 0, frame_with(20, 30), 0.0), found, Counter())
    assert line.endswith(text_from_plan(report.plan))


def test_pictures_show_the_plan_unless_plain_ones_are_wanted(
    aerial_bundle: Path, scene: Path, tmp_path: Path
) -> None:
    words = ["run", str(aerial_bundle), str(scene), *FEW, "--quiet", "--save"]
    assert main([*words, str(tmp_path / "shown")]) == 0
    assert main([*words, str(tmp_path / "plain"), "--plain"]) == 0
    assert read_image(tmp_path / "plain" / "scene.png").shape == (200, 320, 3)
    shown = read_image(tmp_path / "shown" / "scene.png")
    assert shown.shape[1] == 1280
    assert shown.shape[0] > 1000


def test_an_aerial_bundle_is_told_in_full(aerial_bundle: Path) -> None:
    found = inspect(aerial_bundle)
    assert found.ok
    assert found.description == "aerial bundle of yolov5n, 3 classes"
    assert found.next_step == f"tercelet run {aerial_bundle} VIDEO --save drawn"
    table = table_from_inspection(found)
    for line in (
        r"plan +canvas, evidence density, at most half of what uniform tiles take besides the full frame, ",
        r"density +in density/: density-lite",
        r"density cells +6x10 of 8 px on a canvas of 48x80, objects in each",
        r"density parity +3 frames against torch",
        r"batch +1 to 4 canvases in one run",
        r"file ok +density/model.onnx",
    ):
        assert re.search("^" + line, table, re.MULTILINE), line


def test_a_density_bundle_is_told_in_full(density_bundle: Path) -> None:
    found = inspect(density_bundle)
    assert found.description == "density bundle of density-lite: how many objects lie where"
    assert found.next_step == f"tercelet run DETECTOR PICTURE --density {density_bundle}"
    table = table_from_inspection(found)
    assert re.search(r"^cells +6x10 of 8 px on a canvas of 48x80, objects in each$", table, re.MULTILINE)
    assert re.search(r"^parity +3 frames against torch.*\(gate ", table, re.MULTILINE)
    assert "postprocess" not in table
    assert "K = " not in table


def test_a_density_part_that_is_damaged_is_told(aerial_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(aerial_bundle, tmp_path / "copy")
    (copy / "density" / "manifest.json").write_text("{")
    found = inspect(copy)
    assert not found.ok
    assert "changed  density/manifest.json" in re.sub(" +", "  ", table_from_inspection(found))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plan", "dmnet"], "dmnet needs a density network"),
        (["--evidence", "density"], "there is no density network; give one with --density"),
        (["--evidence", ""], "expected names such as full,density"),
        (["--evidence", "luck"], "expected some of full, density, previous, got 'luck'"),
        (["--canvases", "-1"], "canvases: expected 0 to 256"),
        (["--budget-ms", "0"], "budget_ms: expected milliseconds above 0"),
        (["--plan", "tiles"], "invalid choice"),
        (["--density", "{scene}"], "scene.png"),
        (["--density", "{detector}"], "expected a density bundle, got a bundle of yolov5n"),
    ],
)
def test_wrong_use_is_refused_at_once(
    tiny_bundle: Path, scene: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    places = {"{scene}": str(scene), "{detector}": str(tiny_bundle)}
    words = [places.get(word, word) for word in words]
    assert main(["run", str(tiny_bundle), str(scene), *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_density_bundle_is_no_detector(
    density_bundle: Path, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(density_bundle), str(scene)]) == 2
    assert "expected a detector, got a density network" in capsys.readouterr().err
