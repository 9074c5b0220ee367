"""The ops on point clouds: upstream's indices bit for bit, in every form, and what happens at the edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference_cases import load_case

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import Array, Case
from tercelet.export.op_conformance import feeds_of
from tercelet.export.op_support import model_of
from tercelet.ops import OPS
from tercelet.ops.bindings.torch import torch_op
from tercelet.ops.furthest_point_sample.spec import tie_order
from tercelet.runtime.backends.onnxruntime import open_runner

# Three products and two sums in float32.
ROUNDING = 1e-6
NAN, INF = float("nan"), float("inf")
Run = Callable[..., Array]


@pytest.fixture(params=["numpy", "torch", "body", "plain", "avx2", "avx512"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(op, *inputs, **attributes) by one of the forms of the ops."""
    form = request.param
    library: Path | None = None
    if form not in ("numpy", "torch", "body"):
        library = request.getfixturevalue("native_library")
        monkeypatch.setenv("TERCELET_SIMD", form)  # a set that the CPU lacks falls back on plain

    def ran(op: str, *inputs: Any, **attributes: Any) -> Array:
        spec = OPS[op]
        arrays = tuple(np.asarray(array, np.float32) for array in inputs)
        complete = spec.complete(attributes)
        if form == "numpy":
            return np.asarray(spec.reference(*arrays, **complete))
        if form == "torch":
            found = torch_op(op)(*(torch.from_numpy(array) for array in arrays), *complete.values())
            return np.asarray(found.numpy())
        case = Case("", arrays, complete)
        runner = open_runner(model_of(spec, case, form="standard" if form == "body" else ""), library=library)
        return np.asarray(runner.run(feeds_of(spec, case))[spec.outputs[0].name])

    return ran


