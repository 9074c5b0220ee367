"""Real weights from import to boxes: VoteNet on real rooms finds what the committed reference finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercelet.contract.artefact import read_manifest
from tercelet.contract.detections3d import Detections3d
from tercelet.contract.manifest import Postprocess
from tercelet.contract.session import SessionOptions
from tercelet.export import export
from tercelet.runtime import open_pipeline
from tercelet.runtime.command_line import main
from tercelet.runtime.pipelines.rgbd import RgbdPipeline
from tercelet.runtime.rgbd_opening import open_point_session
from tercelet.runtime.sources.rgbd import read_rgbd, rgbd_files
from tercelet.runtime.vision import read_image
from tercelet.training import import_weights

# What the reference was computed in (float64) and rounded to.
METRES, RADIANS, SCORE = 1e-3, 2e-3, 1e-3
CASES = {
    "000002": ("000002/votenet_v1_pc.npz", "000002/votenet_reference_detections.json"),
    "demo": ("votenet_demo/input_pc_sunrgbd.ply", "votenet_demo/keras_weights_reference_detections.json"),
}


@pytest.fixture(scope="module")
def bundle(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the real SUN RGB-D weights."""
    folder = tmp_path_factory.mktemp("votenet")
    weights = shared / "data" / "weights" / "votenet_sunrgbd_v2_keras.h5"
    checkpoint = import_weights(weights, detector="votenet", output=folder / "checkpoint")
    return export(checkpoint, output=folder / "bundle")


def reference(shared: Path, name: str) -> list[dict[str, Any]]:
    found = json.loads((shared / "data" / "sunrgbd" / CASES[name][1]).read_text())["detections"]
    return sorted(found, key=lambda item: -item["objectness"] * item["cls_prob"])


def assert_equal(found: Detections3d, expected: list[dict[str, Any]]) -> None:
    assert [found.label_of(row) for row in range(len(found))] == [item["cls"] for item in expected]
    for row, item in enumerate(expected):
        np.testing.assert_allclose(found.boxes[row, :3], item["center"], atol=METRES)
        np.testing.assert_allclose(found.boxes[row, 3:6], item["size_full"], atol=METRES)
        turn = float(found.boxes[row, 6]) + item["heading"]  # yaw is -heading
        assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < RADIANS
        assert abs(float(found.scores[row]) - item["objectness"] * item["cls_prob"]) < SCORE


@pytest.mark.parametrize("name", CASES)
def test_the_bundle_finds_in_real_rooms_what_the_reference_finds(
    shared: Path, bundle: Path, name: str
) -> None:
    (files,) = rgbd_files(shared / "data" / "sunrgbd" / CASES[name][0])
    session = open_point_session(bundle, read_manifest(bundle), SessionOptions(threads=1))
    # The reference keeps proposals by objectness alone, whether points lie inside or not.
    postprocess = Postprocess(score_threshold=0.5, iou_threshold=0.25)
    with RgbdPipeline(
        read_manifest(bundle), session, postprocess=postprocess, least_points=-1
    ) as every_proposal:
        assert_equal(every_proposal(read_rgbd(files)), reference(shared, name))


def test_a_proposal_without_points_inside_is_none(shared: Path, bundle: Path) -> None:
    (files,) = rgbd_files(shared / "data" / "sunrgbd" / CASES["000002"][0])
    frame, expected = read_rgbd(files), reference(shared, "000002")
    with open_pipeline(bundle, threads=1, score_threshold=0.5) as detect:
        found: Any = detect(frame)  # type: ignore[arg-type]
    # Of the night stand beyond the bed this draw of 20,000 points shows too little.
    assert_equal(found, [item for item in expected if abs(item["center"][0] + 2.3878) > METRES])


@pytest.mark.parametrize(
    ("place", "labels", "how", "width"),
    [
        ("000002", {"bed", "night_stand"}, "identity", 730),
        ("raw_kv2", None, "extrinsics", 730),
        ("mmdet3d_000017/000017.bin", None, "identity", None),
    ],
)
def test_the_command_takes_folders_of_sun_rgbd_and_clouds_and_draws_them(
    shared: Path,
    bundle: Path,
    tmp_path: Path,
    place: str,
    labels: set[str] | None,
    how: str,
    width: int | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = shared / "data" / "sunrgbd" / place
    arguments = ["run", str(bundle), str(source), "--json", "-", "--save", str(tmp_path / "drawn")]
    assert main([*arguments, "--score", "0.5", "--threads", "1"]) == 0
    captured = capfd.readouterr()
    record = json.loads(captured.out)
    assert record["upright"]["how"] == how
    assert record["width"] == width
    assert record["detections"]
    if labels is not None:
        assert labels <= {item["label"] for item in record["detections"]}
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert read_image(drawn).shape[0] == 720
    assert ("no picture" in captured.err) == (width is None)
    assert ("the picture had no part in the boxes" in captured.err) == (width is not None)


def test_inspect_says_what_the_bundle_was_compared_with(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(bundle)]) == 0
    assert "proposals of 3 clouds against torch" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [None, 6])
def test_a_bin_file_is_read_as_told(
    shared: Path, bundle: Path, tmp_path: Path, columns: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    source = shared / "data" / "sunrgbd" / "mmdet3d_000017" / "000017.bin"
    told = [] if columns is None else ["--columns", str(columns)]
    assert main(["run", str(bundle), str(source), "--json", "-", "--no-check", *told]) == 0
    assert json.loads(capfd.readouterr().out)["points"] == 50_000
