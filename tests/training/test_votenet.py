"""VoteNet: the head of each tower as upstream has it, its options, its decoding, what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_cases import load_case
from torch import Tensor

from tercelet.contract.box3d import SUNRGBD_CLASSES, SUNRGBD_MEAN_SIZES
from tercelet.contract.errors import InputError
from tercelet.training import build, detector_names
from tercelet.training.detectors.point_detector import Proposals
from tercelet.training.detectors.point_layers import Level
from tercelet.training.detectors.votenet.predictions import (
    Predictions,
    decoded_proposals,
    raw_parts,
    raw_size,
)
from tercelet.training.detectors.votenet.proposal_head import SAMPLINGS, ProposalHead, ProposalRules
from tercelet.training.detectors.votenet.vote_module import VoteModule

# Of the fixtures of points (README-3d): relative to the largest value.
TOLERANCE = 2e-4
TOWERS = {"joint": (512, (512, 256)), "pts": (256, (256, 256)), "img": (256, (256, 256))}


def close(found: Tensor, expected: np.ndarray) -> bool:
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    return found.shape == expected.shape and float(np.abs(found.numpy() - expected).max()) <= limit


def room(count: int, *, batch: int = 1, seed: int = 0) -> Tensor:
    """A cloud of a room of 4 by 4 by 2.4 metres, with heights."""
    drawn = np.random.default_rng(seed).random((batch, count, 3)) * (4, 4, 2.4) - (2, 0, 1.4)
    return torch.from_numpy(np.concatenate((drawn, drawn[..., 2:] + 1.4), 2).astype(np.float32))


def test_the_table_has_it_as_a_detector_of_points() -> None:
    assert detector_names("points")[0] == "votenet"
    assert "votenet" not in detector_names("detector")
    with pytest.raises(InputError, match="unknown detector 'votnet': did you mean votenet"):
        build("votnet")


def test_it_has_the_parameters_of_upstream() -> None:
    network = build("votenet")
    assert sum(parameter.numel() for parameter in network.parameters()) == 951_506
    assert network.classes == 10
    assert network.default_labels == SUNRGBD_CLASSES
    assert network.points == 20_000


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("tower", TOWERS)
def test_a_head_proposes_what_upstream_does(shared: Path, tower: str, sampling: Any) -> None:
    _, weights, inputs, outputs = load_case(shared, f"imv_votehead_{tower}")
    channels, hidden = TOWERS[tower]
    head = ProposalHead(channels, classes=10, hidden=hidden, rules=ProposalRules(ties="mmcv")).eval()
    prefix = f"pts_bbox_head_{tower}."
    assert [prefix + name for name in head.state_dict()] == list(weights)
    head.load_state_dict({name.removeprefix(prefix): torch.from_numpy(v) for name, v in weights.items()})
    points, features = (torch.from_numpy(inputs[name]) for name in ("seed_points", "seed_features"))
    with torch.inference_mode():
        found = head(Level(points, features, torch.arange(points.shape[1])[None]), sampling=sampling)
    assert close(found.vote_points, outputs["vote_points"])
    assert close(found.vote_features[:, ::8], outputs["vote_features_every8"])
    expected = {name.partition(".")[2]: v for name, v in outputs.items() if name.startswith(f"{sampling}.")}
    assert np.array_equal(found.proposal_indices.numpy(), expected["aggregated_indices"])
    assert close(found.proposal_points, expected["aggregated_points"])
    assert close(found.proposal_features[:, ::4], expected["aggregated_features_every4"])
    parts = raw_parts(found.raw, classes=10, yaw_bins=12)
    assert close(parts.objectness, expected["obj_scores"])
    assert close(parts.classes, expected["sem_scores"])
    assert close(found.proposal_points + parts.offset, expected["center"])
    assert close(parts.yaw_class, expected["dir_class"])
    assert close(parts.yaw_left, expected["dir_res_norm"])
    assert close(parts.size_class, expected["size_class"])
    assert close(parts.size_left * torch.tensor(SUNRGBD_MEAN_SIZES), expected["size_res"])
    decoded = decoded_proposals(found.raw, found.proposal_points, mean_sizes=SUNRGBD_MEAN_SIZES, yaw_bins=12)
    assert close(decoded.boxes, expected["bbox3d"])


@pytest.mark.parametrize(
    ("number", "left", "yaw"),
    [
        (0, 0.0, 0.0),
        (3, 0.0, math.pi / 2),
        (6, 0.0, math.pi),
        (6, 0.5, -23 * math.pi / 24),
        (11, -1.0, -math.pi / 4),
    ],
)
def test_a_proposal_is_decoded_by_hand(number: int, left: float, yaw: float) -> None:
    raw = torch.zeros(1, 1, raw_size(2, 12))
    parts = raw_parts(raw, classes=2, yaw_bins=12)
    parts.objectness[0, 0] = torch.tensor([0.0, math.log(3)])
    parts.classes[0, 0] = torch.tensor([math.log(4), 0.0])
    parts.offset[0, 0] = torch.tensor([0.5, 0.0, -1.0])
    parts.yaw_class[0, 0, number] = 1
    parts.yaw_left[0, 0, number] = left
    parts.size_class[0, 0, 1] = 1
    raw[0, 0, -3:] = torch.tensor([0.0, 0.5, -2.0])
    found = decoded_proposals(
        raw, torch.ones(1, 1, 3), mean_sizes=((9.0, 9.0, 9.0), (1.0, 2.0, 3.0)), yaw_bins=12
    )
    assert found.boxes[0, 0].tolist() == pytest.approx([1.5, 1, 0, 1, 3, -3, yaw], abs=1e-6)
    assert float(found.objectness) == pytest.approx(0.75)
    assert found.class_scores[0, 0].tolist() == pytest.approx([0.8, 0.2])
    assert torch.equal(found.raw, raw)


def test_with_one_bin_boxes_lie_along_the_axes() -> None:
    found = decoded_proposals(
        torch.ones(1, 4, raw_size(1, 1)), torch.zeros(1, 4, 3), mean_sizes=((1.0, 1.0, 1.0),), yaw_bins=1
    )
    assert found.boxes[..., 6].tolist() == [[0.0] * 4]
    assert found.boxes[0, 0, 3:6].tolist() == [2.0] * 3


def test_votes_are_of_length_one_only_where_that_is_asked_for() -> None:
    torch.manual_seed(0)
    module = VoteModule(8, (8,)).eval()
    points, features = torch.rand(1, 5, 3), torch.randn(1, 8, 5)
    with torch.inference_mode():
        votes = module(points, features)
        module.is_normalised = False
        plain = module(points, features)
    lengths = plain.features.norm(dim=1, keepdim=True)
    assert torch.allclose(votes.features.norm(dim=1), torch.ones(1, 5))
    assert torch.allclose(votes.features * lengths, plain.features, atol=1e-6)
    assert torch.allclose(votes.points - points, votes.offsets, atol=1e-6)


def test_it_proposes_boxes_in_use_and_gives_losses_their_numbers_in_training() -> None:
    torch.manual_seed(0)
    network = build("votenet", proposals=32).eval()
    given = room(700, batch=2)
    with torch.inference_mode():
        found = network(given)
    assert isinstance(found, Proposals)
    assert found.boxes.shape == (2, 32, 7)
    assert found.objectness.shape == (2, 32)
    assert torch.allclose(found.class_scores.sum(2), torch.ones(2, 32))
    assert found.raw.shape == (2, 32, 79)
    numbers = network.train()(given)
    assert isinstance(numbers, Predictions)
    assert torch.equal(numbers.seed_points[0], given[0, numbers.seed_indices[0], :3])
    numbers.raw.square().mean().backward()
    gradients = [p.grad for name, p in network.named_parameters() if name.endswith("conv.weight")]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)


def test_a_cloud_alone_and_in_a_batch_gives_the_same() -> None:
    torch.manual_seed(0)
    network = build("votenet", proposals=16).eval()
    given = room(600, batch=2)
    with torch.inference_mode():
        together, alone = network(given), network(given[1:])
    assert torch.allclose(together.boxes[1:], alone.boxes, atol=1e-5)


def test_fewer_neighbours_are_those_of_each_level() -> None:
    network = build("votenet", neighbours=[16, 12, 8, 4])
    assert [level.samples for level in network.pts_backbone.SA_modules] == [16, 12, 8, 4]
    plain = build("votenet")
    assert [level.samples for level in plain.pts_backbone.SA_modules] == [64, 32, 16, 16]
    # What is around a point changes, no weight does.
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in plain.state_dict().items()
    }


def test_its_options_rebuild_it() -> None:
    made = build("votenet", classes=2, mean_sizes=[1, 1, 1, 2, 2, 2.5], yaw_bins=1, points=40_000)
    assert made.options["mean_sizes"] == [1.0, 1.0, 1.0, 2.0, 2.0, 2.5]
    assert made.default_labels is None
    again = build("votenet", **made.options)
    assert again.options == made.options
    assert [v.shape for v in again.state_dict().values()] == [v.shape for v in made.state_dict().values()]


def test_its_probe_gives_finite_numbers() -> None:
    network = build("votenet").eval()
    with torch.inference_mode():
        found = network(*network.probe())
    assert all(bool(part.isfinite().all()) for part in found)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"classes": 0}, "classes: expected a whole number of at least 1, got 0"),
        ({"classes": 3}, "mean_sizes: expected 9 numbers above 0, .* for each of 3 classes, got 30 of them"),
        ({"mean_sizes": [0.0] * 30}, "mean_sizes: expected 30 numbers above 0"),
        ({"mean_sizes": "large"}, "mean_sizes: expected 30 numbers above 0, .* got 'large'"),
        ({"proposal_radius": -1.0}, "proposal_radius: expected a number above 0, got -1.0"),
        ({"norm_eps": float("nan")}, "norm_eps: expected a number above 0, got nan"),
        ({"proposal_sampling": "vote_fps"}, "proposal_sampling: expected seed or vote, got 'vote_fps'"),
        ({"interpolation": "nearest"}, "interpolation: expected distance or squared, got 'nearest'"),
        ({"ties": "highest"}, "ties: expected lowest or mmcv, got 'highest'"),
        ({"normalised_votes": 1}, "normalised_votes: expected true or false, got 1"),
        ({"neighbours": (16, 16)}, "neighbours: expected 4 numbers, one a level, got .16, 16."),
        ({"neighbours": (16, 16, 0, 8)}, "neighbours: expected a whole number of at least 1, got 0"),
        ({"radius": 1}, "votenet: expected options among classes, .* got 'radius'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build("votenet", **options)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (torch.zeros(1, 0, 4), "expected at least one point, got an empty cloud"),
        (torch.zeros(1, 50, 3), r"expected a cloud \(B, N, 4\) of floats .* got \(1, 50, 3\)"),
        (torch.zeros(50, 4), r"expected a cloud .* got \(50, 4\)"),
        (torch.zeros(1, 50, 4, dtype=torch.int64), r"of torch\.int64"),
    ],
)
def test_what_is_no_cloud_is_refused(given: Tensor, match: str) -> None:
    with pytest.raises(InputError, match=match):
        build("votenet").eval()(given)
