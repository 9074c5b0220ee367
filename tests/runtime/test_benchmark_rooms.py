"""benchmark of a detector of clouds: its stages, on rooms in memory and on files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cloud_bundle import POINTS, room, write_cloud_bundle

from tercelet.contract.errors import InputError
from tercelet.contract.scenes import synthetic_room
from tercelet.runtime import benchmark
from tercelet.runtime.benchmark_rooms import SYNTHETIC_COUNT, benchmark_rooms
from tercelet.runtime.clouds.cloud import checked_cloud
from tercelet.runtime.clouds.upright import refuse_camera_frame
from tercelet.runtime.command_line import main
from tercelet.runtime.sources.rgbd import read_rgbd, rgbd_files


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cloud_bundle(tmp_path_factory.mktemp("bench") / "bundle")


def test_every_stage_is_measured_on_rooms_in_memory(bundle: Path) -> None:
    result = benchmark(bundle, against=[bundle], frames=6, warmup=1, rounds=2, threads=1, cold_start=False)
    assert "synthetic rooms" in result.settings.images
    for times in result.bundles:
        assert times.points == POINTS
        assert times.stages_ms["read"] is None
        assert [name for name in times.stages_ms if name != "read"] == ["preprocess", "infer", "postprocess"]
        assert times.memory.loaded_bytes is None or times.memory.loaded_bytes > 0
    assert len(result.comparisons) == 1


def test_the_verb_reads_files_each_time_and_starts_afresh(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = tmp_path / "room.npy"
    np.save(cloud, room())
    asked = ["benchmark", str(bundle), "--images", str(cloud), "--frames", "2", "--warmup", "0", "--quiet"]
    assert main([*asked, "--threads", "1", "--json", str(tmp_path / "b.json")]) == 0
    assert f"votenet {POINTS} points" in capsys.readouterr().out
    record = json.loads((tmp_path / "b.json").read_text())["bundles"][0]
    assert record["stages_ms"]["read"]["p50"] > 0
    assert record["cold_start"]["wall_ms"] > 0
    assert record["detections_per_frame"] == 2


def test_synthetic_rooms_are_the_same_each_time_sound_and_can_be_written(tmp_path: Path) -> None:
    rooms = benchmark_rooms(None)
    assert len(rooms.stored) == SYNTHETIC_COUNT
    for index, stored in enumerate(rooms.stored):
        assert np.array_equal(stored.cloud.points, synthetic_room(index, points=len(stored.cloud)))
        refuse_camera_frame(checked_cloud(stored.cloud))
    assert not np.array_equal(rooms.stored[0].cloud.points, rooms.stored[1].cloud.points)
    (files,) = rgbd_files(rooms.first_file(tmp_path))
    again, first = read_rgbd(files), rooms.stored[0]
    assert np.array_equal(again.cloud.points, first.cloud.points)
    assert np.array_equal(again.image, first.image)
    np.testing.assert_allclose(again.depth2img, first.depth2img, atol=1e-9)


def test_a_detector_of_pictures_beside_it_is_refused(bundle: Path, tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match="expected a bundle that looks at clouds as the others do"):
        benchmark(bundle, against=[tiny_bundle], frames=1, warmup=0, cold_start=False)
    with pytest.raises(InputError, match="expected at least one cloud or folder"):
        benchmark(bundle, images=[], frames=1, cold_start=False)
    with pytest.raises(InputError, match="expected with a detector of pictures only"):
        benchmark(bundle, plan="grid", frames=1, cold_start=False)
