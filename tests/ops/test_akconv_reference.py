"""AKConv against upstream's numbers, case by case: the numpy reference, the torch op and the module."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference_cases import load_case, tolerance_of

from tercelet.ops import OPS
from tercelet.ops.akconv_sample.spec import default_taps
from tercelet.ops.bindings.torch import torch_op
from tercelet.training.detectors.akconv import AKConv

SPEC = OPS["AKConvSample"]
CASES = (
    "akconv_ij_n1_s1_6x9",
    "akconv_ij_n2_s2_9x12",
    "akconv_ij_n3_s2_16x12",
    "akconv_ij_n5_s1_8x11",
    "akconv_ij_n6_s2_13x8",
    "akconv_ij_n9_s1_7x10",
    "akconv_ij_zero_n9_s1_6x8",
    "akconv_xy_n3_s1_10x10",
    "akconv_xy_n5_s2_12x12",
    "akconv_xy_zero_n1_s1_7x7",
)
# Folding moves the rounding of one multiplication.
FOLD_ROUNDING = 1e-5
# bfloat16 has 8 bits: features and weights are off by 2e-3 each, and sums over dozens of them are taken.
BFLOAT16_ROUNDING = 0.03
PUBLISHED = {
    1: "00",
    2: "00 10",
    3: "00 01 10",
    4: "00 01 10 11",
    5: "00 01 10 11 20",
    6: "00 01 10 11 20 21",
    7: "00 01 02 10 11 12 20",
    8: "00 01 02 10 11 12 20 21",
    9: "00 01 02 10 11 12 20 21 22",
    11: "00 01 02 10 11 12 20 21 22 30 31",
    14: "00 01 02 03 10 11 12 13 20 21 22 23 30 31",
}


class Reference(NamedTuple):
    """A stored case, its attributes of the op, and the module with its weights."""

    case: dict[str, Any]
    x: NDArray[np.float32]
    expected: dict[str, NDArray[np.float32]]
    attributes: dict[str, Any]
    module: AKConv


@pytest.fixture(scope="module", params=CASES)
def reference(request: pytest.FixtureRequest, shared: Any) -> Reference:
    """One stored case."""
    case, state, inputs, expected = load_case(shared, request.param)
    arguments = case["args"]
    taps, stride = arguments["num_param"], arguments["stride"]
    module = AKConv(arguments["inc"], arguments["outc"], taps, stride=stride, grid=case["variant"])
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    attributes = {"stride": stride, "grid": case["variant"], "taps": default_taps(taps, case["variant"])}
    return Reference(case, inputs["x"], expected, attributes, module.eval())


def assert_close(reference: Reference, output: str, got: Any) -> None:
    """Within the tolerance that the fixtures' page gives for this output."""
    expected = reference.expected[output]
    got = got.numpy() if isinstance(got, torch.Tensor) else got
    assert got.shape == expected.shape
    assert float(np.abs(got - expected).max()) <= tolerance_of(reference.case, output, expected)


@pytest.mark.parametrize(("count", "taps"), PUBLISHED.items())
def test_the_taps_are_those_of_the_published_table(count: int, taps: str) -> None:
    assert default_taps(count) == tuple(int(digit) for tap in taps.split() for digit in tap)


def test_the_numpy_reference_gives_upstreams_samples(reference: Reference) -> None:
    got = SPEC.reference(reference.x, reference.expected["offset"], **reference.attributes)
    assert_close(reference, "sampled", got)


def test_the_torch_op_gives_upstreams_samples(reference: Reference) -> None:
    inputs = (torch.from_numpy(reference.x), torch.from_numpy(reference.expected["offset"]))
    assert_close(reference, "sampled", torch_op("AKConvSample")(*inputs, *reference.attributes.values()))


@torch.no_grad()
def test_the_module_gives_upstreams_offsets_and_output(reference: Reference) -> None:
    x = torch.from_numpy(reference.x)
    assert_close(reference, "offset", reference.module.offsets(x))
    assert_close(reference, "out", reference.module(x))


def test_the_fused_reference_is_the_module_after_its_offsets(reference: Reference) -> None:
    module, taps = reference.module, reference.case["args"]["num_param"]
    folded = AKConv(module.p_conv.in_channels, reference.case["args"]["outc"], taps)
    folded.load_state_dict(module.state_dict())
    folded.eval().fold()
    weight = folded.conv[0].weight.detach().numpy().reshape(-1, module.p_conv.in_channels, 1, taps)
    stride = reference.attributes["stride"]
    got = OPS["AKConv"].reference(
        reference.x,
        reference.expected["offset"],
        weight,
        folded.conv[0].bias.detach().numpy(),
        strides=(stride, stride),
        grid=reference.attributes["grid"],
    )
    assert_close(reference, "out", got)


@torch.no_grad()
def test_a_folded_module_is_one_pointwise_convolution_and_the_same_function() -> None:
    torch.manual_seed(0)
    module = AKConv(6, 9, 5, stride=2)
    x = torch.randn(2, 6, 13, 10)
    for _ in range(3):
        module(x)  # gives the norm a mean and a variance
    module.eval()
    before = module(x)
    module.fold()
    assert [type(part).__name__ for part in module.conv] == ["Conv2d", "Identity", "SiLU"]
    assert module.conv[0].kernel_size == (1, 1)
    assert module.conv[0].weight.dtype == torch.float32
    assert torch.allclose(module(x), before, atol=FOLD_ROUNDING)
    weight = module.conv[0].weight
    module.fold()
    assert module.conv[0].weight is weight


def test_a_new_module_starts_with_offsets_that_do_not_depend_on_the_map() -> None:
    module = AKConv(4, 8, 3)
    assert not module.p_conv.weight.any()
    assert module.p_conv.bias is not None
    assert module.p_conv.bias.any()
    assert float(module.p_conv.bias.detach().abs().max()) <= (9 * 4) ** -0.5


@pytest.mark.parametrize("half", ["autocast", "module"])
@torch.no_grad()
def test_offsets_and_positions_stay_float32_in_half_precision(half: str) -> None:
    torch.manual_seed(1)
    module = AKConv(8, 16, 3, stride=2).eval()
    module.p_conv.weight.normal_(std=0.2)
    # 1000 columns: bfloat16 positions would be whole pixels off, by up to four.
    x = torch.randn(1, 8, 6, 1000)
    want = module(x)
    if half == "module":
        module, x = module.bfloat16(), x.bfloat16()
        want = module.float()(x.float())
        module = module.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=half == "autocast"):
        offset, got = module.offsets(x), module(x)
    assert offset.dtype == torch.float32
    assert got.dtype == torch.bfloat16
    assert float((got.float() - want).abs().mean() / want.abs().mean()) <= BFLOAT16_ROUNDING


@pytest.mark.parametrize("table", [(0, 0, 0, 1), (0, 0, 1 << 20, 0, 0, 1)])
def test_a_table_that_does_not_fit_the_taps_is_refused(table: tuple[int, ...]) -> None:
    from tercelet.contract.errors import InputError

    with pytest.raises(InputError, match=r"tables: expected 6 numbers up to 1048575 for the 3 taps"):
        AKConv(4, 8, 3, table=table)
