"""The torch ops: registered as specified, right in value, gradient and type, safe for any input."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import Case, largest_relative_difference
from tercelet.ops import OPS
from tercelet.ops.akconv_sample.spec import default_taps
from tercelet.ops.akconv_sample.torch_kernel import (
    akconv_sample,
    akconv_sample_backward,
    differentiable_composition,
)
from tercelet.ops.bindings.torch import torch_op

SPEC = OPS["AKConvSample"]
ALL = SPEC.cases()
SMALL = [case for case in ALL if not case.layer]
FINITE = [case for case in SMALL if np.isfinite(case.inputs[1]).all()]
NOT_FINITE = [case for case in SMALL if not np.isfinite(case.inputs[1]).all()]
# Both sides multiply and add four float32 numbers, in another order.
ROUNDING = 1e-6
# Gradients in float64: sums over thousands of samples in another order.
GRADIENT_ROUNDING = 1e-12
TAPS = default_taps(3)

op = torch_op("AKConvSample")


def named(cases: Sequence[Case]) -> Any:
    """Parameters of a test from cases, under their names."""
    return [pytest.param(case, id=case.name) for case in cases]


def tensors_of(case: Case, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """x and offset of a case, both requiring a gradient."""
    x, offset = (torch.from_numpy(array).to(dtype).requires_grad_() for array in case.inputs)
    return x, offset


def gradients(function: Any, case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Gradients of x and offset for the same random gradient of the output."""
    x, offset = tensors_of(case, dtype)
    sampled = function(x, offset)
    given = torch.randn(sampled.shape, dtype=dtype, generator=torch.Generator().manual_seed(5))
    return torch.autograd.grad(sampled, (x, offset), given)


def test_no_image_gives_no_samples_and_no_gradient() -> None:
    x, offset = torch.zeros(0, 4, 6, 8, requires_grad=True), torch.zeros(0, 6, 6, 8, requires_grad=True)
    sampled = op(x, offset, 1, "ij", TAPS)
    assert sampled.shape == (0, 4, 3, 6, 8)
    sampled.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_an_op_without_a_torch_kernel_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"with a torch kernel, one of .*AKConvSample.*, got 'AKConv'"):
        torch_op("AKConv")


def test_the_schema_is_the_specifications_with_every_attribute_spelled_out() -> None:
    assert str(torch.ops.tercelet.akconv_sample.default._schema) == (
        "tercelet::akconv_sample(Tensor x, Tensor offset, int stride, str grid, int[] taps) -> Tensor"
    )


def test_importing_the_binding_again_keeps_the_op_that_is_registered() -> None:
    import tercelet.ops.bindings.torch as binding

    again = importlib.reload(binding)
    assert again.torch_op("AKConvSample") is op
    case = SMALL[3]
    with torch.autocast("cpu", torch.bfloat16):
        got = again.torch_op("AKConvSample")(*tensors_of(case), *case.attributes.values())
    assert got.dtype == torch.float32


