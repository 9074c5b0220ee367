"""What a network with image votes is shown of a picture, and what becomes of frames without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cloud_bundle import POINTS, room, write_cloud_bundle

from tercelet.contract.artefact import read_manifest
from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import PictureVotesRecord, Postprocess
from tercelet.contract.session import Proposals
from tercelet.ops.vote_fusion.spec import vote_fusion_reference
from tercelet.runtime.clouds.cloud import Cloud
from tercelet.runtime.clouds.upright import Upright
from tercelet.runtime.pipelines.picture_votes import PictureVotes
from tercelet.runtime.pipelines.rgbd import RgbdPipeline
from tercelet.runtime.rgbd_drawing import draw_rgbd
from tercelet.runtime.rgbd_running import record_of_rgbd
from tercelet.runtime.sources.rgbd import RgbdFrame
from tercelet.training.detectors.imvotenet.view import PictureView

HEIGHT, WIDTH = 120, 160
# A camera at the origin that looks along y: x to the right, z up; pixels counted from 1.
CAMERA = np.array([[100.0, 80, 0], [0, 60, -100], [0, 1, 0]])
LABELS_2D = ("couch", "dog", "chair", "dining table")
RECORD = PictureVotesRecord(
    boxes=4,
    classes=("bed", "table", "sofa", "chair", "toilet", "desk", "dresser", "stand", "shelf", "bathtub"),
    mean=(103.53, 116.28, 123.675),
    detector="detector",
    class_map={"couch": "sofa", "chair": "chair", "dining table": "table"},
    score_threshold=0.2,
)
# Left, top, right, bottom, score, label number: over the edge, unknown, low, outside, and two more tables.
FOUND = (
    (-20, 10, 60, 90, 0.9, 0),
    (10, 10, 50, 50, 0.8, 1),
    (100, 40, 150, 110, 0.6, 2),
    (5, 5, 20, 20, 0.1, 2),
    (-50, -50, -10, -10, 0.7, 2),
    (30, 30, 90, 90, 0.5, 3),
    (31, 30, 90, 90, 0.45, 3),
    (32, 30, 90, 90, 0.4, 3),
)


class FixedBoxes:
    """A 2D detector that finds FOUND in everything."""

    labels = LABELS_2D
    is_closed = False

    def __call__(self, frame: np.ndarray) -> Detections:
        rows = np.array(FOUND, np.float32)
        return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), self.labels)

    def close(self) -> None:
        self.is_closed = True


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def scattered(count: int = 500) -> np.ndarray:
    """Points before, beside and behind the camera, one of them in it."""
    draw = np.random.default_rng(1).uniform(-3, 5, (count, 4)).astype(np.float32)
    draw[7, :3] = 0
    return draw


def test_the_boxes_shown_are_those_of_known_classes_inside_the_picture_best_first_and_so_many() -> None:
    seen = PictureVotes(RECORD, FixedBoxes()).seen(picture(), scattered(), CAMERA)
    expected = np.array(
        [
            [0, 10, 60, 90, 0.9, 2],
            [100, 40, 150, 110, 0.6, 3],
            [30, 30, 90, 90, 0.5, 1],
            [31, 30, 90, 90, 0.45, 1],
        ]
    )
    np.testing.assert_allclose(seen.inputs["boxes"], expected[None], atol=1e-6)
    assert seen.boxes is not None
    assert [seen.boxes.label_of(row) for row in range(4)] == ["sofa", "chair", "table", "table"]
    np.testing.assert_allclose(seen.inputs["picture"], [[[1, 0, WIDTH], [1, 0, HEIGHT]]])
    np.testing.assert_allclose(seen.inputs["depth2img"][0], np.column_stack((CAMERA, np.zeros(3))))


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_texture_is_the_one_that_training_looks_up(channels: Any) -> None:
    image, points = picture(), scattered()
    seen = PictureVotes(replace(RECORD, channels=channels), FixedBoxes()).seen(image, points, CAMERA)
    ordered = image if channels == "BGR" else image[..., ::-1]
    prepared = (ordered.astype(np.float32) - np.array(RECORD.mean, np.float32)).transpose(2, 0, 1)
    view = PictureView(CAMERA, (HEIGHT, WIDTH))
    expected = view.texture(torch.from_numpy(points), torch.from_numpy(prepared.copy()))
    assert seen.inputs["texture"].shape == (1, len(points), 3)
    np.testing.assert_allclose(seen.inputs["texture"][0], expected.numpy(), atol=1e-6)


def test_without_a_picture_no_point_gets_a_vote() -> None:
    points = scattered()
    nothing = PictureVotes(RECORD, FixedBoxes()).nothing(len(points))
    parts = [nothing.inputs[name][0] for name in ("texture", "boxes", "depth2img", "picture")]
    cues, mask = vote_fusion_reference(points[:, :3], *parts)
    assert not mask.any()
    assert not cues.any()
    assert nothing.boxes is None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"class_map": {"sofa bed": "sofa"}}, "expected labels of the 2D detector .* got sofa bed"),
        ({"class_map": {}}, "expected at least one label of the 2D detector"),
    ],
)
def test_a_map_that_the_detector_does_not_know_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        PictureVotes(replace(RECORD, **change), FixedBoxes())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"boxes": 0}, "boxes: expected at least 1, got 0"),
        ({"mean": (1.0, 2.0)}, "mean: expected three numbers"),
        ({"scale": 0.0}, "scale: expected a number above 0"),
        ({"score_threshold": 1.5}, "score_threshold: expected 0 to 1, got 1.5"),
        ({"class_map": {"couch": "settee"}}, "expected classes of the network .* got settee"),
    ],
)
def test_a_record_that_cannot_be_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        replace(RECORD, **change)


class FixedProposals:
    """An engine that gives one box round the room's thing and keeps what it was given."""

    backend = "fixed"

    def __init__(self) -> None:
        self.seen: list[dict[str, np.ndarray]] = []

    def run(self, inputs: dict[str, np.ndarray]) -> Proposals:
        self.seen.append(dict(inputs))
        box = np.array([[[0.4, 2.0, 0.4, 0.8, 0.8, 0.8, 0]]], np.float32)
        return Proposals(box, np.full((1, 1), 0.9, np.float32), np.full((1, 1, 2), 0.5, np.float32))

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cloud_bundle(tmp_path_factory.mktemp("votes") / "bundle")


