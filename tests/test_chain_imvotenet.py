"""ImVoteNet beside a real 2D detector on a real frame: what the bundle gives is what torch makes of both.

The 3D part has random weights: its boxes mean nothing, and every one of them must come out the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.manifest import Provenance
from tercelet.contract.session import PointSession, Proposals
from tercelet.export import bundle_rgbd, export
from tercelet.runtime import open_pipeline
from tercelet.runtime.clouds.sampling import detector_points
from tercelet.runtime.command_line import main
from tercelet.runtime.sources.rgbd import RgbdFrame, read_rgbd, rgbd_files
from tercelet.runtime.vision import read_image
from tercelet.training import build, write_checkpoint
from tercelet.training.detectors.faster_rcnn.detector import BGR_MEAN
from tercelet.training.detectors.imvotenet.detector import ImVoteNet
from tercelet.training.detectors.imvotenet.view import PictureView

POINTS, BOXES = 4000, 20
# Of the largest number; and the share of proposals that must be within it: the last bit of a vote may put
# another point into a ball, which changes a proposal as a whole.
SAME, MOST = 1e-4, 0.97
BED = (0.0, 184.8, 453.8, 526.1)  # in the picture of frame 000002, by the official YOLOv5n


class Overheard:
    """A session whose last inputs and proposals can be looked at."""

    def __init__(self, session: PointSession) -> None:
        self._session = session
        self.backend = session.backend
        self.inputs: Mapping[str, np.ndarray] = {}

    def run(self, inputs: Mapping[str, np.ndarray]) -> Proposals:
        self.inputs = dict(inputs)
        self.proposals = self._session.run(inputs)
        return self.proposals

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def network() -> ImVoteNet:
    torch.manual_seed(3)
    made = build("imvotenet", image_branch=False, points=POINTS).eval()
    assert isinstance(made, ImVoteNet)
    return made


@pytest.fixture(scope="module")
def bundle(network: ImVoteNet, yolov5n_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The point tower and the official YOLOv5n in one folder, COCO's names mapped by themselves."""
    folder = tmp_path_factory.mktemp("imvotenet")
    provenance = Provenance(source="random", sha256="0" * 64, format="none")
    write_checkpoint(folder / "checkpoint", network, labels=SUNRGBD_CLASSES, provenance=provenance)
    tower = export(folder / "checkpoint", output=folder / "tower", boxes=BOXES)
    return bundle_rgbd(tower, yolov5n_bundle, output=folder / "whole")


@pytest.fixture(scope="module")
def frame(shared: Path) -> RgbdFrame:
    (files,) = rgbd_files(shared / "data" / "sunrgbd" / "000002")
    return read_rgbd(files)


def same_share(found: Proposals, expected: list[np.ndarray]) -> float:
    close = [
        (np.abs(one[0] - two[0]).reshape(len(one[0]), -1) <= SAME * max(1.0, float(np.abs(two).max()))).all(1)
        for one, two in zip(found, expected, strict=True)
    ]
    return float(np.all(close, axis=0).mean())


def test_the_bundle_gives_what_torch_makes_of_the_cloud_the_picture_and_the_2d_boxes(
    network: ImVoteNet, bundle: Path, frame: RgbdFrame
) -> None:
    with open_pipeline(bundle, threads=1) as detect:
        overheard = Overheard(detect.session)
        detect.session = overheard
        found = detect(frame)
    seen = found.picture_boxes
    assert [seen.label_of(row) for row in range(len(seen))] == ["bed"]
    np.testing.assert_allclose(seen.boxes[0], BED, atol=0.1)
    assert found.notes == ()
    assert frame.image is not None
    assert frame.depth2img is not None
    image = torch.from_numpy((frame.image - np.array(BGR_MEAN)).astype(np.float32)).permute(2, 0, 1)
    view = PictureView(frame.depth2img, frame.image.shape[:2])
    cloud = torch.from_numpy(detector_points(frame.cloud.points, POINTS))
    row = [*seen.boxes[0], seen.scores[0], SUNRGBD_CLASSES.index("bed")]
    boxes = torch.tensor(np.array([row, [0] * 6], np.float32))
    with torch.inference_mode():
        expected = [part.numpy() for part in network.detect(cloud, image, view, boxes=boxes)[:3]]
        blind = [part.numpy() for part in network.detect(cloud, image, view, boxes=torch.zeros(1, 6))[:3]]
    assert same_share(overheard.proposals, expected) >= MOST
    # Without the bed's votes other proposals come out: the picture has its part.
    assert same_share(overheard.proposals, blind) < 0.5


def test_a_seed_in_the_box_of_the_bed_gets_its_votes(
    network: ImVoteNet, bundle: Path, frame: RgbdFrame
) -> None:
    with open_pipeline(bundle, threads=1) as detect:
        overheard = Overheard(detect.session)
        detect.session = overheard
        detect(frame)
    with torch.inference_mode():
        seeds = network.fused_seeds(*(torch.from_numpy(part) for part in overheard.inputs.values()))
    share = float((seeds.mask[0].reshape(3, -1).amax(0) > 0).float().mean())
    assert 0.05 < share < 0.95
    bed = seeds.cues[0, 5 + SUNRGBD_CLASSES.index("bed")]
    assert float(bed.max()) == pytest.approx(0.458, abs=0.01)


def test_the_command_says_what_was_found_in_the_picture_and_draws_it(
    shared: Path, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = shared / "data" / "sunrgbd" / "000002"
    asked = ["run", str(bundle), str(source), "--json", "-", "--save", str(tmp_path), "--threads", "1"]
    assert main([*asked, "--max-detections", "3"]) == 0
    captured = capfd.readouterr()
    record = json.loads(captured.out)
    assert [item["label"] for item in record["picture_boxes"]] == ["bed"]
    assert record["timing_ms"]["picture"] > 0
    assert record["notes"] == []
    (drawn,) = tmp_path.iterdir()
    assert read_image(drawn).shape[0] == 720


def test_depth_alone_is_looked_at_without_votes_and_that_is_said(
    shared: Path, bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cloud = shared / "data" / "sunrgbd" / "000002" / "votenet_v1_pc.npz"
    assert main(["run", str(bundle), str(cloud), "--json", "-", "--no-check"]) == 0
    captured = capfd.readouterr()
    record = json.loads(captured.out)
    assert record["picture_boxes"] is None
    assert "no picture: imvotenet looked at the points alone, without a vote" in captured.err