@pytest.mark.parametrize("case", named(ALL))
def test_every_case_gives_what_the_reference_gives(case: Case) -> None:
    with torch.no_grad():
        got = op(*tensors_of(case), *case.attributes.values())
    assert got.is_contiguous()
    want = SPEC.reference(*case.inputs, **case.attributes)
    assert largest_relative_difference(got.numpy(), want) <= ROUNDING


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", named(SMALL))
def test_torch_finds_nothing_wrong_with_the_registration(case: Case, dtype: torch.dtype) -> None:
    x, offset = tensors_of(case, dtype)
    # The check does not hold NaN equal to NaN; other tests do.
    offset = offset.detach().nan_to_num(nan=0.5, posinf=float("inf"), neginf=-float("inf")).requires_grad_()
    found = torch.library.opcheck(op, (x, offset, *case.attributes.values()))
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("grid", ["ij", "xy"])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_the_slopes_of_the_samples_away_from_pixels_and_borders(grid: str, stride: int) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    size = (2, 6, -(-5 // stride), -(-7 // stride))
    whole = torch.randint(-3, 4, size, generator=generator)
    part = 0.1 + 0.8 * torch.rand(size, dtype=torch.float64, generator=generator)
    offset = (whole + part).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: op(a, b, stride, grid, TAPS), (x, offset))


@pytest.mark.parametrize("case", named(FINITE))
def test_gradients_are_those_of_the_plain_composition_at_borders_and_pixels_too(case: Case) -> None:
    got = gradients(lambda x, offset: op(x, offset, *case.attributes.values()), case, torch.float64)
    plain = gradients(
        lambda x, offset: differentiable_composition(x, offset, **case.attributes),  # type: ignore[arg-type]
        case,
        torch.float64,
    )
    for mine, theirs in zip(got, plain, strict=True):
        assert mine.is_contiguous()
        assert largest_relative_difference(mine.numpy(), theirs.numpy()) <= GRADIENT_ROUNDING


@pytest.mark.parametrize("case", named(FINITE))
def test_the_plain_composition_gives_the_same_samples(case: Case) -> None:
    got = differentiable_composition(*tensors_of(case), **case.attributes)  # type: ignore[arg-type]
    want = SPEC.reference(*case.inputs, **case.attributes)
    assert largest_relative_difference(got.detach().numpy(), want) <= ROUNDING


@pytest.mark.parametrize("case", named(NOT_FINITE))
def test_nan_and_infinite_offsets_leave_finite_gradients_and_those_of_nan_are_zero(case: Case) -> None:
    grad_x, grad_offset = gradients(
        lambda x, offset: op(x, offset, *case.attributes.values()), case, torch.float64
    )
    assert bool(grad_x.isfinite().all())
    rows, columns = torch.from_numpy(case.inputs[1]).chunk(2, 1)
    is_nan = rows.isnan() | columns.isnan()
    assert bool(is_nan.any())
    assert not bool(grad_offset[is_nan.repeat(1, 2, 1, 1)].any())
    assert bool(grad_offset.any())
    assert bool(grad_offset.isfinite().all())


@pytest.mark.parametrize("case", named(NOT_FINITE))
def test_a_sample_at_a_nan_position_leaves_no_trace_in_the_gradient_of_the_map(case: Case) -> None:
    x, offset = tensors_of(case, torch.float64)
    sampled = op(x, offset, *case.attributes.values())
    given = torch.randn(sampled.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    (got,) = torch.autograd.grad(sampled, x, given)
    of_others = torch.where(sampled.isnan(), 0, given)
    mended = offset.detach().nan_to_num(nan=0.0, posinf=1e30, neginf=-1e30)
    want, _ = akconv_sample_backward(of_others, x.detach(), mended, **case.attributes)  # type: ignore[arg-type]
    assert torch.allclose(got, want, rtol=0, atol=GRADIENT_ROUNDING)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3.4e38, -3.4e38, np.nan])
