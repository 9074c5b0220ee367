"""Folders of synthetic rooms: both forms open, hold the same boxes, and a broken run is taken up again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.evaluation.datasets.sunrgbd import open_sunrgbd
from tercelet.evaluation.datasets.sunrgbd_votenet import read_votes
from tercelet.evaluation.synthetic import worker_processes
from tercelet.evaluation.synthetic.rooms import room_view, room_workers, synth_rooms
from tercelet.evaluation.synthetic.rooms.room_files import FOLDERS, RoomRequest
from tercelet.runtime.clouds import read_cloud
from tercelet.runtime.command_line import main
from tercelet.runtime.sources.rgbd import RgbdFiles, read_rgbd, rgbd_files
from tercelet.runtime.vision import read_image

FIRST, COUNT = 20, 3
SAME_M = 1e-4  # labels are written with six digits
SAME_PX = 1e-3  # and the calibration with nine
JPEG = 6.0  # grey levels that JPEG changes on average, at most


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms") / "made"
    synth_rooms(folder, count=COUNT, seed=FIRST, jobs=1, quiet=True)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_both_forms_hold_the_rooms_boxes(made: Path) -> None:
    labels, votenet = open_sunrgbd(made / "sunrgbd_trainval"), open_sunrgbd(made / "sunrgbd_pc_bbox_votes")
    assert (labels.format, votenet.format) == ("trainval", "votenet")
    assert labels.notes == ()
    assert len(labels.scenes) == len(votenet.scenes) == COUNT
    for number, (first, second) in enumerate(zip(labels.scenes, votenet.scenes, strict=True)):
        view = room_view(FIRST + number)
        assert first.id == second.id == f"{FIRST + number:06d}"
        assert len(view.boxes) > 0
        for scene in (first, second):
            np.testing.assert_array_equal(scene.class_ids, view.class_ids)
            np.testing.assert_allclose(scene.boxes[:, :6], view.boxes[:, :6], atol=SAME_M)
            turn = np.remainder(scene.boxes[:, 6] - view.boxes[:, 6] + math.pi, 2 * math.pi) - math.pi
            assert np.abs(turn).max() < SAME_M
        np.testing.assert_array_equal(first.boxes_2d, view.boxes_2d)
        assert first.depth2img is not None
        np.testing.assert_allclose(first.depth2img, view.calibration.depth2img(), atol=SAME_PX)


def test_clouds_pictures_and_votes_are_the_rooms(made: Path) -> None:
    labels, votenet = open_sunrgbd(made / "sunrgbd_trainval"), open_sunrgbd(made / "sunrgbd_pc_bbox_votes")
    for number, (first, second) in enumerate(zip(labels.scenes, votenet.scenes, strict=True)):
        view = room_view(FIRST + number)
        for scene in (first, second):
            cloud = scene.read_cloud()
            np.testing.assert_array_equal(cloud.points, view.points[:, :3])
            np.testing.assert_array_equal(cloud.colours, view.points[:, 3:])
        assert second.votes is not None
        mask, votes = read_votes(second.votes)
        np.testing.assert_array_equal(mask, view.votes[:, 0] == 1)
        np.testing.assert_array_equal(votes.reshape(-1, 9), view.votes[:, 1:])
        assert first.image is not None
        assert np.abs(read_image(first.image).astype(float) - view.image).mean() < JPEG


def test_the_reader_of_frames_takes_the_folder_and_the_depth_picture(made: Path) -> None:
    frames = rgbd_files(made / "sunrgbd_trainval")
    assert len(frames) == COUNT
    for number, files in enumerate(frames):
        view = room_view(FIRST + number)
        frame = read_rgbd(files)
        np.testing.assert_array_equal(frame.cloud.points, view.points[:, :3])
        depth = read_rgbd(RgbdFiles(files.depth.with_suffix(".png"), files.image, files.calibration))
        assert depth.upright.how == "extrinsics"
        assert len(depth.cloud) == np.count_nonzero(view.depth)
        assert depth.image is not None
        assert depth.image.shape == view.image.shape
        # The 20000 points of the cloud are among those of the picture, but for the digits of the calibration.
        w, u, v = (view.calibration.depth2img() @ view.points[:500, :3].astype(np.float64).T)[[2, 0, 1]]
        rows, columns = np.nonzero(view.depth)
        place = np.full(view.depth.shape, -1)
        place[rows, columns] = np.arange(len(rows))
        found = place[np.round(v / w - 1).astype(int), np.round(u / w - 1).astype(int)]
        np.testing.assert_allclose(depth.cloud.points[found], view.points[:500, :3], atol=SAME_M)


def test_two_processes_write_the_bytes_of_one(made: Path, tmp_path: Path) -> None:
    synth_rooms(tmp_path / "two", count=COUNT, seed=FIRST, jobs=2, quiet=True)
    one, two = files_of(made), files_of(tmp_path / "two")
    assert len(one) == COUNT * 8 + 1
    assert one == two


def test_a_run_that_broke_off_is_taken_up_and_what_is_complete_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "rooms"
    first = synth_rooms(folder, count=2, seed=5, jobs=1, quiet=True)
    whole = files_of(folder)
    lost = RoomRequest(folder, 6)
    lost.last_file.unlink()
    lost.boxes_file.write_bytes(b"cut sh")
    kept = RoomRequest(folder, 5).last_file.stat().st_mtime_ns
    again = synth_rooms(folder, count=2, seed=5, jobs=1, quiet=True)
    assert files_of(folder) == whole
    assert RoomRequest(folder, 5).last_file.stat().st_mtime_ns == kept
    assert (first.made, again.made, again.rooms) == (2, 1, 2)
    assert again.objects == first.objects
    assert synth_rooms(folder, count=2, seed=5, quiet=True).made == 0


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"expected a new or empty folder, got one with 'holiday.jpg' in it"):
        synth_rooms(tmp_path, count=1, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    with pytest.raises(InputError, match=r"was made by another request, see synthetic.json there"):
        synth_rooms(made, count=COUNT + 1, seed=FIRST, quiet=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count: expected at least 1 room, got 0"),
        ({"seed": -2}, "seed: expected rooms from 0 to 999999, got -2"),
        ({"seed": 999_999, "count": 2}, "seed: expected rooms from 0 to 999999, got 999999 to 1000000"),
        ({"jobs": 0}, "jobs: expected at least 1 process, got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        synth_rooms(tmp_path / "made", **{"quiet": True, **options})
    assert not (tmp_path / "made").exists()


def test_an_error_of_a_worker_and_its_death_reach_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [RoomRequest(tmp_path, seed) for seed in range(2)]
    with pytest.raises(InputError, match=r"00000\d.jpg: cannot be written"):
        room_workers.write_rooms(requests, jobs=2, advance=lambda: None)  # there are no folders
    monkeypatch.setattr(worker_processes, "_PROGRAM", "import sys; sys.stdin.read(); sys.exit(9)")
    with pytest.raises(CheckFailedError, match=r"ended with exit code 9 .*try --jobs 1"):
        room_workers.write_rooms(requests, jobs=2, advance=lambda: None)


def test_the_verb_prints_a_summary_or_json_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["synth", "rooms", "-o", str(tmp_path / "a"), "--count", "1", "--seed", "7", "--quiet"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "rooms        1 of 20000 points, seeds 7 to 7\n" in out
    assert "boxes        of objects with at least 60 points" in out
    assert main([*command, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["rooms"], record["made"], record["points"], record["least_points"]) == (1, 0, 20000, 60)
    assert set(record["objects"]) == set(SUNRGBD_CLASSES)
    assert all((tmp_path / "a" / name).is_dir() for name in FOLDERS)
    assert read_cloud(RoomRequest(tmp_path / "a", 7).last_file).points.shape == (20000, 3)
    assert main(["synth", "rooms", "-o", str(tmp_path), "--quiet"]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert main(["synth", "rooms", "-o", str(tmp_path / "b"), "--size", "64x64"]) == 2
    assert "unrecognized arguments: --size" in capsys.readouterr().err