@pytest.fixture(scope="module")
def fixture(shared: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Inputs and outputs of the stored case."""
    _, _, inputs, outputs = load_case(shared, "imv_point_ops")
    return inputs, outputs


def same(got: Array, expected: NDArray[Any]) -> bool:
    """The same indices of the same type."""
    return got.dtype == np.int32 and bool(np.array_equal(got, expected))


def test_no_cloud_gives_no_indices(run: Run) -> None:
    assert run("FurthestPointSample", np.zeros((0, 5, 3)), count=3).shape == (0, 3)
    assert run("BallQuery", np.zeros((0, 5, 3)), np.zeros((0, 2, 3)), radius=1.0, samples=4).shape == (
        0,
        2,
        4,
    )
    assert run("BallQuery", np.zeros((2, 5, 3)), np.zeros((2, 0, 3)), radius=1.0, samples=4).shape == (
        2,
        0,
        4,
    )
    nothing = run("ThreeInterpolate", np.zeros((0, 2, 3)), np.zeros((0, 5, 3)), np.zeros((0, 7, 5)))
    assert nothing.shape == (0, 7, 2)


@pytest.mark.parametrize("ties", ["lowest", "mmcv"])
def test_sampled_indices_are_upstreams(run: Run, fixture: Any, ties: str) -> None:
    inputs, expected = fixture
    assert same(run("FurthestPointSample", inputs["fps_xyz"], count=128, ties=ties), expected["fps_idx"])


@pytest.mark.parametrize("ties", ["lowest", "mmcv"])
@pytest.mark.parametrize(("cloud", "count"), [("tie", 96), ("dup", 24)])
def test_equal_distances_are_decided_by_either_rule(
    run: Run, fixture: Any, cloud: str, count: int, ties: str
) -> None:
    inputs, expected = fixture
    got = run("FurthestPointSample", inputs[f"fps_{cloud}_xyz"][None], count=count, ties=ties)
    assert same(got[0], expected[f"fps_{cloud}_idx_{ties}"])
    other = expected[f"fps_{cloud}_idx_{'mmcv' if ties == 'lowest' else 'lowest'}"]
    assert not same(got[0], other), "the case does not tell the rules apart"


def test_points_in_a_ball_are_upstreams(run: Run, fixture: Any) -> None:
    inputs, expected = fixture
    attributes = {"radius": float(inputs["ball_radius"]), "samples": int(inputs["ball_nsample"])}
    got = run("BallQuery", inputs["ball_xyz"], inputs["ball_center"], **attributes)
    assert same(got, expected["ball_idx"])
    assert not got[:, 60:70].any(), "the case has centres without neighbours"


@pytest.mark.parametrize(
    ("output", "radius", "min_radius"), [("r025", 0.25, 0.0), ("min025_max05", 0.5, 0.25)]
)
def test_points_exactly_at_a_radius_are_outside_the_outer_and_inside_the_inner(
    run: Run, fixture: Any, output: str, radius: float, min_radius: float
) -> None:
    inputs, expected = fixture
    cloud, centres = inputs["lattice_xyz"][None], inputs["lattice_center"][None]
    got = run("BallQuery", cloud, centres, radius=radius, samples=32, min_radius=min_radius)
    assert same(got[0], expected[f"lattice_idx_{output}"])


def test_interpolated_features_are_upstreams(run: Run, fixture: Any) -> None:
    inputs, expected = fixture
    got = run("ThreeInterpolate", *(inputs[f"nn_{name}"] for name in ("unknown", "known", "features")))
    assert np.allclose(
        got, expected["nn_interp"], rtol=0, atol=ROUNDING * np.abs(expected["nn_interp"]).max()
    )


@pytest.mark.parametrize("weighting", ["distance", "squared"])
def test_with_two_known_points_the_third_has_no_weight(run: Run, fixture: Any, weighting: str) -> None:
    inputs, expected = fixture
    known, unknown = inputs["nn2_known"][None], inputs["nn2_unknown"][None]
    d, index = expected["nn2_dist"].astype(np.float64), expected["nn2_idx"]
    assert np.isinf(d[:, 2]).all()
    features = np.array([[[3.0, -5.0], [0.5, 8.0]]], np.float32)
    inverse = 1 / (d + 1e-8) if weighting == "distance" else 1 / np.maximum(d * d, 1e-10)
    weights = inverse / inverse.sum(1, keepdims=True)
    want = (features[0][:, index] * weights).sum(2)
    got = run("ThreeInterpolate", unknown, known, features, weighting=weighting)
    assert np.allclose(got[0], want, rtol=10 * ROUNDING)


def test_more_points_than_there_are_repeat_the_first(run: Run) -> None:
    cloud = [[[0, 0, 0], [3, 0, 0], [1, 0, 0]]]
    assert run("FurthestPointSample", cloud, count=6).tolist() == [[0, 1, 2, 0, 0, 0]]
    assert run("FurthestPointSample", [[[2, 2, 2]]], count=3, ties="mmcv").tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("ties", ["lowest", "mmcv"])
@pytest.mark.parametrize("count", [5, 400])
def test_equal_points_give_the_first_again_and_again(run: Run, ties: str, count: int) -> None:
    cloud = np.full((1, count, 3), 0.3)
    assert not run("FurthestPointSample", cloud, count=7, ties=ties).any()


@pytest.mark.parametrize("ties", ["lowest", "mmcv"])
@pytest.mark.parametrize("points", [6, 300])
def test_points_that_are_not_finite_are_never_taken(run: Run, ties: str, points: int) -> None:
    cloud = np.zeros((1, points, 3), np.float32)
    cloud[0, :, 0] = np.arange(points)
    cloud[0, [0, 1, points - 1], [0, 1, 2]] = NAN, INF, -INF
    got = run("FurthestPointSample", cloud, count=points, ties=ties)[0]
    finite = np.arange(2, points - 1)
    first = tie_order(points, ties)
    first = first[np.isin(first, finite)][0]
    assert set(got.tolist()) == set(finite.tolist())
    assert got[0] == first
    assert (got[len(finite) :] == first).all()
    assert not run("FurthestPointSample", np.full((1, points, 3), NAN), count=4, ties=ties).any()


@pytest.mark.parametrize("points", [4, 500])
def test_what_is_not_finite_is_in_no_ball(run: Run, points: int) -> None:
    cloud = np.zeros((1, points, 3), np.float32)
    cloud[0, [0, 1, 2], [0, 1, 2]] = NAN, INF, -INF
    centres = np.zeros((1, 60, 3), np.float32)
    centres[0, 1:3, 0] = NAN, INF
    got = run("BallQuery", cloud, centres, radius=0.5, samples=2)[0]
    assert got[0].tolist() == [3, 4 if points > 4 else 3]
    assert not got[1:3].any()


def test_the_first_in_the_ball_are_taken_not_the_nearest(run: Run) -> None:
    cloud = np.zeros((1, 300, 3))
    cloud[0, :, 0] = 0.9 - 0.003 * np.arange(300)
    got = run("BallQuery", cloud, np.zeros((1, 40, 3)), radius=0.5, samples=4)
    first = int(np.argmax(cloud[0, :, 0] < 0.5))
    assert (got == np.arange(first, first + 4)).all()


def test_an_unknown_point_that_is_not_finite_gives_nan(run: Run) -> None:
    known = [[[0, 0, 0], [NAN, 0, 0], [1, 0, 0]]]
    got = run("ThreeInterpolate", [[[0, 0, 0], [INF, 0, 0]]], known, [[[2, 50, 8]]])
    assert got[0, 0, 0] == pytest.approx(2, rel=1e-5)
    assert np.isnan(got[0, 0, 1])


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "message"),
    [
        ("FurthestPointSample", [(1, 0, 3)], {"count": 1}, r"xyz: expected 1 to 2147483647 points, got 0"),
        ("FurthestPointSample", [(1, 5, 4)], {"count": 1}, r"xyz: expected B x N x 3, got 1 x 5 x 4"),
        ("FurthestPointSample", [(1, 5, 3)], {"count": 0}, r"count: expected 1 to 2147483647, got 0"),
        ("FurthestPointSample", [(1, 5, 3)], {}, r"expected the attribute count, it is missing"),
        (
            "FurthestPointSample",
            [(1, 5, 3)],
            {"count": 2, "ties": "any"},
            r"ties: expected one of lowest, mmcv",
        ),
        ("BallQuery", [(1, 5, 3), (2, 5, 3)], {"radius": 1.0, "samples": 2}, r"centre: expected B x M x 3"),
        ("BallQuery", [(1, 5, 3), (1, 5, 3)], {"radius": 0.0, "samples": 2}, r"radius: expected more than 0"),
        (
            "BallQuery",
            [(1, 5, 3), (1, 5, 3)],
            {"radius": NAN, "samples": 2},
            r"radius: expected a finite number",
        ),
        (
            "BallQuery",
            [(1, 5, 3), (1, 5, 3)],
            {"radius": "1", "samples": 2},
            r"radius: expected a finite number",
        ),
        (
            "BallQuery",
            [(1, 5, 3), (1, 5, 3)],
            {"radius": 1.0, "samples": 2, "min_radius": 2.0},
            r"min_radius: expected 0 to the radius 1, got 2",
        ),
        ("BallQuery", [(1, 5, 3), (1, 5, 3)], {"radius": 1.0, "samples": 0}, r"samples: expected 1 to"),
        (
            "ThreeInterpolate",
            [(1, 5, 3), (1, 0, 3), (1, 4, 0)],
            {},
            r"known: expected 1 to 2147483647 points",
        ),
        ("ThreeInterpolate", [(1, 5, 3), (1, 6, 3), (1, 4, 5)], {}, r"features: expected B x C x m"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        OPS[op].output_shapes(shapes, attributes)


@pytest.mark.parametrize("weighting", ["distance", "squared"])
def test_features_have_the_slope_of_the_weights_and_points_none(weighting: str) -> None:
    generator = torch.Generator().manual_seed(3)
    unknown, known = (torch.rand(2, n, 3, dtype=torch.float64, generator=generator) for n in (9, 6))
    features = torch.randn(2, 4, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    op = torch_op("ThreeInterpolate")
    assert torch.autograd.gradcheck(lambda given: op(unknown, known, given, weighting), (features,))
    known.requires_grad_()
    op(unknown, known, features, weighting).sum().backward()
    assert known.grad is not None
    assert not known.grad.any()


@pytest.mark.parametrize("op", ["FurthestPointSample", "BallQuery", "ThreeInterpolate"])
def test_torch_finds_nothing_wrong_with_the_registration(op: str) -> None:
    spec = OPS[op]
    case = next(case for case in spec.cases() if case.name == "usual")
    inputs = tuple(torch.from_numpy(array) for array in case.inputs)
    found = torch.library.opcheck(torch_op(op), (*inputs, *spec.complete(case.attributes).values()))
    assert set(found.values()) == {"SUCCESS"}


def test_an_exported_program_holds_the_ops_as_nodes_with_their_sizes() -> None:
    class Sampled(torch.nn.Module):
        def forward(self, xyz: torch.Tensor) -> torch.Tensor:
            index = torch_op("FurthestPointSample")(xyz, 7, "mmcv")
            centre = torch.gather(xyz, 1, index.long()[..., None].expand(-1, -1, 3))
            ball: torch.Tensor = torch_op("BallQuery")(xyz, centre, 0.5, 4, 0.0)
            return ball

    program = torch.export.export(Sampled(), (torch.rand(2, 40, 3),))
    output = next(node for node in program.graph.nodes if "ball_query" in node.name)
    assert tuple(output.meta["val"].shape) == (2, 7, 4)
    assert output.meta["val"].dtype == torch.int32
