"""Point operators and layers: indices of the fixtures exactly, features within their tolerance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_cases import load_case
from torch import Tensor

from tercelet.training.detectors.point_layers import GATHERINGS, ConvNorm, Gathering, PointNet2
from tercelet.training.detectors.point_ops import (
    TIE_RULES,
    ball_query,
    furthest_point_sample,
    gather_features,
    group,
    three_interpolate,
)

# Of the fixtures of points (README-3d): relative to the largest value.
TOLERANCE = 2e-4
# Single operations, no sums but of three.
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def operators(shared: Path) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    _, _, inputs, outputs = load_case(shared, "imv_point_ops")
    return {name: torch.from_numpy(np.asarray(value)) for name, value in inputs.items()}, outputs


def cloud(count: int, seed: int = 0, *, batch: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((batch, count, 3), np.float32))


def close(found: Tensor, expected: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    limit = tolerance * max(1.0, float(np.abs(expected).max()))
    return found.shape == expected.shape and float(np.abs(found.numpy() - expected).max()) <= limit


def same(found: Tensor, expected: np.ndarray) -> bool:
    return found.dtype == torch.int64 and np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("ties", TIE_RULES)
def test_one_point_is_sampled_again_and_again(ties: Any) -> None:
    assert furthest_point_sample(cloud(1), 3, ties=ties).tolist() == [[0, 0, 0]]
    assert furthest_point_sample(torch.ones(2, 5, 3), 4, ties=ties).tolist() == [[0] * 4] * 2


@pytest.mark.parametrize("ties", TIE_RULES)
def test_samples_are_those_of_upstream(operators: Any, ties: Any) -> None:
    inputs, outputs = operators
    assert same(furthest_point_sample(inputs["fps_xyz"], 128, ties=ties), outputs["fps_idx"])
    for name, count in (("tie", 96), ("dup", 24)):
        found = furthest_point_sample(inputs[f"fps_{name}_xyz"][None], count, ties=ties)[0]
        assert same(found, outputs[f"fps_{name}_idx_{ties}"]), name


def test_a_ball_holds_its_first_points_by_index(operators: Any) -> None:
    inputs, outputs = operators
    radius, samples = float(inputs["ball_radius"]), int(inputs["ball_nsample"])
    points, centres = inputs["ball_xyz"], inputs["ball_center"]
    found = ball_query(points, centres, radius=radius, samples=samples)
    assert same(found, outputs["ball_idx"])
    grouped = group(points, centres, inputs["group_features"], found, radius=radius)
    assert close(grouped, outputs["grouped"], ROUNDING)


@pytest.mark.parametrize(
    ("radius", "least", "name"), [(0.25, 0.0, "lattice_idx_r025"), (0.5, 0.25, "lattice_idx_min025_max05")]
)
def test_a_point_on_the_border_of_a_ball_is_outside(
    operators: Any, radius: float, least: float, name: str
) -> None:
    inputs, outputs = operators
    points, centres = inputs["lattice_xyz"][None], inputs["lattice_center"][None]
    found = ball_query(points, centres, radius=radius, samples=32, least_radius=least)
    assert same(found[0], outputs[name])


def test_a_ball_query_in_pieces_is_that_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points = cloud(300, batch=2)
    whole = ball_query(points, points[:, :70], radius=0.3, samples=8)
    monkeypatch.setattr("tercelet.ops.ball_query.torch_kernel._AT_ONCE", 300 * 32)
    assert torch.equal(ball_query(points, points[:, :70], radius=0.3, samples=8), whole)


def test_a_ball_of_more_samples_than_there_are_points_repeats_the_first() -> None:
    points = torch.tensor([[[9.0, 0, 0], [0, 0, 0], [0.1, 0, 0]]])
    found = ball_query(points, points[:, 1:2], radius=1, samples=5)
    assert found.tolist() == [[[1, 2, 1, 1, 1]]]


def weights_of(unknown: Tensor, known: Tensor, weighting: Any = "distance") -> Tensor:
    """(1, M, 3), (1, N, 3) -> (M, N): what each known point weighs at each unknown one."""
    own = torch.eye(known.shape[1])[None]
    return three_interpolate(unknown, known, own, weighting=weighting)[0].T


def test_neighbours_and_weights_are_those_of_upstream(operators: Any) -> None:
    inputs, outputs = operators
    unknown, known = inputs["nn_unknown"], inputs["nn_known"]
    spread = three_interpolate(unknown, known, inputs["nn_features"])
    assert close(spread, outputs["nn_interp"], ROUNDING)
    expected = np.zeros((200, 50), np.float32)
    np.put_along_axis(expected, outputs["nn_idx"][0], outputs["nn_weight"][0], 1)
    assert close(weights_of(unknown[:1], known[:1]), expected, ROUNDING)


def test_of_two_known_points_a_third_that_is_missing_weighs_nothing(operators: Any) -> None:
    inputs, outputs = operators
    unknown, known = inputs["nn2_unknown"][None], inputs["nn2_known"][None]
    near = outputs["nn2_dist"][:, :2].astype(np.float64)
    for weighting, power in (("distance", 1), ("squared", 2)):
        inverse = 1 / np.maximum(near, 1e-8) ** power
        expected = np.zeros((len(near), 2), np.float32)
        np.put_along_axis(expected, outputs["nn2_idx"][:, :2], inverse / inverse.sum(1, keepdims=True), 1)
        assert close(weights_of(unknown, known, weighting), expected, 1e-5), weighting


def test_weights_by_the_square_fall_with_the_square() -> None:
    places = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]])
    known = torch.tensor([[[1.0, 0, 0], [0, 2, 0], [0, 0, 2]]])
    assert torch.allclose(weights_of(places, known, "squared")[0], torch.tensor([4.0, 1.0, 1.0]) / 6)
    assert torch.allclose(weights_of(places, known)[0], torch.tensor([2.0, 1.0, 1.0]) / 4)
    assert weights_of(places, known, "squared")[1].tolist() == pytest.approx([1, 0, 0], abs=1e-9)


def test_what_is_gathered_passes_gradients_on_and_indices_do_not() -> None:
    points, features = cloud(50).requires_grad_(), torch.randn(1, 4, 50, requires_grad=True)
    indices = ball_query(points, points[:, :6], radius=0.5, samples=4)
    assert not indices.requires_grad
    group(points, points[:, :6], features, indices, radius=0.5).sum().backward()
    assert features.grad is not None
    expected = torch.zeros(50).index_add_(0, indices.flatten(), torch.ones(24))
    assert torch.equal(features.grad[0, 0], expected)
    assert gather_features(features, indices).shape == (1, 4, 6, 4)


@pytest.mark.parametrize("ties", TIE_RULES)
@pytest.mark.parametrize(("name", "counts"), [("tiny", (128, 64, 32, 16)), ("full", (2048, 1024, 512, 256))])
def test_the_backbone_is_that_of_upstream(
    shared: Path, name: str, counts: tuple[int, ...], ties: Any
) -> None:
    _, weights, inputs, outputs = load_case(shared, f"imv_pointnet2_{name}")
    gatherings = [
        Gathering(count, level.radius, level.samples, level.channels)
        for count, level in zip(counts, GATHERINGS, strict=True)
    ]
    network = PointNet2(gatherings=gatherings, ties=ties).eval()
    assert list(network.state_dict()) == list(weights)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    with torch.inference_mode():
        levels = network.levels(torch.from_numpy(inputs["points"]))
    for number, level in enumerate(levels[:4], 1):
        assert same(level.indices, outputs[f"sa{number}_idx"]), number
    seeds = levels[-1]
    assert same(seeds.indices, outputs["fp_idx"])
    if name == "full":
        assert close(seeds.features[:, :, ::16], outputs["fp_feat_every16"])
        assert close(seeds.features[0].mean(1), outputs["fp_feat_chan_mean"])
        return
    for number, level in enumerate(levels[:4], 1):
        assert close(level.features[:, ::4], outputs[f"sa{number}_feat"]), number
    assert close(seeds.features, outputs["fp_feat"])
    assert close(seeds.points, outputs["fp_xyz"], ROUNDING)


def test_seeds_are_points_of_the_cloud() -> None:
    torch.manual_seed(0)
    given = torch.cat((cloud(200, batch=2), torch.rand(2, 200, 1)), 2)
    gatherings = [Gathering(20, 0.5, 4, (8,)), Gathering(10, 0.8, 4, (8, 16)), Gathering(5, 2.0, 4, (8,))]
    network = PointNet2(gatherings=gatherings, spreadings=[(8,)]).eval()
    seeds = network(given)
    assert (seeds.points.shape, seeds.features.shape) == ((2, 10, 3), (2, 8, 10))
    assert network.channels == 8
    for row in range(2):
        assert torch.equal(seeds.points[row], given[row, seeds.indices[row], :3])


@pytest.mark.parametrize(("dimensions", "shape"), [(1, (2, 3, 5)), (2, (2, 3, 5, 4))])
def test_a_convolution_of_points_sees_each_by_itself(dimensions: int, shape: tuple[int, ...]) -> None:
    layer = ConvNorm(3, 6, dimensions=dimensions, bias=True, norm_eps=1e-3).eval()
    x = torch.randn(shape)
    found = layer(x)
    assert found.shape == (2, 6, *shape[2:])
    assert bool((found >= 0).all())
    assert torch.allclose(layer(x[:, :, 1:2]), found[:, :, 1:2], atol=ROUNDING)
    assert layer.bn.eps == 1e-3
