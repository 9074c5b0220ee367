"""The aerial chain on real frames: official weights in, a batch bundle out, closer looks that pay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tercelet.evaluation import evaluate_plans
from tercelet.export import bundle_aerial, export
from tercelet.runtime import open_pipeline
from tercelet.runtime.vision import read_image

# Two 1080p frames, dense traffic by day and a shopping street at night.
FRAMES = ("0000127_00002_d_0000119", "0000074_15298_d_0000030")
CLASSES = {
    "person": ["pedestrian", "people"], "bicycle": ["bicycle"], "car": ["car", "van"], "bus": ["bus"],
    "truck": ["truck"], "motorcycle": ["motor"],
}  # fmt: skip
# Of what uniform tiles find; measured 0.88 on these two (100 of 113). Below it something is broken.
LEAST_SHARE = 0.75


@pytest.fixture(scope="module")
def bundle(yolov5n_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(yolov5n_checkpoint, output=tmp_path_factory.mktemp("aerial") / "bundle", batch=16)


@pytest.fixture(scope="module")
def frames(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for part, suffix in (("images", "jpg"), ("annotations", "txt")):
        (folder / part).mkdir()
        for name in FRAMES:
            shutil.copy(shared / "data" / "visdrone" / part / f"{name}.{suffix}", folder / part)
    return folder


def test_closer_looks_find_nearly_what_uniform_tiles_do_at_less_than_half_the_cost(
    bundle: Path, frames: Path
) -> None:
    plans = evaluate_plans(
        bundle, frames, plans="full,grid,canvas", class_map=CLASSES, threads=1, quiet=True
    ).record()["plans"]
    full, grid, canvas = (plans[name] for name in ("full", "grid", "canvas"))
    assert 2 * canvas["inferences_per_frame"] <= grid["inferences_per_frame"]
    assert canvas["found"] >= LEAST_SHARE * grid["found"]
    assert canvas["found"] >= 2 * full["found"]
    assert canvas["precision"] >= grid["precision"] - 0.05


def test_one_folder_is_all_that_a_drone_opens(bundle: Path, shared: Path, tmp_path: Path) -> None:
    drone = bundle_aerial(bundle, output=tmp_path / "drone", canvases=2)
    frame = read_image(shared / "data" / "visdrone" / "images" / f"{FRAMES[0]}.jpg")
    with open_pipeline(drone, threads=1) as detect:
        first, second = detect(frame), detect(frame)
    assert first.report is not None
    assert (first.report.plan.name, first.report.inferences) == ("canvas", 3)
    assert {"car", "person"} <= {first.label_of(index) for index in range(len(first))}
    assert first.boxes.tolist() == second.boxes.tolist()
