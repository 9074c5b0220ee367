"""tercelet run with a detector of clouds: files and folders in, JSON lines and pictures out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloud_bundle import POINTS, room, write_cloud_bundle

from tercelet.contract.errors import InputError
from tercelet.runtime import open_pipeline, run
from tercelet.runtime.command_line import main
from tercelet.runtime.inspection import inspect
from tercelet.runtime.inspection_table import table_from_inspection
from tercelet.runtime.sources.rgbd import RgbdOptions
from tercelet.runtime.vision import read_image

cv2 = pytest.importorskip("cv2")

STAGES = ["read", "preprocess", "infer", "postprocess"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cloud_bundle(tmp_path_factory.mktemp("rgbd") / "bundle")


@pytest.fixture
def clouds(tmp_path: Path) -> Path:
    """room.npy, room.npz, room.bin and room.ply of the same cloud."""
    folder = tmp_path / "clouds"
    folder.mkdir()
    np.save(folder / "room.npy", room())
    np.savez(folder / "room.npz", pc=room())
    room().tofile(folder / "room.bin")
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(room())}\n"
    header += "property float x\nproperty float y\nproperty float z\nend_header\n"
    (folder / "room.ply").write_bytes(header.encode() + room().astype("<f4").tobytes())
    return folder


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Two RGB-D frames of a camera 1 m above a floor, looking 30 degrees down, and its intrinsics."""
    folder = tmp_path / "camera"
    v = np.mgrid[0:48, 0:64][0]
    falls = (v - 24) / 60 * np.cos(np.pi / 6) + np.sin(np.pi / 6)
    millimetres = np.where(falls > 0.15, 1000 / falls.clip(0.15), 0)
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for stem in ("000", "001"):
        cv2.imwrite(str(folder / "depth" / f"{stem}.png"), np.rint(millimetres).astype(np.uint16) | 1)
        cv2.imwrite(str(folder / "rgb" / f"{stem}.png"), np.full((48, 64, 3), 90, np.uint8))
    (folder / "intrinsics.txt").write_text("60 60 32 24")
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_no_source_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one source"):
        run(bundle, [])
    with pytest.raises(InputError, match="nothing is there"):
        run(bundle, tmp_path / "none.npy")


@pytest.mark.parametrize("name", ["room.npy", "room.npz", "room.bin", "room.ply"])
def test_every_kind_of_cloud_file_gives_the_boxes_of_the_pipeline(
    bundle: Path, clouds: Path, tmp_path: Path, name: str
) -> None:
    summary = run(bundle, clouds / name, json=tmp_path / "r.jsonl", threads=1)
    (record,) = lines_of(tmp_path / "r.jsonl")
    with open_pipeline(bundle, threads=1) as detect:
        expected: Any = detect(room())  # type: ignore[arg-type]
    assert record["detections"] == list(expected.records())
    assert list(record["detections"][0]) == ["box3d", "score", "label", "class_id"]
    assert list(record["detections"][0]["box3d"]) == ["center", "size", "yaw"]
    assert (record["source"], record["frame"]) == (str(clouds / name), 0)
    assert record["width"] is None
    assert record["height"] is None
    assert record["upright"]["how"] == "identity"
    assert (record["points"], record["taken"]) == (4000, POINTS)
    assert "no picture" in record["notes"][0]
    assert list(record["timing_ms"]) == STAGES
    assert (summary.frames, summary.detections, summary.broken) == (1, 2, 0)
    assert list(summary.timing_ms) == STAGES