def test_no_offset_reads_outside_the_map(value: float) -> None:
    x = torch.arange(1.0, 7.0).view(1, 1, 2, 3)
    sampled = op(x, torch.full((1, 6, 2, 3), value), 1, "ij", TAPS)
    corner = 6.0 if value > 0 else 1.0
    want = torch.full((1, 1, 3, 2, 3), np.nan if np.isnan(value) else 4 * corner)
    assert torch.equal(sampled.nan_to_num(nan=-1.0), want.nan_to_num(nan=-1.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_features_with_float32_coordinates_are_far_better_than_half_coordinates(
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(1, 8, 160, 160, generator=generator)
    offset = 1.5 * torch.randn(1, 6, 80, 80, generator=generator)
    want = op(x, offset, 2, "ij", TAPS)
    got = op(x.to(dtype), offset, 2, "ij", TAPS)
    assert got.dtype == dtype
    place = torch.arange(80.0) * 2
    base = torch.cat((place.view(1, 1, 80, 1).expand(1, 3, 80, 80), place.expand(1, 3, 80, 80)), 1)
    all_half = op(x.to(dtype), (offset + base).to(dtype).float() - base, 2, "ij", TAPS)
    mine, theirs = ((y.float() - want).norm() / want.norm() for y in (got, all_half))
    # Of the features alone: half a unit in the last of 11 or 8 bits.
    assert float(mine) <= torch.finfo(dtype).eps
    assert float(theirs) >= 30 * float(mine)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_keeps_the_features_as_they_are_and_makes_the_offsets_float32(dtype: torch.dtype) -> None:
    x, offset = torch.randn(1, 4, 9, 9).to(dtype), torch.randn(1, 6, 9, 9).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        got = op(x, offset, 1, "ij", TAPS)
    assert torch.equal(got, op(x, offset.float(), 1, "ij", TAPS))
    assert got.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_gradients_have_the_types_of_their_inputs(dtype: torch.dtype) -> None:
    x = torch.randn(1, 4, 9, 9).to(dtype).requires_grad_()
    offset = torch.randn(1, 6, 9, 9, requires_grad=True)
    op(x, offset, 1, "ij", TAPS).float().square().sum().backward()
    assert x.grad is not None
    assert offset.grad is not None
    assert (x.grad.dtype, offset.grad.dtype) == (dtype, torch.float32)


@pytest.mark.parametrize(
    ("x", "offset", "attributes", "message"),
    [
        ((1, 4, 9, 9), (1, 6, 9, 8), (1, "ij", TAPS), r"offset: expected width 9 .* got 8"),
        ((1, 4, 9, 9), (1, 6, 9, 9), (1, "ij", TAPS[:4]), r"taps: expected 6 numbers, .*got 4"),
        ((1, 4, 9, 9), (1, 6, 9, 9), (1, "ji", TAPS), r"grid: expected one of ij, xy, got 'ji'"),
        ((1, 4, 9, 9), (1, 6, 9, 9), (0, "ij", TAPS), r"stride: expected 1 to 1048576, got 0"),
        ((1, 4, 9), (1, 6, 9, 9), (1, "ij", TAPS), r"x: expected B x C x H x W, got 1 x 4 x 9"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_does_not_fit_is_refused_with_and_without_data(
    x: Any, offset: Any, attributes: Any, message: str, device: str
) -> None:
    with pytest.raises(InputError, match=message):
        op(torch.zeros(x, device=device), torch.zeros(offset, device=device), *attributes)


@pytest.mark.parametrize("function", [akconv_sample, differentiable_composition])
@pytest.mark.parametrize(
    ("x", "offset", "message"),
    [
        (torch.float32, torch.float16, r"offset: expected float32 whatever x is, got torch.float16"),
        (torch.int32, torch.float32, r"x: expected floats, got torch.int32"),
    ],
)
def test_offsets_in_half_precision_are_refused(
    function: Any, x: torch.dtype, offset: torch.dtype, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        function(
            torch.zeros(1, 4, 9, 9, dtype=x),
            torch.zeros(1, 6, 9, 9, dtype=offset),
            stride=1,
            grid="ij",
            taps=TAPS,
        )


class Sampled(torch.nn.Module):
    """What an exporter wraps."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        sampled: torch.Tensor = self.function(x, offset)
        return sampled


def test_an_exported_program_holds_the_op_as_one_node_with_all_its_attributes() -> None:
    inputs = (torch.randn(1, 4, 9, 7), torch.randn(1, 6, 5, 4))
    program = torch.export.export(Sampled(lambda x, offset: op(x, offset, 2, "ij", TAPS)), inputs)
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    assert [node.target for node in nodes] == [torch.ops.tercelet.akconv_sample.default]
    assert nodes[0].args[2:] == (2, "ij", list(TAPS))
    assert torch.equal(program.module()(*inputs), op(*inputs, 2, "ij", TAPS))


def test_shapes_may_stay_symbols_while_an_op_is_traced() -> None:
    batch, side = torch.export.Dim("batch", min=2, max=8), torch.export.Dim("side", min=4, max=64)
    shapes = ({0: batch, 2: side, 3: side}, {0: batch, 2: side, 3: side})
    program = torch.export.export(
        Sampled(lambda x, offset: op(x, offset, 1, "ij", TAPS)),
        (torch.randn(2, 4, 9, 9), torch.randn(2, 6, 9, 9)),
        dynamic_shapes=shapes,
    )
    inputs = (torch.randn(3, 4, 12, 12), torch.randn(3, 6, 12, 12))
    assert torch.equal(program.module()(*inputs), op(*inputs, 1, "ij", TAPS))


@pytest.mark.parametrize("grid", ["ij", "xy"])
def test_the_plain_composition_exports_to_gathers_that_onnx_runtime_runs(grid: str) -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(1, 4, 9, 7, generator=generator)
    offset = torch.randn(1, 6, 5, 4, generator=generator)
    plain = Sampled(lambda a, b: differentiable_composition(a, b, stride=2, grid=grid, taps=TAPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(plain, (x, offset), dynamo=True, opset_version=18, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    kinds = [node.op_type for node in program.model.graph]
    assert kinds.count("GatherElements") == 4
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": x.numpy(), "offset": offset.numpy()})
    assert largest_relative_difference(got, op(x, offset, 2, grid, TAPS).numpy()) <= ROUNDING
