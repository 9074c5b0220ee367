"""The case table of AKConv: that of AKConvSample, with the weights of a convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tercelet.contract.op_spec import AttributeValue, Case
from tercelet.ops.akconv_sample.cases import ROWS, Row, case_of, generator_for


def cases() -> Sequence[Case]:
    """The rows as inputs and attributes; the same on every machine and in every process.

    Maps without channels or pixels are left out: a standard convolution does not take them either.
    """
    return [_case(row) for row in ROWS if row.size[1] and row.size[2]]


def _case(row: Row) -> Case:
    sampled = case_of(row)
    channels = row.size[1]
    outputs = row.outputs or 2 * channels or 3
    generator = generator_for(f"{row.name}: weights")
    scale = 1.6 / np.sqrt(max(channels * row.taps, 1))
    weight = (generator.standard_normal((outputs, channels, 1, row.taps)) * scale).astype(np.float32)
    bias = (0.1 * generator.standard_normal(outputs)).astype(np.float32)
    reach = row.taps - 1
    attributes: dict[str, AttributeValue] = {
        "strides": (row.stride, row.stride),
        "pads": (0, reach, 0, reach),
        "grid": row.grid,
        "taps": sampled.attributes["taps"],
    }
    return Case(row.name, (*sampled.inputs, weight, bias), attributes, row.layer)