def test_a_folder_of_frames_says_how_it_was_levelled_and_is_drawn(
    bundle: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, results = tmp_path / "drawn", tmp_path / "r.jsonl"
    assert main(["run", str(bundle), str(frames), "--json", str(results), "--save", str(saved)]) == 0
    first, second = lines_of(results)
    assert (first["width"], first["height"]) == (64, 48)
    assert first["upright"]["how"] == "floor"
    assert first["upright"]["confidence"] > 0.9
    assert first["detections"] == second["detections"]
    assert first["notes"] == [
        "votenet looks at points alone: the picture had no part in the boxes",
    ]
    assert sorted(path.name for path in saved.iterdir()) == ["000.png", "001.png"]
    assert read_image(saved / "000.png").shape[0] == 720
    captured = capsys.readouterr()
    assert re.fullmatch(
        r"(depth/00[01]\.png \d+ points, upright by floor \(confidence [\d.]+\): .*  \(read .* ms\)\n){2}",
        captured.out,
    )
    assert captured.err.count("votenet looks at points alone") == 1
    assert "2 frames" in captured.err


def test_json_on_stdout_is_alone_there_and_quiet_says_nothing(
    bundle: Path, clouds: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(bundle), str(clouds / "room.npy"), "--json", "-"]) == 0
    captured = capfd.readouterr()
    assert len(json.loads(captured.out)["detections"]) == 2
    assert "no picture" in captured.err
    assert main(["run", str(bundle), str(clouds / "room.npy"), "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_a_frame_that_cannot_be_read_is_told_of_and_the_next_one_follows(
    bundle: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(frames / "rgb" / "000.png"), np.zeros((50, 64, 3), np.uint8))
    assert main(["run", str(bundle), str(frames)]) == 2
    captured = capsys.readouterr()
    assert "got RGB 64x50 and depth 64x48" in captured.err
    assert "1 frames could not be read" in captured.err
    assert captured.out.startswith("depth/001.png")


def test_a_limit_ends_the_run(bundle: Path, frames: Path, clouds: Path) -> None:
    assert run(bundle, [frames, clouds / "room.npy"], limit=1, threads=1).frames == 1
    with pytest.raises(InputError, match="limit: expected at least 1"):
        run(bundle, frames, limit=0)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        ("nan", "expected finite coordinates, got NaN or infinity in 1 of 4000 points"),
        ("ten", "expected at least 1000 points, got 10"),
        ("millimetres", "look like millimetres of a room"),
        ("camera", "seems to lie in the camera's frame"),
    ],
)
def test_a_cloud_that_is_none_for_a_detector_is_refused(
    bundle: Path, tmp_path: Path, spoil: str, match: str
) -> None:
    cloud = room()
    if spoil == "nan":
        cloud[3] = np.nan
    elif spoil == "ten":
        cloud = cloud[:10]
    elif spoil == "millimetres":
        cloud *= 1000
    else:
        cloud = cloud[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32) + np.array([0, 1.2, 0], np.float32)
    np.save(tmp_path / "room.npy", cloud)
    with pytest.raises(InputError, match=match):
        run(bundle, tmp_path / "room.npy", json=tmp_path / "r.jsonl", threads=1)


def test_options_of_reading_mend_what_they_name(bundle: Path, tmp_path: Path) -> None:
    cloud = room()[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32) + np.array([0, 1.2, 0], np.float32)
    cloud[3] = np.nan
    np.save(tmp_path / "room.npy", cloud)
    results = tmp_path / "r.jsonl"
    arguments = ["run", str(bundle), str(tmp_path / "room.npy"), "--json", str(results)]
    assert main([*arguments, "--cloud-frame", "camera", "--drop-non-finite", "--seed", "3"]) == 0
    (record,) = lines_of(results)
    assert record["upright"]["how"] == "floor"
    assert record["points"] == 3999
    assert main([*arguments, "--cloud-frame", "camera", "--level", "extrinsics", "--drop-non-finite"]) == 2


def test_a_missing_calibration_and_a_picture_are_refused(
    bundle: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (frames / "intrinsics.txt").unlink()
    assert main(["run", str(bundle), str(frames)]) == 2
    assert "got no calibration; without one depth cannot become points" in capsys.readouterr().err
    assert main(["run", str(bundle), str(frames / "depth" / "000.png")]) == 2
    assert "expected the calibration of the depth camera, got none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--plain"], "plain"),
        (["--agnostic"], "agnostic"),
        (["--plan", "grid"], "plan"),
        (["--density", "somewhere"], "density"),
        (["--budget-ms", "40"], "budget_ms"),
        (["--object-px", "40"], "object_px"),
    ],
)
def test_an_option_of_pictures_is_refused_by_name(
    bundle: Path, clouds: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], name: str
) -> None:
    assert main(["run", str(bundle), str(clouds / "room.npy"), *arguments]) == 2
    error = capsys.readouterr().err
    assert f"{name}: expected with a detector of pictures only" in error
    assert str(bundle) in error


def test_options_of_clouds_are_refused_with_a_detector_of_pictures(
    tiny_bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="expected options of RGB-D frames with a detector of clouds only"):
        run(tiny_bundle, pictures, rgbd=RgbdOptions())
    assert main(["run", str(tiny_bundle), str(pictures), "--seed", "1"]) == 2
    assert "seed: expected with a detector of clouds only" in capsys.readouterr().err


def test_results_never_replace_what_is_read(bundle: Path, clouds: Path, frames: Path) -> None:
    with pytest.raises(InputError, match="would overwrite this file"):
        run(bundle, clouds / "room.npy", json=clouds / "room.npy")
    with pytest.raises(InputError, match="would replace a file that is read"):
        run(bundle, clouds / "room.bin", json=clouds / "room.bin")
    with pytest.raises(InputError, match="the drawn result would replace a source"):
        run(bundle, frames, save=frames / "rgb")


def test_inspect_shows_the_cloud_and_not_a_canvas(bundle: Path) -> None:
    text = table_from_inspection(inspect(bundle))
    assert f"cloud          {POINTS} points of x, y, z, height in metres" in text
    assert "canvas" not in text
    assert "within 0.001 m and 0.001 of score" in text
    assert text.endswith("CLOUD --save drawn")
