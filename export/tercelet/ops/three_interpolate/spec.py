"""ThreeInterpolate: features at points, from the three nearest points that have some.

Paper: Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space", NeurIPS
2017. Rules as mmcv's kernels (Apache-2.0) have them, from a description of them. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Attribute, AttributeValue, Operand, OpSpec
from tercelet.ops.three_interpolate.cases import cases

WEIGHTINGS = ("distance", "squared")
MAXIMUM_POINTS = (1 << 31) - 1
LEAST_DISTANCE = np.float32(1e-8)
LEAST_SQUARE = np.float32(1e-10)
Array = NDArray[np.float32]


def three_interpolate_reference(
    unknown: Array, known: Array, features: Array, *, weighting: str = "distance"
) -> Array:
    """unknown (B, n, 3), known (B, m, 3), features (B, C, m) -> features (B, C, n) at `unknown`, float32.

    The sum of the features of the three nearest known points, the lowest index first where they are equally
    near, each weighted by 1 / (d + 1e-8) ("distance") or 1 / max(d * d, 1e-10) ("squared") over the sum of
    these weights. d * d is (dx * dx + dy * dy) + dz * dz, rounded to float32 at every step. What is missing
    where fewer than three are known is infinitely far: point 0 with weight 0. So is a known point that is not
    finite; where no distance is finite the features are NaN. Raises InputError for what does not fit.
    """
    SPEC.bind((unknown.shape, known.shape, features.shape), {"weighting": weighting})
    found = np.zeros((*features.shape[:2], unknown.shape[1]), np.float32)
    with np.errstate(all="ignore"):
        for image in range(unknown.shape[0]):
            squares, index = nearest_three(unknown[image], known[image])
            weights = interpolation_weights(squares, weighting)
            parts = features[image][:, index] * weights
            found[image] = (parts[..., 0] + parts[..., 1]) + parts[..., 2]
    return found


def nearest_three(unknown: Array, known: Array) -> tuple[Array, NDArray[np.int64]]:
    """Squared distances (n, 3), nearest first, infinite where none is left, and indices into known (m, 3)."""
    with np.errstate(all="ignore"):
        dx, dy, dz = (
            known[None, :, axis].astype(np.float32) - unknown[:, None, axis].astype(np.float32)
            for axis in range(3)
        )
        squares = (dx * dx + dy * dy) + dz * dz
    squares = np.where(np.isfinite(squares), squares, np.float32(np.inf))
    missing = np.full((unknown.shape[0], 3), np.inf, np.float32)
    squares = np.concatenate((squares, missing), 1)
    index = np.argsort(squares, 1, kind="stable")[:, :3]
    nearest = np.take_along_axis(squares, index, 1)
    return nearest, np.where(np.isinf(nearest), 0, index)


def interpolation_weights(squares: Array, weighting: str) -> Array:
    """Squared distances (n, 3) -> weights (n, 3) that sum to 1."""
    is_squared = weighting == "squared"
    length = np.maximum(squares, LEAST_SQUARE) if is_squared else np.sqrt(squares) + LEAST_DISTANCE
    inverse = np.asarray(np.float32(1) / length, np.float32)
    total = (inverse[:, 0] + inverse[:, 1]) + inverse[:, 2]
    return np.asarray(inverse / total[:, None], np.float32)


def check_three_interpolate(dims: Mapping[str, int], _: Mapping[str, AttributeValue]) -> str | None:
    """What the shapes alone do not say."""
    if not 1 <= dims["m"] <= MAXIMUM_POINTS:
        return f"known: expected 1 to {MAXIMUM_POINTS} points, got {dims['m']}"
    return None


SPEC = OpSpec(
    name="ThreeInterpolate",
    folder="three_interpolate",
    summary="features at points, from the three nearest points that have some",
    inputs=(
        Operand("unknown", ("B", "n", 3), "points that get features"),
        Operand("known", ("B", "m", 3), "points that have some"),
        Operand("features", ("B", "C", "m"), "of known", is_feature=True),
    ),
    outputs=(Operand("interpolated", ("B", "C", "n"), "features of unknown", is_feature=True),),
    attributes=(
        Attribute("weighting", "string", "by the inverse distance or its square", "distance", WEIGHTINGS),
    ),
    reference=three_interpolate_reference,
    cases=cases,
    check=check_three_interpolate,
    has_fast_cpu=True,
)
