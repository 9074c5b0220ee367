"""AKConv: AKConvSample, the convolution over its samples, bias and SiLU, in one op.

What is left of an AKConv layer after its offsets are known. A CPU never has to write the samples down, which
are N times the size of the map. GPUs do better with AKConvSample and their own convolution, or with
DeformConv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Attribute, AttributeValue, Operand, OpSpec
from tercelet.ops.akconv.cases import cases
from tercelet.ops.akconv_sample.spec import (
    GRIDS,
    akconv_sample_reference,
    check_akconv_sample,
    default_taps,
)

Array = NDArray[np.float32]


def akconv_reference(
    x: Array,
    offset: Array,
    weight: Array,
    bias: Array,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] | None = None,
    grid: str = "ij",
    taps: Sequence[int] | None = None,
) -> Array:
    """x (B, C, H, W), offset (B, 2N, h, w), weight (O, C, 1, N), bias (O) -> SiLU(conv + bias) (B, O, h, w).

    strides: twice the stride of AKConvSample, whose other attributes are the same. pads: (0, N-1, 0, N-1),
    stated for the body that is a standard DeformConv. Raises InputError for what does not fit.
    """
    count = weight.shape[-1]
    reach = count - 1
    attributes: dict[str, AttributeValue] = {
        "strides": tuple(strides),
        "pads": (0, reach, 0, reach) if pads is None else tuple(pads),
        "grid": grid,
        "taps": default_taps(count, grid) if taps is None else tuple(taps),
    }
    SPEC.bind([array.shape for array in (x, offset, weight, bias)], attributes)
    sampled = akconv_sample_reference(x, offset, stride=strides[0], grid=grid, taps=attributes["taps"])  # type: ignore[arg-type]
    total = np.einsum("ocn,bcnhw->bohw", weight[:, :, 0].astype(np.float64), sampled, optimize=True)
    total += bias[:, None, None]
    with np.errstate(over="ignore"):
        return np.asarray(total / (1 + np.exp(-total)), np.float32)


def check_akconv(dims: Mapping[str, int], attributes: Mapping[str, AttributeValue]) -> str | None:
    """What the shapes alone do not say."""
    strides, pads, reach = attributes["strides"], attributes["pads"], dims["N"] - 1
    assert isinstance(strides, tuple)
    if len(strides) != 2 or strides[0] != strides[1]:
        return f"strides: expected the same number twice, got {strides}"
    if pads != (0, reach, 0, reach):
        return f"pads: expected {(0, reach, 0, reach)} for {dims['N']} taps, got {pads}"
    return check_akconv_sample(dims, {**attributes, "stride": strides[0]})


SPEC = OpSpec(
    name="AKConv",
    folder="akconv",
    summary="AKConvSample, convolution over the samples, bias, SiLU",
    inputs=(
        Operand("x", ("B", "C", "H", "W"), "feature map", is_feature=True),
        Operand("offset", ("B", "2*N", "h", "w"), "pixels: rows of N taps, then columns of N taps"),
        Operand("weight", ("O", "C", 1, "N"), "of the convolution over channels and taps", is_feature=True),
        Operand("bias", ("O",), "of the convolution", is_feature=True),
    ),
    outputs=(Operand("y", ("B", "O", "h", "w"), "feature map", is_feature=True),),
    attributes=(
        Attribute("strides", "ints", "pixels from one place of the output to the next, twice"),
        Attribute("pads", "ints", "0, N-1, 0, N-1: of the standard convolution with the same output size"),
        Attribute("grid", "string", "as AKConvSample", "ij", GRIDS),
        Attribute("taps", "ints", "as AKConvSample"),
    ),
    reference=akconv_reference,
    cases=cases,
    check=check_akconv,
    has_fast_cpu=True,
)
