"""SetAbstraction: slots that repeat count once, in every form; a level of PointNet++ becomes one op."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import Case
from tercelet.export.op_conformance import feeds_of
from tercelet.export.op_support import model_of
from tercelet.export.passes.fold_batchnorm import fold_batchnorm
from tercelet.ops import OPS
from tercelet.ops.bindings.torch import torch_op
from tercelet.ops.set_abstraction.cases import Row, case_of
from tercelet.runtime.backends.onnxruntime import open_runner
from tercelet.training.detectors.point_layers import Gathering, PointGathering

SPEC = OPS["SetAbstraction"]
# Sums of tens of products in float32, in another order; relative to the largest.
ROUNDING = 1e-5
Floats = NDArray[np.float32]


def small(used: float = 0.5, slots: int = 12) -> Case:
    return case_of(Row("small", (2, 40, 35, slots), (3, 16, 32, 16), used=used))


def run_native(case: Case, library: Path, threads: int = 1) -> Floats:
    runner = open_runner(model_of(SPEC, case, form=""), library=library, threads=threads)
    return runner.run(feeds_of(SPEC, case))["y"]


def changed(case: Case, **inputs: NDArray[Any]) -> Case:
    names = [item.name for item in SPEC.inputs]
    arrays = tuple(inputs.get(name, array) for name, array in zip(names, case.inputs, strict=True))
    return Case(case.name, arrays, case.attributes)


@pytest.mark.parametrize("used", [0.0, 0.5, 1.0])
def test_slots_that_repeat_the_first_change_nothing(used: float, native_library: Path) -> None:
    case = small(used)
    index = case.inputs[2]
    longer = changed(case, index=np.concatenate((index, np.repeat(index[..., :1], 7, 2)), 2))
    expected = SPEC.reference(*case.inputs, **case.attributes)
    assert (SPEC.reference(*longer.inputs, **case.attributes) == expected).all()
    assert (run_native(longer, native_library) == run_native(case, native_library)).all()


def test_a_copy_of_the_first_in_the_middle_ends_nothing(native_library: Path) -> None:
    case = small(1.0)
    index = case.inputs[2].copy()
    index[..., 4] = index[..., 0]
    case = changed(case, index=index)
    got, expected = run_native(case, native_library), SPEC.reference(*case.inputs, **case.attributes)
    assert np.abs(got - expected).max() <= ROUNDING * expected.max()


def test_threads_change_nothing(native_library: Path) -> None:
    case = case_of(Row("threads", (2, 700, 150, 9), (5, 16, 16, 32)))
    assert (run_native(case, native_library, 2) == run_native(case, native_library)).all()


def test_indices_are_cut_to_the_points_there_are(native_library: Path) -> None:
    case = small()
    index = case.inputs[2].copy()
    index[0, 3], index[1, 5, 2] = -7, 2**31 - 1
    case = changed(case, index=index)
    got, expected = run_native(case, native_library), SPEC.reference(*case.inputs, **case.attributes)
    assert np.abs(got - expected).max() <= ROUNDING * expected.max()


def test_what_is_not_a_number_stays_so_and_stays_where_it_is(native_library: Path) -> None:
    case = small()
    features = case.inputs[3].copy()
    features[0, 1, 11] = np.nan
    case = changed(case, features=features)
    touched = (case.inputs[2][0] == 11).any(1)
    assert 0 < touched.sum() < touched.size
    got = run_native(case, native_library)
    assert np.isnan(got[0, :, touched]).all()
    assert np.isfinite(got[0][:, ~touched]).all()
    assert np.isfinite(got[1]).all()


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("points", (2, 0, 3), "points: expected 1 to"),
        ("index", (2, 35, 0), "index: expected 1 to"),
        ("weight0", (16, 7), r"weight0: expected 3 \+ 3 inputs, got 7"),
        ("weight1", (32, 15), "weight1: expected D x C, got 32 x 15"),
        ("features", (2, 3, 41), "features: expected B x F x N, got 2 x 3 x 41"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...], words: str) -> None:
    case = small()
    given = {item.name: array.shape for item, array in zip(SPEC.inputs, case.inputs, strict=True)}
    given[name] = shape
    if name == "points":
        given["features"] = (2, 3, 0)
    with pytest.raises(InputError, match=words):
        SPEC.bind([*given.values()], case.attributes)


@pytest.mark.parametrize("radius", [0.0, -1.0, 1e19])
def test_a_radius_that_is_none_is_refused(radius: float) -> None:
    case = small()
    with pytest.raises(InputError, match="radius: expected more than 0"):
        torch_op("SetAbstraction")(*map(torch.from_numpy, case.inputs), radius)


def folded_and_plain(channels: tuple[int, ...]) -> tuple[PointGathering, PointGathering]:
    torch.manual_seed(3)
    plain = PointGathering(2, Gathering(20, 0.6, 8, channels))
    for norm in plain.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.3, 0.3)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    folded = PointGathering(2, Gathering(20, 0.6, 8, channels))
    folded.load_state_dict(plain.state_dict())
    fold_batchnorm(folded)
    return folded.eval(), plain.eval()


@pytest.mark.parametrize(("channels", "is_one_op"), [((16, 16, 32), True), ((16, 16), False)])
def test_a_level_is_one_op_once_its_three_norms_are_folded_and_the_same(
    channels: tuple[int, ...], is_one_op: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tercelet.training.detectors import point_ops

    calls = []
    own = point_ops._abstraction
    monkeypatch.setattr(point_ops, "_abstraction", lambda *given: calls.append(1) or own(*given))
    folded, plain = folded_and_plain(channels)
    points, features = torch.rand(2, 90, 3), torch.randn(2, 2, 90)
    indices = torch.stack([torch.randperm(90)[:20] for _ in range(2)])
    with torch.no_grad():
        _, expected = plain(points, features, indices)
        assert calls == []
        _, got = folded(points, features, indices)
    assert len(calls) == int(is_one_op)
    assert (got - expected).abs().max() <= ROUNDING * expected.abs().max()
