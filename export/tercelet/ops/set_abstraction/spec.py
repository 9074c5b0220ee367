"""SetAbstraction: what lies around chosen points, through three layers, the largest of each channel.

What is left of a level of PointNet++ once its centres and balls are known. A CPU gains most: the first layer
is computed once a point and not once a slot, slots that repeat the first are left out, and nothing that has a
row for every slot is written to memory.

Paper: Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space", NeurIPS
2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Attribute, AttributeValue, Operand, OpSpec
from tercelet.ops.set_abstraction.cases import cases

MAXIMUM = (1 << 31) - 1
LARGEST_RADIUS = 1e18
MOST_CHANNELS = 1024
Array = NDArray[np.float32]


def set_abstraction_reference(
    points: Array,
    centre: Array,
    index: NDArray[np.int32],
    features: Array,
    weight0: Array,
    bias0: Array,
    weight1: Array,
    bias1: Array,
    weight2: Array,
    bias2: Array,
    *,
    radius: float,
) -> Array:
    """points (B, N, 3), centre (B, M, 3), index (B, M, S), features (B, F, N) -> (B, O, M), float32.

    Each slot of index becomes (point - centre) / radius, x, y, z, and the features of that point; each layer
    is relu(weight @ row + bias), weights (outputs, inputs), the first with 3 + F inputs; of the S slots of a
    centre the largest of each channel counts. Indices are cut to the points there are. Sums are float64 here.
    Raises InputError for what does not fit.
    """
    layers = ((weight0, bias0), (weight1, bias1), (weight2, bias2))
    given = (points, centre, index, features, *(array for layer in layers for array in layer))
    dims = SPEC.bind([array.shape for array in given], {"radius": radius})
    found = np.zeros((dims["B"], dims["O"], dims["M"]), np.float32)
    for cloud in range(dims["B"]):
        taken = np.clip(index[cloud], 0, dims["N"] - 1)
        offset = (points[cloud][taken] - centre[cloud][:, None]) / np.float32(radius)
        rows = np.concatenate((offset, features[cloud].T[taken]), 2).astype(np.float64)
        for weight, bias in layers:
            rows = np.maximum(rows @ weight.T.astype(np.float64) + bias, 0)
        found[cloud] = rows.max(1).T
    return found


def check_set_abstraction(dims: Mapping[str, int], attributes: Mapping[str, AttributeValue]) -> str | None:
    """What the shapes alone do not say."""
    radius: Any = attributes["radius"]
    if not 0 < radius <= LARGEST_RADIUS:
        return f"radius: expected more than 0 and at most 1e18, got {radius:g}"
    for symbol, operand, what in (("N", "points", "points"), ("S", "index", "slots")):
        if not 1 <= dims[symbol] <= MAXIMUM:
            return f"{operand}: expected 1 to {MAXIMUM} {what}, got {dims[symbol]}"
    if dims["F"] < 1:
        return "features: expected at least one channel"
    if dims["K"] != 3 + dims["F"]:
        return f"weight0: expected 3 + {dims['F']} inputs, got {dims['K']}"
    for symbol, operand in (("C", "weight0"), ("D", "weight1"), ("O", "weight2")):
        if not 1 <= dims[symbol] <= MOST_CHANNELS:
            return f"{operand}: expected 1 to {MOST_CHANNELS} outputs, got {dims[symbol]}"
    return None


SPEC = OpSpec(
    name="SetAbstraction",
    folder="set_abstraction",
    summary="three layers over what lies around each centre, the largest of each channel",
    inputs=(
        Operand("points", ("B", "N", 3), "places"),
        Operand("centre", ("B", "M", 3), "places around which points are gathered"),
        Operand("index", ("B", "M", "S"), "of the points around each centre", dtype="int32"),
        Operand("features", ("B", "F", "N"), "of the points", is_feature=True),
        Operand("weight0", ("C", "K"), "of the first layer, K = 3 + F", is_feature=True),
        Operand("bias0", ("C",), "of the first layer", is_feature=True),
        Operand("weight1", ("D", "C"), "of the second layer", is_feature=True),
        Operand("bias1", ("D",), "of the second layer", is_feature=True),
        Operand("weight2", ("O", "D"), "of the third layer", is_feature=True),
        Operand("bias2", ("O",), "of the third layer", is_feature=True),
    ),
    outputs=(Operand("y", ("B", "O", "M"), "features of the centres", is_feature=True),),
    attributes=(Attribute("radius", "float", "what offsets from the centre are divided by"),),
    reference=set_abstraction_reference,
    cases=cases,
    check=check_set_abstraction,
    has_fast_cpu=True,
    scratch=("B", "N", "C"),
)