def frame(*, has_image: bool = True, has_calibration: bool = True) -> RgbdFrame:
    return RgbdFrame(
        source="made",
        cloud=Cloud("made", room()),
        upright=Upright(np.eye(3), "identity"),
        image=picture() if has_image else None,
        depth2img=CAMERA if has_calibration else None,
    )


def voting(
    bundle: Path, *, detect: Any = None, without_picture: RgbdPipeline | None = None
) -> tuple[RgbdPipeline, FixedProposals]:
    session = FixedProposals()
    manifest = replace(read_manifest(bundle), picture_votes=RECORD)
    pipeline = RgbdPipeline(
        manifest,
        session,
        postprocess=Postprocess(),
        picture=PictureVotes(RECORD, detect),
        without_picture=without_picture,
    )
    return pipeline, session


def test_a_frame_with_a_picture_gives_votes_and_says_what_they_cost(bundle: Path) -> None:
    detect, session = voting(bundle, detect=FixedBoxes())
    found = detect(frame())
    assert set(session.seen[0]) == {"points", "texture", "boxes", "depth2img", "picture"}
    assert session.seen[0]["points"].shape[1] == session.seen[0]["texture"].shape[1] == POINTS
    assert session.seen[0]["boxes"][0, :, 4].tolist() == pytest.approx([0.9, 0.6, 0.5, 0.45])
    assert tuple(found.timing_ms) == ("preprocess", "picture", "infer", "postprocess")
    assert found.notes == ()
    record = record_of_rgbd(frame(), found, found.timing_ms)
    assert [item["label"] for item in record["picture_boxes"]] == ["sofa", "chair", "table", "table"]
    plain = replace(found, picture_boxes=None)
    assert not np.array_equal(draw_rgbd(frame(), found), draw_rgbd(frame(), plain))


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ({"has_image": False}, "no picture: votenet looked at the points alone, without a vote"),
        ({"has_calibration": False}, "no calibration leads into the picture: votenet looked at the points"),
    ],
)
def test_a_frame_without_picture_or_calibration_is_looked_at_without_votes_and_that_is_said(
    bundle: Path, given: dict[str, bool], note: str
) -> None:
    detect, session = voting(bundle, detect=FixedBoxes())
    found = detect(frame(**given))
    assert not session.seen[0]["boxes"].any()
    assert len(found.notes) == 1
    assert found.notes[0].startswith(note)
    assert found.picture_boxes is None


def test_a_bundle_without_a_2d_detector_says_so(bundle: Path) -> None:
    detect, session = voting(bundle)
    found = detect(frame())
    assert not session.seen[0]["boxes"].any()
    assert session.seen[0]["texture"].any()
    assert "no 2D detector" in found.notes[0]
    assert "tercelet bundle-rgbd" in found.notes[0]


def test_another_network_gets_the_frames_without_a_picture_and_those_alone(bundle: Path) -> None:
    other = FixedProposals()
    alone = RgbdPipeline(read_manifest(bundle), other, postprocess=Postprocess())
    detector = FixedBoxes()
    detect, session = voting(bundle, detect=detector, without_picture=alone)
    detect(frame())
    assert (len(session.seen), len(other.seen)) == (1, 0)
    found = detect(frame(has_image=False))
    assert (len(session.seen), len(other.seen)) == (1, 1)
    assert found.notes == ("no picture: votenet looked at the points alone in place of votenet",)
    detect(room())
    assert (len(session.seen), len(other.seen)) == (1, 2)
    detect.close()
    assert detector.is_closed


def test_votes_belong_to_networks_that_take_them(bundle: Path) -> None:
    manifest, session = read_manifest(bundle), FixedProposals()
    with pytest.raises(InputError, match="votenet is none"):
        RgbdPipeline(manifest, session, postprocess=Postprocess(), picture=PictureVotes(RECORD, None))
    with pytest.raises(InputError, match="votenet is one"):
        RgbdPipeline(replace(manifest, picture_votes=RECORD), session, postprocess=Postprocess())
    other = RgbdPipeline(replace(manifest, labels=("table", "chair")), session, postprocess=Postprocess())
    with pytest.raises(InputError, match="without_picture: expected the classes chair, table, got table"):
        voting(bundle, without_picture=other)
