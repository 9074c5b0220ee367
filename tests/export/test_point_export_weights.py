"""Published VoteNet weights, exported: the committed reference detections of real rooms, from the bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercelet.contract.artefact import read_manifest
from tercelet.contract.box3d import SUNRGBD_CLASSES, SUNRGBD_MEAN_SIZES, yaw_from_heading
from tercelet.contract.errors import MissingDependencyError
from tercelet.contract.session import PointSession, SessionOptions
from tercelet.export import build_ops, export
from tercelet.runtime.boxes3d_selection import select_boxes
from tercelet.runtime.clouds import detector_points, read_cloud
from tercelet.runtime.rgbd_opening import open_point_session
from tercelet.training import import_weights
from tercelet.training.detectors.votenet.predictions import decoded_proposals

KERAS = "votenet_sunrgbd_v2_keras.h5"
SAME_METRES = 1e-3
SAME_SCORE = 1e-3
# The reference and where its cloud lies.
SCENES = {
    "000002": ("000002/votenet_reference", "000002/votenet_v1_pc.npz"),
    "demo": ("votenet_demo/keras_weights_reference", "votenet_demo/input_pc_sunrgbd.ply"),
}
FORMS = ("bodies", "native")


@pytest.fixture(scope="module")
def sunrgbd(shared: Path) -> Path:
    return shared / "data" / "sunrgbd"


@pytest.fixture(scope="module")
def bundle(shared: Path, sunrgbd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("votenet")
    weights = shared / "data" / "weights" / KERAS
    checkpoint = import_weights(weights, detector="votenet", output=folder / "votenet-checkpoint")
    rooms = [sunrgbd / cloud for _, cloud in SCENES.values()]
    return export(checkpoint, output=folder / "votenet-bundle", frames=rooms)


@pytest.fixture(scope="module", params=FORMS)
def session(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened, is_native = bundle, request.param == "native"
    if is_native:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TERCELET_CACHE", str(tmp_path_factory.mktemp("cache")))
                built = build_ops(bundle, output=bundle.parent / "native-bundle").bundle
        except MissingDependencyError as error:
            pytest.skip(f"no native library: {error}")
        assert built is not None
        opened = built
    made = open_point_session(opened, read_manifest(opened), SessionOptions(threads=1))
    assert made.backend.endswith("with native ops") == is_native
    yield made
    made.close()


def boxes_of_upstream(raw: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, ...]:
    """Raw numbers (P, 79) in the order and with the heading of facebookresearch/votenet, and the proposals'
    points -> boxes and scores of all proposals."""
    objectness, centre, heading, left, sizes, classes = np.split(raw, [2, 5, 17, 29, 69], axis=1)
    turned = -np.arange(12) % 12
    rows = np.concatenate((objectness, classes, centre, heading[:, turned], -left[:, turned], sizes), 1)
    found = decoded_proposals(
        torch.from_numpy(rows)[None],
        torch.from_numpy(points)[None],
        mean_sizes=SUNRGBD_MEAN_SIZES,
        yaw_bins=12,
    )
    return tuple(part[0].numpy() for part in found[:3])


def turn_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Radians, the shorter way round."""
    return np.abs((first - second + np.pi) % (2 * np.pi) - np.pi)


def test_what_torch_would_decide_otherwise_is_next_to_nothing(bundle: Path) -> None:
    parity = read_manifest(bundle).cloud_parity
    assert parity is not None
    assert (parity.clouds, parity.proposals) == (3, 768)
    assert parity.changed <= 1e-3 * parity.decisions
    assert parity.boxes_p999 <= 1e-4
    assert parity.scores_p999 <= 1e-4


@pytest.mark.parametrize("scene", SCENES)
def test_the_bundle_finds_in_real_rooms_what_the_reference_finds(
    sunrgbd: Path, session: PointSession, scene: str
) -> None:
    reference, cloud = SCENES[scene]
    points = detector_points(read_cloud(sunrgbd / cloud).points, 20_000)
    found = session.run({"points": points[None]})
    again = session.run({"points": points[None]})
    assert all(np.array_equal(first, second) for first, second in zip(found, again, strict=True))
    boxes, objectness, class_scores = (part[0] for part in found)
    with np.load(sunrgbd / f"{reference}_raw.npz") as stored:
        wanted = boxes_of_upstream(stored["scores79"], stored["proposal_xyz"])
    assert np.abs(boxes[:, :6] - wanted[0][:, :6]).max() <= SAME_METRES
    assert turn_between(boxes[:, 6], wanted[0][:, 6]).max() <= SAME_METRES
    assert np.abs(objectness - wanted[1]).max() <= SAME_SCORE
    assert np.abs(class_scores - wanted[2]).max() <= SAME_SCORE
    # The reference keeps proposals by objectness alone, whether points lie inside or not.
    kept = select_boxes(boxes, objectness, class_scores, points, score_threshold=0.5, least_points=-1)
    expected = json.loads((sunrgbd / f"{reference}_detections.json").read_text())["detections"]
    assert len(kept) == len(expected) > 5
    by_objectness = np.argsort(-objectness[kept.proposals], kind="stable")
    for row, detection in zip(by_objectness, expected, strict=True):
        assert SUNRGBD_CLASSES[kept.class_ids[row]] == detection["cls"]
        box, proposal = kept.boxes[row], kept.proposals[row]
        assert np.abs(box[:3] - detection["center"]).max() <= SAME_METRES
        assert np.abs(box[3:6] - detection["size_full"]).max() <= SAME_METRES
        heading = yaw_from_heading(np.float64(detection["heading"]))
        assert turn_between(box[6], heading) <= SAME_METRES
        assert abs(objectness[proposal] - detection["objectness"]) <= SAME_SCORE
        assert abs(class_scores[proposal].max() - detection["cls_prob"]) <= SAME_SCORE
