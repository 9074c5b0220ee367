"""Recordings for the rerun viewer: what is in them, read back, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloud_bundle import room, write_cloud_bundle

from tercelet.contract.detections import Detections
from tercelet.contract.detections3d import Detections3d
from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.runtime.clouds.cloud import Cloud
from tercelet.runtime.clouds.upright import Upright
from tercelet.runtime.command_line import main
from tercelet.runtime.rgbd_recording import RgbdRecording, camera_of
from tercelet.runtime.sources.rgbd import RgbdFrame

# Intrinsics with skew, and a camera that looks down a little and to the side.
INTRINSICS = np.array([[520.0, 1.5, 320.0], [0, 510.0, 240.0], [0, 0, 1]])


def rotation() -> np.ndarray:
    """(3, 3) from the upright frame to a camera's."""
    yaw, pitch = 0.4, 0.3
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ nod @ turn


def frame(*, has_picture: bool = True) -> RgbdFrame:
    colours = np.linspace(0, 1, 12000, dtype=np.float32).reshape(4000, 3)
    return RgbdFrame(
        source="made",
        cloud=Cloud("made", room(), colours if has_picture else None),
        upright=Upright(np.eye(3), "identity"),
        image=np.full((480, 640, 3), 90, np.uint8) if has_picture else None,
        depth2img=INTRINSICS @ rotation() if has_picture else None,
    )


def detections() -> Detections3d:
    seen = Detections(
        np.array([[10, 20, 110, 220]], np.float32),
        np.array([0.7], np.float32),
        np.zeros(1, np.int64),
        ("chair",),
    )
    return Detections3d(
        boxes=np.array([[0.4, 2.0, 0.4, 0.8, 0.6, 0.5, 0.3]], np.float32),
        scores=np.array([0.81], np.float32),
        class_ids=np.zeros(1, np.int64),
        labels=("chair",),
        notes=("a note",),
        picture_boxes=seen,
    )


def columns_of(path: Path) -> dict[str, dict[str, Any]]:
    """Entity path -> component -> its values, one a time that it was written."""
    chunk = pytest.importorskip("rerun.chunk", reason="needs rerun-sdk: pip install 'tercelet[viewer]'")
    found: dict[str, dict[str, Any]] = {}
    for part in chunk.RrdReader(path).stream():
        batch = part.to_record_batch()
        for field, column in zip(batch.schema, batch.columns, strict=True):
            name = field.name.split(":")[-1]
            if name != field.name:  # a component, not a time or a row's number
                values = [value for value in column.to_pylist() if value is not None]
                found.setdefault(str(part.entity_path), {}).setdefault(name, []).extend(values)
    return found


def test_the_camera_is_what_the_matrix_was_made_of() -> None:
    intrinsics, turned = camera_of(INTRINSICS @ rotation() * 1.7)
    shifted = INTRINSICS - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    np.testing.assert_allclose(intrinsics, shifted, atol=1e-9)
    np.testing.assert_allclose(turned, rotation(), atol=1e-12)


def test_points_boxes_picture_and_notes_are_in_the_recording(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'tercelet[viewer]'")
    path = tmp_path / "new" / "room.rrd"
    with RgbdRecording(path) as recording:
        recording.add(frame(), detections())
        recording.add(frame(has_picture=False), replace(detections(), picture_boxes=None))
    found = columns_of(path)
    points = found["/world/points"]["positions"]
    np.testing.assert_allclose(points[0], room())
    assert len(points) == 2
    boxes = found["/world/boxes"]
    np.testing.assert_allclose(boxes["centers"][0], [[0.4, 2.0, 0.4]], atol=1e-6)
    np.testing.assert_allclose(boxes["half_sizes"][0], [[0.4, 0.3, 0.25]], atol=1e-6)
    np.testing.assert_allclose(boxes["quaternions"][0], [[0, 0, np.sin(0.15), np.cos(0.15)]], atol=1e-6)
    assert boxes["labels"][0] == ["chair 0.81"]
    assert found["/world/camera"]["resolution"][0] == [[640, 480]]
    np.testing.assert_allclose(found["/world/camera/image/boxes"]["half_sizes"][0], [[50, 100]])
    assert len(found["/world/camera/image"]["blob"]) == 1
    assert found["/notes"]["text"][0] == ["made\na note"]


def test_the_verb_writes_one_and_a_detector_of_pictures_refuses(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'tercelet[viewer]'")
    bundle = write_cloud_bundle(tmp_path / "bundle")
    cloud, path = tmp_path / "room.npy", tmp_path / "room.rrd"
    np.save(cloud, room())
    assert main(["run", str(bundle), str(cloud), "--record", str(path)]) == 0
    assert "/world/boxes" in columns_of(path)
    assert main(["run", str(tiny_bundle), str(cloud), "--record", str(path)]) == 2
    assert "record: expected with a detector of clouds only" in capsys.readouterr().err


def test_names_that_are_none_and_a_missing_package_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.rrd"):
        RgbdRecording(tmp_path / "room.mp4")
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'tercelet\[viewer\]'"):
        RgbdRecording(tmp_path / "room.rrd")
    assert not (tmp_path / "room.rrd").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'tercelet[viewer]'")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        RgbdRecording(tmp_path / "file" / "room.rrd")
