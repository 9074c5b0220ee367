"""Targets and losses of VoteNet and ImVoteNet: upstream's numbers, and scenes that are no usual ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from reference_cases import load_case, seeded_weights
from torch import Tensor

from tercelet.contract.box3d import SUNRGBD_MEAN_SIZES
from tercelet.contract.errors import InputError
from tercelet.training.detectors.faster_rcnn.detector import BGR_MEAN
from tercelet.training.detectors.imvotenet.box_dropout import half_of_boxes
from tercelet.training.detectors.imvotenet.detector import ImVoteNet, TowerPredictions
from tercelet.training.detectors.imvotenet.losses import (
    LOSS_WEIGHTS,
    TOWER_WEIGHTS,
    imvotenet_losses,
    votenet_losses,
)
from tercelet.training.detectors.imvotenet.options import ImVoteNetOptions
from tercelet.training.detectors.imvotenet.targets import SceneTargets, batch_of_scenes, targets_of_scene
from tercelet.training.detectors.imvotenet.view import PictureView
from tercelet.training.detectors.point_layers import GATHERINGS, PointNet2

# The tolerance that the fixtures' page gives.
TOLERANCE = 2e-4
BINS = 12
UPSTREAM_NAMES = {
    "vote": "vote_loss",
    "objectness": "objectness_loss",
    "centre": "center_loss",
    "yaw_class": "dir_class_loss",
    "yaw_left": "dir_res_loss",
    "size_class": "size_class_loss",
    "size_left": "size_res_loss",
    "semantic": "semantic_loss",
}
ROOM = np.array(
    [[0.0, 3, 0.5, 1, 1, 1, 0.3], [0.2, 3.1, 0.5, 1, 1, 1, -2.0], [-1, 2, 0.4, 0.5, 0.6, 0.8, 3.1]]
)
LABELS = np.array([3, 1, 4])
# A backbone with the channels of the real one that takes a fraction of the time.
FEW_POINTS = tuple(
    replace(level, points=points, samples=4)
    for level, points in zip(GATHERINGS, (48, 32, 16, 8), strict=True)
)


class Stored(NamedTuple):
    """The stored scene: what the towers predict, the targets, and upstream's numbers."""

    found: TowerPredictions
    targets: SceneTargets
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def stored(shared: Path) -> Stored:
    """imv_losses."""
    case, _, inputs, expected = load_case(shared, "imv_losses")
    _, weights, _, _ = load_case(shared, "imv_stage2_full")
    network = ImVoteNet("imvotenet", "", ImVoteNetOptions(image_branch=False, ties="mmcv")).eval()
    scale, meta = case["weight_scale"], case["metas"]
    network.load_state_dict(
        {
            name: torch.from_numpy(np.asarray(weights[name] * scale.get(name, 1), weights[name].dtype))
            for name in network.state_dict()
        }
    )
    drawn = seeded_weights(shared).image_for(meta["img_tag"], (1, 3, *meta["pad_shape"][:2])) * 255
    image = torch.from_numpy((drawn - np.reshape(BGR_MEAN, (1, 3, 1, 1))).astype(np.float32))[0]
    view = PictureView(
        inputs["depth2img"], tuple(meta["img_shape"][:2]), scale=tuple(meta["scale_factor"][:2])
    )
    cloud = torch.from_numpy(inputs["points"])[0]
    kept = torch.from_numpy(inputs["boxes2d"][: -(-len(inputs["boxes2d"]) // 2)])
    given = (cloud, view.texture(cloud, image), kept, view.matrix(), view.picture())
    with torch.inference_mode():
        seeds = network.fused_seeds(*(tensor[None] for tensor in given))
        found = network.predictions(seeds, sampling="vote")
    targets = targets_of_scene(
        inputs["points"][0],
        inputs["gt_boxes"],
        inputs["gt_labels"],
        mean_sizes=SUNRGBD_MEAN_SIZES,
        yaw_bins=BINS,
    )
    return Stored(found, targets, expected)


def room(count: int = 200, boxes: np.ndarray = ROOM, labels: np.ndarray = LABELS) -> SceneTargets:
    """Targets of points scattered in a room with boxes."""
    points = np.random.default_rng(0).uniform((-2, 1, 0), (2, 4, 1), (count, 3)).astype(np.float32)
    return targets_of_scene(points, boxes, labels, mean_sizes=SUNRGBD_MEAN_SIZES, yaw_bins=BINS)


def small(count: int = 1) -> tuple[ImVoteNet, TowerPredictions]:
    """A small network's predictions for a batch."""
    torch.manual_seed(0)
    network = ImVoteNet("imvotenet", "", ImVoteNetOptions(image_branch=False, proposals=16)).train()
    network.pts_backbone = PointNet2(1, gatherings=FEW_POINTS)
    return network, network(*(tensor.repeat_interleave(count, 0) for tensor in network.probe()))


def test_a_scene_without_boxes_has_targets_and_finite_losses() -> None:
    targets = room(64, np.zeros((0, 7)), np.zeros(0, np.int64))
    assert (targets.centres.shape, targets.is_real.tolist()) == ((1, 1, 3), [[False]])
    assert not targets.has_vote.any()
    network, found = small()
    losses = imvotenet_losses(found, targets, yaw_bins=BINS)
    assert {name for name, loss in losses.items() if loss.item()} == {"objectness"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in network.parameters())


def test_targets_are_upstreams(stored: Stored) -> None:
    targets, expected = stored.targets, stored.expected
    assert np.array_equal(targets.has_vote[0].numpy(), expected["vote_target_masks"] != 0)
    rows = expected["vote_targets_rows"]
    assert (
        np.abs(targets.votes[0, rows].numpy().reshape(len(rows), 9) - expected["vote_targets"]).max() < 1e-5
    )
    assert np.abs(targets.centres.numpy() - expected["center_targets"]).max() < 1e-6


def test_proposals_are_matched_as_upstream_does(stored: Stored) -> None:
    from tercelet.training.detectors.imvotenet.losses import NEAR, _nearest

    targets, expected = stored.targets, stored.expected
    points = stored.found.joint.proposal_points
    assert np.abs(points.numpy() - expected["joint_aggregated_points"]).max() < TOLERANCE
    square, match = _nearest(points, targets)
    assert np.array_equal(((square + 1e-6).sqrt() < NEAR).numpy(), expected["objectness_targets"] != 0)
    for name, key in (
        ("size_class", "size_class_targets"),
        ("size_class", "mask_targets"),
        ("yaw_class", "dir_class_targets"),
    ):
        assert np.array_equal(getattr(targets, name).gather(1, match).numpy(), expected[key]), key
    assert np.abs(targets.yaw_left.gather(1, match).numpy() - expected["dir_res_targets"]).max() < 1e-4
    sizes = targets.size_left.gather(1, match[..., None].expand(-1, -1, 3)).numpy()
    assert np.abs(sizes - expected["size_res_targets"]).max() < 1e-5


@pytest.mark.parametrize("tower", ["joint", "pts", "img"])
def test_the_losses_of_a_tower_are_upstreams(stored: Stored, tower: str) -> None:
    losses = votenet_losses(getattr(stored.found, tower), stored.targets, yaw_bins=BINS)
    assert losses.keys() == LOSS_WEIGHTS.keys() == UPSTREAM_NAMES.keys()
    for name, upstream in UPSTREAM_NAMES.items():
        wanted = float(stored.expected[f"tower.{tower}.{upstream}"])
        assert float(losses[name]) == pytest.approx(wanted, rel=TOLERANCE), name


def test_the_losses_of_all_towers_are_summed_with_upstreams_weights(stored: Stored) -> None:
    losses = imvotenet_losses(stored.found, stored.targets, yaw_bins=BINS)
    for name, upstream in UPSTREAM_NAMES.items():
        wanted = float(stored.expected[f"combined.{upstream}"])
        assert float(losses[name]) == pytest.approx(wanted, rel=TOLERANCE), name
    assert sum(TOWER_WEIGHTS) == pytest.approx(1)


def test_every_parameter_of_the_towers_learns() -> None:
    network, found = small()
    torch.stack(list(imvotenet_losses(found, room(64), yaw_bins=BINS).values())).sum().backward()
    silent = {name for name, value in network.named_parameters() if value.grad is None}
    assert silent == set()


def test_the_loss_falls_when_it_is_followed() -> None:
    network, _ = small()
    targets = room(64)
    optimiser = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), 1e-3)
    values = []
    for _ in range(8):
        losses = imvotenet_losses(network(*network.probe()), targets, yaw_bins=BINS)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        values.append(total.item())
    assert values[-1] < 0.8 * values[0]


def test_padding_of_a_batch_changes_nothing() -> None:
    _, found = small(2)
    many, one = room(64), room(64, ROOM[:1], LABELS[:1])
    both = votenet_losses(found.joint, batch_of_scenes([many, many]), yaw_bins=BINS)
    alone = votenet_losses(type(found.joint)(*(part[:1] for part in found.joint)), many, yaw_bins=BINS)
    for name, loss in alone.items():
        assert both[name].item() == pytest.approx(loss.item(), rel=1e-4, abs=1e-6), name
    mixed = batch_of_scenes([one, many])
    assert mixed.is_real.tolist() == [[True, False, False], [True, True, True]]
    padded = SceneTargets(*(part[:1] for part in mixed))
    first = type(found.joint)(*(part[:1] for part in found.joint))
    for name, loss in votenet_losses(first, one, yaw_bins=BINS).items():
        same = votenet_losses(first, padded, yaw_bins=BINS)[name]
        assert same.item() == pytest.approx(loss.item(), rel=1e-5, abs=1e-7), name


def test_a_point_in_many_boxes_votes_for_three_of_them() -> None:
    boxes = np.array([[x, 0, 0, 4, 4, 4, 0] for x in (0.1, 0.2, 0.3, 0.4)])
    points = np.array([[0.0, 0, 0], [1.95, 0, 0], [2.15, 0, 0], [2.35, 0, 0], [9, 9, 9]], np.float32)
    found = targets_of_scene(points, boxes, np.zeros(4, int), mean_sizes=SUNRGBD_MEAN_SIZES, yaw_bins=BINS)
    votes = found.votes[0, :, :, 0].numpy() + points[:, :1]
    wanted = [[0.1, 0.2, 0.4], [0.1, 0.2, 0.4], [0.2, 0.3, 0.4], [0.4, 0.4, 0.4]]
    assert votes[:4] == pytest.approx(np.array(wanted), abs=1e-5)
    assert found.has_vote[0].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("boxes", "labels", "match"),
    [
        (ROOM[:, :6], LABELS, r"targets: expected boxes \(G, 7\) and labels \(G\), got \(3, 6\) and \(3,\)"),
        (ROOM, LABELS[:2], r"got \(3, 7\) and \(2,\)"),
        (ROOM * np.nan, LABELS, "targets: expected boxes of finite numbers"),
        (ROOM, LABELS + 6, "targets: expected labels of 0 to 9, got 7 to 10; map the classes"),
    ],
)
def test_boxes_that_are_none_are_refused(boxes: np.ndarray, labels: np.ndarray, match: str) -> None:
    with pytest.raises(InputError, match=match):
        room(10, boxes, labels)


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1), (2, 1), (9, 5)])
def test_half_of_the_boxes_stay_in_their_order(count: int, kept: int) -> None:
    boxes = torch.arange(count * 6, dtype=torch.float32).reshape(count, 6)
    drawn: list[Tensor] = [
        half_of_boxes(boxes, generator=torch.Generator().manual_seed(seed)) for seed in range(5)
    ]
    assert all(part.shape == (kept, 6) for part in drawn)
    assert all(part[:, 0].tolist() == sorted(part[:, 0].tolist()) for part in drawn)
    if count == 9:
        assert len({tuple(part[:, 0].tolist()) for part in drawn}) > 1
