"""Pipeline rgbd: what clouds it takes, which it refuses, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloud_bundle import LABELS, POINTS, SIDE, THING, room, write_cloud_bundle

from tercelet.contract.artefact import finish_artefact, read_manifest
from tercelet.contract.detections3d import Detections3d, UprightRule
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import CloudRecord, Postprocess
from tercelet.contract.session import Proposals
from tercelet.runtime import open_pipeline
from tercelet.runtime.clouds.cloud import Cloud
from tercelet.runtime.clouds.sampling import detector_points
from tercelet.runtime.clouds.upright import Upright
from tercelet.runtime.pipelines.rgbd import RgbdPipeline
from tercelet.runtime.sources.rgbd import RgbdFrame

EXACT = 1e-6  # float32 of metres, computed once here and once in the engine


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cloud_bundle(tmp_path_factory.mktemp("rgbd") / "bundle")


@pytest.fixture(scope="module")
def detect(bundle: Path) -> Iterator[Any]:
    with open_pipeline(bundle, threads=1) as pipeline:
        yield pipeline


class FixedProposals:
    """An engine that gives the same to everything and keeps what it was given."""

    backend = "fixed"

    def __init__(self, count: int = 1, *, value: float = 0.5) -> None:
        self.answer = Proposals(
            np.full((1, count, 7), value, np.float32),
            np.full((1, count), 0.9, np.float32),
            np.full((1, count, 2), 0.5, np.float32),
        )
        self.seen: list[np.ndarray] = []

    def run(self, inputs: dict[str, np.ndarray]) -> Proposals:
        (points,) = inputs.values()
        self.seen.append(points)
        return self.answer

    def close(self) -> None:
        """Nothing is held."""


def pipeline_of(bundle: Path, session: FixedProposals, **options: Any) -> RgbdPipeline:
    return RgbdPipeline(read_manifest(bundle), session, postprocess=Postprocess(), **options)


def test_no_points_are_refused(detect: Any) -> None:
    with pytest.raises(InputError, match="expected at least 1000 points, got 0"):
        detect(np.zeros((0, 3), np.float32))


def test_the_best_of_a_heap_is_found_best_first_and_what_is_empty_is_not(detect: Any) -> None:
    found = detect(room())
    assert [found.label_of(row) for row in range(len(found))] == ["table", "chair"]
    np.testing.assert_allclose(found.scores, [0.81, 0.595], atol=EXACT)
    taken = detector_points(room(), POINTS)[:, :3].astype(np.float64)
    np.testing.assert_allclose(found.boxes[0, :3], np.array(THING) + taken.mean(axis=0) * 1e-3, atol=EXACT)
    np.testing.assert_allclose(found.boxes[0, 3:], [SIDE, SIDE, SIDE, 0.3], atol=EXACT)
    assert tuple(found.timing_ms) == ("preprocess", "infer", "postprocess")
    assert (found.points, found.taken, found.labels) == (4000, POINTS, LABELS)
    assert found.upright == UprightRule()
    assert any("no picture" in note for note in found.notes)


def test_the_same_cloud_gives_the_same_boxes_and_a_seed_others(bundle: Path) -> None:
    plain, seeded = FixedProposals(), FixedProposals()
    for _ in range(2):
        pipeline_of(bundle, plain)(room())
        pipeline_of(bundle, seeded, seed=3)(room())
    rows = np.arange(POINTS) * 4000 // POINTS
    assert np.array_equal(plain.seen[0][0, :, :3], room()[rows])
    assert np.array_equal(plain.seen[0], plain.seen[1])
    assert np.array_equal(seeded.seen[0], seeded.seen[1])
    assert not np.array_equal(seeded.seen[0], plain.seen[0])
    assert plain.seen[0].shape == (1, POINTS, 4)
    assert plain.seen[0].dtype == np.float32


def test_a_million_points_work(detect: Any) -> None:
    found = detect(room(1_000_000))
    assert (len(found), found.points, found.taken) == (2, 1_000_000, POINTS)


def test_fewer_points_than_the_network_takes_work_and_are_told_of(detect: Any) -> None:
    found = detect(room(1500))
    assert len(found) == 2
    assert f"1500 points where {POINTS} are taken: some came several times" in found.notes


def spoilt(kind: str) -> Any:
    cloud = room()
    if kind == "nan":
        cloud[7, 1] = np.nan
    if kind == "millimetres":
        cloud *= 1000
    if kind == "camera":
        cloud = cloud[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32) + np.array([0, 1.2, 0], np.float32)
    return {
        "ten": cloud[:10],
        "flat": np.zeros((5000, 3), np.float32),
        "two columns": cloud[:, :2],
        "text": cloud.astype(str),
        "picture": np.zeros((48, 64, 3), np.uint8),
        "path": "room.npy",
    }.get(kind, cloud)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (
            "nan",
            r"expected finite coordinates, got NaN or infinity in 1 of 4000 points \(the first is point 7",
        ),
        ("ten", "expected at least 1000 points, got 10"),
        ("millimetres", "look like millimetres of a room of 3.9 m; divide the coordinates by 1000"),
        ("camera", "seems to lie in the camera's frame"),
        ("flat", "got a cloud that spans 0; check the unit"),
        ("two columns", r"rows of x y z or more columns, got shape \(4000, 2\)"),
        ("text", "expected numbers in rows of x y z"),
        ("picture", r"expected an RgbdFrame or points \(N, 3\) in metres, got a picture \(48, 64, 3\)"),
        ("path", "expected an RgbdFrame or an array of points, got str"),
    ],
)
def test_what_is_no_upright_cloud_in_metres_is_refused_by_what_it_is(
    detect: Any, kind: str, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        detect(spoilt(kind))


def frame_of(cloud: np.ndarray, **parts: Any) -> RgbdFrame:
    return RgbdFrame("room", Cloud("room", cloud), Upright(np.eye(3), "floor", 0.75), **parts)


def test_a_frame_says_how_it_came_upright_and_what_its_picture_was_good_for(detect: Any) -> None:
    found = detect(frame_of(room(), image=np.zeros((4, 6, 3), np.uint8)))
    assert found.upright == UprightRule("floor", 0.75)
    assert found.upright.record()["confidence"] == 0.75
    assert found.notes == (
        "votenet looks at points alone: the picture had no part in the boxes",
        "no calibration: boxes cannot be drawn into the picture",
    )
    with pytest.raises(InputError, match="room: expected at least 1000 points, got 10"):
        detect(frame_of(room()[:10]))


def test_thresholds_and_the_number_of_detections_are_those_asked_for(bundle: Path) -> None:
    def count(**options: Any) -> int:
        with open_pipeline(bundle, threads=1, **options) as detect:
            return len(detect(room()))

    assert count(max_detections=1) == 1
    assert count(score_threshold=0.87) == 1
    assert count(score_threshold=0.95) == 0
    assert count(iou_threshold=1.0) == 3


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"plan": "canvas"}, "plan"),
        ({"canvases": 3}, "canvases"),
        ({"budget_ms": 50.0}, "budget_ms"),
        ({"density": "density-bundle"}, "density"),
        ({"evidence": ["full"]}, "evidence"),
        ({"overlap": 0.2}, "overlap"),
        ({"class_agnostic": True}, "class_agnostic"),
        ({"color": "RGB"}, "color"),
    ],
)
def test_an_option_of_pictures_is_refused_by_name(bundle: Path, options: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: expected with a detector of pictures only"):
        open_pipeline(bundle, **options)


def test_a_seed_is_refused_with_a_detector_of_pictures_and_below_zero(
    bundle: Path, tiny_bundle: Path
) -> None:
    with pytest.raises(InputError, match="seed: expected with a detector of clouds only"):
        open_pipeline(tiny_bundle, seed=1)
    with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
        open_pipeline(bundle, seed=-1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cloud": None}, "expected a bundle that looks at clouds of points"),
        ({"cloud": CloudRecord(POINTS, ("x", "y", "z", "red"))}, "expected features x, y, z, height"),
        ({"cloud": CloudRecord(POINTS, height_percentile=5.0)}, "got x, y, z, height at 5"),
        ({"postprocess": Postprocess(class_agnostic=True)}, "merges boxes class by class"),
    ],
)
def test_a_manifest_that_asks_for_what_is_not_known_here_is_refused(
    tmp_path: Path, change: Any, match: str
) -> None:
    folder = write_cloud_bundle(tmp_path / "bundle")
    finish_artefact(folder, replace(read_manifest(folder), **change))
    with pytest.raises(InputError, match=match):
        open_pipeline(folder, threads=1)


def test_an_engine_that_gives_no_numbers_is_found_out_and_single_proposals_without_are_left_out(
    bundle: Path,
) -> None:
    with pytest.raises(CheckFailedError, match="fixed gave no proposal of finite numbers"):
        pipeline_of(bundle, FixedProposals(3, value=np.nan))(room())
    some = FixedProposals(2, value=2.0)
    some.answer.boxes[..., 3:6] = 4.0
    some.answer.boxes[0, 1, 0] = np.inf
    assert len(pipeline_of(bundle, some)(room())) == 1


def test_a_closed_pipeline_says_so(bundle: Path) -> None:
    detect: Any = open_pipeline(bundle, threads=1)
    detect.close()
    with pytest.raises(InputError, match="this one was closed"):
        detect(room())


def test_detections_that_do_not_fit_together_are_refused() -> None:
    zeros = np.zeros(2, np.float32)
    with pytest.raises(InputError, match=r"expected boxes \(N, 7\)"):
        Detections3d(np.zeros((2, 4), np.float32), zeros, np.zeros(2, np.int64), ("a",))
