"""FurthestPointSample: points of a cloud, each the furthest from all those taken before it.

Paper: Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space", NeurIPS
2017. Two rules for points that are equally far: the lowest index, or the order that the reduction of mmcv's
kernel (Apache-2.0) has, from a description of that order. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Attribute, AttributeValue, Operand, OpSpec
from tercelet.ops.furthest_point_sample.cases import cases

TIES = ("lowest", "mmcv")
FURTHEST = np.float32(1e10)
EXCLUDED = np.float32(-1)
LARGEST_BLOCK = 1024
MAXIMUM_POINTS = (1 << 31) - 1
Array = NDArray[np.float32]


def tie_order(count: int, ties: str) -> NDArray[np.int64]:
    """The indices 0..count-1 in the order in which they win ties.

    "mmcv": by the bits of index mod B in reverse, then by index; B = 2 ** floor(log2 count), at most 1024.
    """
    index = np.arange(count, dtype=np.int64)
    if ties == "lowest" or count < 2:
        return index
    block = min(1 << (count.bit_length() - 1), LARGEST_BLOCK)
    place, reverse = index % block, np.zeros(count, np.int64)
    for bit in range(LARGEST_BLOCK.bit_length() - 1):
        reverse = 2 * reverse + (place >> bit & 1)
    return np.lexsort((index, reverse))


def furthest_point_sample_reference(xyz: Array, *, count: int, ties: str = "lowest") -> NDArray[np.int32]:
    """xyz (B, N, 3) in any unit, float32 -> indices (B, count) into the N points, int32.

    The first is 0; each next one has the largest squared distance from the nearest taken so far. Squared
    distances are (dx * dx + dy * dy) + dz * dz, rounded to float32 at every step, and at most 1e10. Where all
    are taken, or equal ones only are left, index 0 repeats. Points that are not finite are never taken: the
    first finite one by `ties` stands in for index 0, and 0 where there is none. Raises InputError for what
    does not fit.
    """
    SPEC.bind((xyz.shape,), {"count": count, "ties": ties})
    order = tie_order(xyz.shape[1], ties)
    found = np.zeros((xyz.shape[0], count), np.int32)
    for cloud, row in zip(xyz.astype(np.float32, copy=False), found, strict=True):
        row[:] = order[_sampled(cloud[order], count)]
    return found


def _sampled(points: Array, count: int) -> NDArray[np.int64]:
    """The places (count) of points (N, 3), of which the first wins ties."""
    is_finite = np.asarray(np.isfinite(points).all(1))
    x, y, z = np.where(is_finite[:, None], points, np.float32(0)).T.copy()
    nearest = np.where(is_finite, FURTHEST, EXCLUDED)
    found = np.zeros(count, np.int64)
    with np.errstate(over="ignore"):
        for place in range(count):
            best = found[place] = int(nearest.argmax())
            dx, dy, dz = x - x[best], y - y[best], z - z[best]
            nearest = np.minimum(nearest, (dx * dx + dy * dy) + dz * dz)
    return found


def check_furthest_point_sample(
    dims: Mapping[str, int], attributes: Mapping[str, AttributeValue]
) -> str | None:
    """What the shapes alone do not say."""
    count: Any = attributes["count"]
    if not 1 <= count <= MAXIMUM_POINTS:
        return f"count: expected 1 to {MAXIMUM_POINTS}, got {count}"
    if not 1 <= dims["N"] <= MAXIMUM_POINTS:
        return f"xyz: expected 1 to {MAXIMUM_POINTS} points, got {dims['N']}"
    return None


SPEC = OpSpec(
    name="FurthestPointSample",
    folder="furthest_point_sample",
    summary="points of a cloud, each the furthest from those before it",
    inputs=(Operand("xyz", ("B", "N", 3), "points"),),
    outputs=(Operand("index", ("B", "count"), "of the points taken, in that order", dtype="int32"),),
    attributes=(
        Attribute("count", "int", "how many are taken; may be more than there are"),
        Attribute("ties", "string", "which of equally far points wins", "lowest", TIES),
    ),
    reference=furthest_point_sample_reference,
    cases=cases,
    check=check_furthest_point_sample,
    has_fast_cpu=True,
    scratch=("B", "N"),
)
