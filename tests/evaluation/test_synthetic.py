"""Synthetic aerial scenes: the truth is that of the pixels, the same seed gives the same bytes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.evaluation import synth_aerial
from tercelet.evaluation.datasets import VISDRONE_CATEGORIES, open_dataset, read_visdrone_annotation
from tercelet.evaluation.synthetic import (
    CLUSTERED_4K,
    DEFAULT,
    Scene,
    SceneSettings,
    aerial_scene,
    frame_workers,
    preset_named,
    worker_processes,
)
from tercelet.evaluation.synthetic.frame_files import FrameRequest, visdrone_lines
from tercelet.evaluation.synthetic.ground import Ground
from tercelet.evaluation.synthetic.painting import fill_polygon, soften
from tercelet.evaluation.synthetic.solids import Sun, draw
from tercelet.evaluation.synthetic.things import BUILDERS
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image

NOTHING = SceneSettings(clusters=(0, 0))
SUN = Sun(0.3, -0.4, math.sqrt(0.75), 0.5)
# The rows of the projection are tabulated every quarter of a pixel and interpolated.
ROUND_TRIP_PX = 0.01
SIDE = 320


def small(seed: int, settings: SceneSettings = DEFAULT) -> Scene:
    return aerial_scene(seed, height=SIDE, width=SIDE, settings=settings)


def long_sides(scene: Scene) -> np.ndarray[Any, Any]:
    return (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1)


def test_a_scene_without_clusters_holds_no_object() -> None:
    scene = small(0, NOTHING)
    assert scene.frame.shape == (SIDE, SIDE, 3)
    assert scene.frame.std() > 5  # a landscape all the same
    assert scene.boxes.shape == (0, 4)
    assert scene.boxes.dtype == np.float64
    assert len(scene.class_ids) == len(scene.visible) == len(scene.inside) == 0


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = small(3), small(3), small(4)
    assert first.frame.tobytes() == again.frame.tobytes()
    for name in ("boxes", "class_ids", "visible", "inside", "clustered"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.frame.tobytes() != other.frame.tobytes()


@pytest.mark.parametrize("seed", range(6))
def test_boxes_lie_in_the_frame_and_whole_ones_have_a_size_of_the_range(seed: int) -> None:
    settings = replace(DEFAULT, min_px=9.0, max_px=48.0)
    scene = aerial_scene(seed, height=480, width=640, settings=settings)
    assert len(scene.boxes) > 0
    assert (scene.boxes[:, :2] >= 0).all()
    assert (scene.boxes[:, 2:] <= (640, 480)).all()
    assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
    whole = scene.inside == 1
    assert ((long_sides(scene)[whole] >= 9) & (long_sides(scene)[whole] <= 48)).all()
    assert (scene.class_ids < len(VISDRONE_CATEGORIES)).all()
    assert ((scene.visible >= 0.2) & (scene.visible <= 1)).all()
    assert ((scene.inside > 0.3) & (scene.inside <= 1)).all()


def test_the_4k_preset_has_the_distribution_that_it_states() -> None:
    scenes = [aerial_scene(seed, height=2160, width=3840, settings=CLUSTERED_4K) for seed in (0, 1)]
    for scene in scenes:
        sides = long_sides(scene)[scene.inside == 1]
        assert 100 <= len(scene.boxes) <= 9 * 60 / 0.92 + 1
        assert sides.min() >= 8
        assert sides.max() <= 40
        assert 0.03 < 1 - scene.clustered.mean() < 0.15
        near = np.zeros((2160 // 20, 3840 // 20), bool)
        for x1, y1, x2, y2 in (scene.boxes + np.array([-64, -64, 64, 64])).clip(0):
            near[int(y1) // 20 : int(y2) // 20 + 1, int(x1) // 20 : int(x2) // 20 + 1] = True
        assert near.mean() < 0.25
    classes = {name for scene in scenes for name in np.array(VISDRONE_CATEGORIES)[scene.class_ids]}
    assert {"car", "pedestrian", "van", "truck"} <= classes


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("elevation", [40, 89])
def test_the_box_of_a_drawn_object_is_tight_around_its_pixels(name: str, elevation: int) -> None:
    ground = Ground(height=200, width=200, far=9.0, near=9.0, elevation=math.radians(elevation))
    for seed in range(5):
        rng = np.random.Generator(np.random.PCG64(seed))
        parts = BUILDERS[name](rng)
        drawing = draw(parts, ground.view_at(90.3, 110.6), rng.uniform(0, 6.28), SUN)
        assert drawing is not None
        rows, columns = np.nonzero(drawing.patch.alpha)
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)
        found += np.tile((drawing.patch.left, drawing.patch.top), 2)
        x1, y1, x2, y2 = drawing.box
        assert (found == (math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))).all()
        assert drawing.patch.alpha.max() == 1  # solid somewhere


def test_an_object_changes_the_frame_where_its_box_is() -> None:
    settings = replace(DEFAULT, noise=0.0, haze=0.0, night=0.0, blur=0.0, occlusion=0.0)
    hits = []
    for seed in range(4):
        scene = small(seed, settings)
        for (x1, y1, x2, y2), visible in zip(scene.boxes.astype(int), scene.visible, strict=True):
            if visible == 1 and min(x2 - x1, y2 - y1) >= 8:
                inner = scene.frame[y1:y2, x1:x2].astype(float)
                hits.append(inner.std() > 8)  # paint, glass, tyres; bare ground has about 5
    assert len(hits) > 10
    assert np.mean(hits) > 0.95


def test_crowding_hides_more_of_the_objects() -> None:
    shares = []
    for occlusion in (0.0, 1.0):
        settings = replace(DEFAULT, occlusion=occlusion, clusters=(3, 3))
        shares.append(np.mean(np.concatenate([small(seed, settings).visible for seed in range(6)])))
    assert shares[1] < shares[0] - 0.02


def test_night_is_darker_than_day() -> None:
    day, night = (small(5, replace(DEFAULT, night=share)).frame.mean() for share in (0.0, 1.0))
    assert night < 0.75 * day


def test_the_projection_can_be_inverted_inside_the_frame() -> None:
    ground = Ground(
        height=600, width=900, far=2.0, near=9.0, elevation=1.0, turn=0.7, bend=(12.0, -9.0), period=120.0
    )
    xs, ys = np.meshgrid(np.linspace(0, 900, 13), np.linspace(0, 600, 11))
    image = np.stack((xs.ravel(), ys.ravel()), axis=1)
    back = ground.image_from_plan(ground.plan_from_image(image))
    assert np.abs(back - image).max() < ROUND_TRIP_PX


def test_a_view_is_the_derivative_of_the_projection() -> None:
    ground = Ground(height=600, width=900, far=2.0, near=6.0, elevation=0.9)
    for place in ((450.0, 300.0), (60.0, 500.0), (880.0, 80.0)):
        view = ground.view_at(*place)
        plan = ground.plan_from_image(np.array([place]))
        for axis, wanted in enumerate((view.right, view.away)):
            step = np.eye(2)[axis] * 0.5
            got = ground.image_from_plan(plan + step) - ground.image_from_plan(plan - step)
            np.testing.assert_allclose(got[0], wanted, atol=0.02)


def test_a_polygon_covers_the_pixels_whose_centres_lie_inside() -> None:
    labels = np.zeros((6, 8), np.uint8)
    fill_polygon(labels, np.array([(1.0, 1.0), (5.0, 1.0), (5.0, 4.0), (1.0, 4.0)]), 7)
    assert (labels[1:4, 1:5] == 7).all()
    assert (labels == 7).sum() == 12
    fill_polygon(labels, np.array([(-9.0, -9.0), (-5.0, -9.0), (-5.0, 40.0)]), 9)
    assert not (labels == 9).any()


@pytest.mark.parametrize("height", [1, 2, 31, 32, 33, 70])
def test_softening_keeps_a_plain_frame_and_spreads_a_dot(height: int) -> None:
    plain = np.full((height, 5, 3), 77, np.uint8)
    assert (soften(plain) == 77).all()
    frame = np.zeros((height, 5, 3), np.uint8)
    frame[height // 2, 2] = 160
    softened = soften(frame)
    assert softened[height // 2, 2, 0] < 160
    assert softened[height // 2, 1, 0] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_px": 50.0, "max_px": 40.0}, r"expected 3 <= min_px <= max_px <= 400, got 50 and 40"),
        ({"clusters": (5, 2)}, r"clusters: expected \(lowest, highest\) between 0 and 200, got \(5, 2\)"),
        ({"objects_per_cluster": (0, 2)}, r"objects_per_cluster: expected"),
        ({"stragglers": 1.0}, r"stragglers: expected a number from 0 to 0.9, got 1.0"),
        ({"haze": float("nan")}, r"haze: expected a number from 0 to 0.9, got nan"),
        ({"elevation": (10.0, 50.0)}, r"elevation: expected"),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        SceneSettings(**options)


def test_a_seed_or_a_side_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
        aerial_scene(-1)
    with pytest.raises(InputError, match="width: expected 64 to 8192 pixels, got 20"):
        aerial_scene(0, width=20)
    with pytest.raises(InputError, match="preset: expected one of default, clustered-4k, got 'sea'"):
        preset_named("sea")


def test_visdrone_lines_hold_whole_pixels_truncation_and_occlusion() -> None:
    scene = Scene(
        frame=np.zeros((60, 80, 3), np.uint8),
        boxes=np.array([(1.25, 2.0, 11.5, 8.75), (70.0, 50.0, 80.0, 60.0), (5.0, 5.0, 5.25, 9.0)]),
        class_ids=np.array([3, 0, 9]),
        visible=np.array([1.0, 0.6, 0.3]),
        inside=np.array([1.0, 0.5, 1.0]),
        clustered=np.array([True, True, False]),
    )
    assert visdrone_lines(scene) == "1,2,11,7,1,4,0,0\n70,50,10,10,1,1,1,1\n5,5,1,4,1,10,0,2\n"


def test_the_folder_opens_as_visdrone_and_as_coco_with_the_scenes_truth(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    result = synth_aerial(folder, count=3, size="320x240", seed=7, format="png", jobs=2, quiet=True)
    visdrone, coco = open_dataset(folder), open_dataset(folder / "annotations.json")
    assert visdrone.format == "visdrone"
    assert visdrone.categories == coco.categories == VISDRONE_CATEGORIES
    assert len(visdrone.images) == len(coco.images) == result.frames == 3
    for number, (rounded, exact) in enumerate(zip(visdrone.images, coco.images, strict=True)):
        scene = aerial_scene(7 + number, height=240, width=320)
        assert (read_image(rounded.path) == scene.frame).all()
        assert exact.path == rounded.path
        np.testing.assert_array_equal(exact.boxes, scene.boxes)
        np.testing.assert_array_equal(exact.class_ids, scene.class_ids)
        np.testing.assert_array_equal(rounded.class_ids, scene.class_ids)
        assert np.abs(rounded.boxes - scene.boxes).max(initial=0) <= 1
    assert sum(result.objects.values()) == sum(len(image.boxes) for image in coco.images)


def test_one_process_writes_what_two_write_and_the_same_request_may_come_again(tmp_path: Path) -> None:
    for name, jobs in (("one", 1), ("two", 2), ("two", 2)):
        synth_aerial(tmp_path / name, count=3, size=(160, 128), jobs=jobs, quiet=True)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 3 + 3 + 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_frames_without_objects_have_empty_annotations(tmp_path: Path) -> None:
    result = synth_aerial(tmp_path, count=1, size=(96, 96), settings=NOTHING, quiet=True)
    assert result.long_side_px is None
    assert len(read_visdrone_annotation(tmp_path / "annotations" / "aerial_00000000.txt").boxes) == 0
    assert json.loads((tmp_path / "annotations.json").read_text())["annotations"] == []


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"expected a new or empty folder, got one with 'holiday.jpg' in it"):
        synth_aerial(tmp_path, count=1, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    other = tmp_path / "other"
    synth_aerial(other, count=1, size=(96, 96), quiet=True)
    with pytest.raises(InputError, match=r"was made by another request, see synthetic.json there"):
        synth_aerial(other, count=2, size=(96, 96), quiet=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count: expected at least 1 frame, got 0"),
        ({"size": "1920"}, "size: expected WIDTHxHEIGHT such as 1920x1080, got '1920'"),
        ({"size": "9x9"}, "size: expected sides of 64 to 8192 pixels, got '9x9'"),
        ({"format": "gif"}, "format: expected one of jpg, png, got 'gif'"),
        ({"jobs": 0}, "jobs: expected at least 1 process, got 0"),
        ({"seed": -2}, "seed: expected 0 or more, got -2"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        synth_aerial(tmp_path / "made", **{"quiet": True, **options})
    assert not (tmp_path / "made").exists()


def test_an_error_of_a_worker_and_its_death_reach_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [FrameRequest(tmp_path, seed, 96, 96, "jpg", NOTHING) for seed in range(2)]
    with pytest.raises(InputError, match=r"aerial_0000000\d.jpg: cannot be written"):
        frame_workers.write_frames(requests, jobs=2, advance=lambda: None)  # there are no folders
    monkeypatch.setattr(worker_processes, "_PROGRAM", "import sys; sys.stdin.read(); sys.exit(9)")
    with pytest.raises(CheckFailedError, match=r"ended with exit code 9 .*try --jobs 1"):
        frame_workers.write_frames(requests, jobs=2, advance=lambda: None)


def test_the_verb_prints_a_summary_or_json_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["synth", "aerial", "-o", str(tmp_path / "a"), "--count", "2", "--size", "256x192", "--quiet"]
    assert main(command) == 0
    assert "frames       2 of 256x192, seeds 0 to 1, preset default" in capsys.readouterr().out
    assert main([*command, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["frames"], record["width"], record["height"]) == (2, 256, 192)
    assert set(record["objects"]) == set(VISDRONE_CATEGORIES)
    assert main([*command[:3], str(tmp_path), "--quiet"]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
