"""A network with image votes, its 2D detector and a network without votes in one folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cloud_bundle import LABELS, POINTS, room, write_cloud_bundle

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import PictureVotesRecord
from tercelet.contract.scenes import synthetic_frame
from tercelet.export import bundle_rgbd
from tercelet.runtime import open_pipeline
from tercelet.runtime.clouds.cloud import Cloud
from tercelet.runtime.clouds.upright import Upright
from tercelet.runtime.command_line import main
from tercelet.runtime.sources.rgbd import RgbdFrame

VOTES = PictureVotesRecord(boxes=5, classes=("chair", "table", "sofa"), score_threshold=0.1)
# The 2D detector knows cat, dog and owl.
MAP = {"cat": "chair", "owl": "sofa"}
CAMERA = np.array([[100.0, 72, 0], [0, 48, -100], [0, 1, 0]])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cloud_bundle(tmp_path_factory.mktemp("votes") / "imvotenet-bundle", votes=VOTES)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cloud_bundle(tmp_path_factory.mktemp("alone") / "votenet-bundle")


@pytest.fixture(scope="module")
def whole(network: Path, alone: Path, tiny_bundle: Path) -> Path:
    """All three in one folder; every box of the 2D detector is shown."""
    output = network.parent / "whole"
    return bundle_rgbd(
        network, tiny_bundle, output=output, class_map=MAP, without_picture=alone, score_threshold=0
    )


def frame(*, has_picture: bool = True) -> RgbdFrame:
    return RgbdFrame(
        source="made",
        cloud=Cloud("made", room()),
        upright=Upright(np.eye(3), "identity"),
        image=synthetic_frame(3, height=96, width=144) if has_picture else None,
        depth2img=CAMERA,
    )


def test_one_folder_looks_at_picture_and_cloud(whole: Path, tiny_bundle: Path) -> None:
    record = read_manifest(whole).picture_votes
    assert record is not None
    assert (record.detector, record.without_picture) == ("detector", "without-picture")
    assert (dict(record.class_map), record.score_threshold) == (MAP, 0)
    with open_pipeline(whole, threads=1) as detect, open_pipeline(tiny_bundle, score_threshold=0) as eyes:
        found = detect(frame())
        seen = eyes(frame().image)
    kept = [row for row in range(len(seen)) if seen.label_of(row) in MAP][: VOTES.boxes]
    assert kept
    assert found.picture_boxes is not None
    np.testing.assert_array_equal(found.picture_boxes.boxes, seen.boxes[kept])
    labels = [found.picture_boxes.label_of(row) for row in range(len(kept))]
    assert labels == [MAP[seen.label_of(row)] for row in kept]
    assert found.labels == LABELS
    assert found.notes == ()


def test_frames_without_a_picture_go_to_the_other_network(whole: Path) -> None:
    with open_pipeline(whole, threads=1) as detect:
        found = detect(frame(has_picture=False))
    assert found.notes == ("no picture: votenet looked at the points alone in place of imvotenet",)
    assert found.taken == POINTS
    assert len(found) == 2


def test_the_verb_makes_it_says_what_votes_and_replaces_the_detector_of_an_older_one(
    network: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping, output, again = tmp_path / "map.json", tmp_path / "out", tmp_path / "again"
    mapping.write_text(json.dumps(MAP))
    asked = ["bundle-rgbd", str(network), str(tiny_bundle), "-o", str(output), "--class-map", str(mapping)]
    assert main([*asked, "--json", str(tmp_path / "made.json")]) == 0
    told = capsys.readouterr()
    assert "the 2D detector's cat for chair, owl for sofa give votes" in told.err
    assert "no label of the 2D detector gives votes for table" in told.err
    assert "next: tercelet run" in told.out
    assert json.loads((tmp_path / "made.json").read_text())["manifest"]["picture_votes"]["detector"]
    mapping.write_text(json.dumps({"dog": "table"}))
    asked = ["bundle-rgbd", str(output), str(tiny_bundle), "-o", str(again), "--class-map", str(mapping)]
    assert main([*asked, "--score", "0.3"]) == 0
    record = read_manifest(again).picture_votes
    assert record is not None
    assert (dict(record.class_map), record.score_threshold) == ({"dog": "table"}, 0.3)
    assert {name.split("/")[0] for name in read_manifest(again).files} == {
        "detector", "golden.npy", "model.onnx",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mapping", "match"),
    [
        ({"horse": "chair"}, "expected labels of the 2D detector .*cat, dog, owl.*got 'horse'"),
        ({"cat": "bench"}, "cat: expected a class of the network .*chair, table, sofa.*got 'bench'"),
        ({}, "expected at least one label"),
        (None, "no label of the 2D detector .*cat, dog, owl.* is a class of the network"),
    ],
)
def test_maps_that_fit_neither_side_are_refused_and_nothing_is_left(
    network: Path, tiny_bundle: Path, tmp_path: Path, mapping: dict[str, str] | None, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        bundle_rgbd(network, tiny_bundle, output=tmp_path / "out", class_map=mapping)
    assert not list(tmp_path.iterdir())


def test_parts_of_another_kind_are_refused_by_name(
    network: Path, alone: Path, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="expected the bundle of a network with image votes.*bundle of vote"):
        bundle_rgbd(alone, tiny_bundle, output=tmp_path / "a")
    with pytest.raises(InputError, match="expected the bundle of a 2D detector, got a bundle of votenet"):
        bundle_rgbd(network, alone, output=tmp_path / "a")
    with pytest.raises(InputError, match="got a checkpoint of yolov5n; tercelet export it first"):
        bundle_rgbd(network, tiny_checkpoint, output=tmp_path / "a")
    with pytest.raises(InputError, match="expected the bundle of a network that needs no picture"):
        bundle_rgbd(network, tiny_bundle, output=tmp_path / "a", class_map=MAP, without_picture=network)
    (tmp_path / "map.json").write_text('{"cat": ["chair"]}')
    assert main(
        ["bundle-rgbd", str(network), str(tiny_bundle), "--class-map", str(tmp_path / "map.json")]
    ) == 2  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.json"]


def test_a_changed_part_is_found_when_the_folder_is_opened(
    whole: Path, tmp_path: Path, network: Path, tiny_bundle: Path
) -> None:
    folder = bundle_rgbd(network, tiny_bundle, output=tmp_path / "out", class_map=MAP)
    for name in ("detector/manifest.json", "detector/model.onnx"):
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        with pytest.raises(CheckFailedError, match="was changed or damaged"):
            open_pipeline(folder)
        path.write_bytes(before)
    with open_pipeline(folder):
        pass


def test_common_names_of_coco_are_known(network: Path) -> None:
    from tercelet.export.rgbd_bundle import _class_map

    found = _class_map(None, ("person", "couch", "dining table", "chair"), VOTES.classes)
    assert found == {"couch": "sofa", "dining table": "table", "chair": "chair"}
