"""BallQuery: for each centre the first points, by index, that lie within a radius.

Paper: Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space", NeurIPS
2017. Rules as mmcv's kernel (Apache-2.0) has them, from a description of them. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.op_spec import Attribute, AttributeValue, Operand, OpSpec
from tercelet.ops.ball_query.cases import cases

MAXIMUM = (1 << 31) - 1
# Squares of larger ones are beyond float32.
LARGEST_RADIUS = 1e18
# Distances that the reference has at a time.
_AT_ONCE = 1 << 22
Array = NDArray[np.float32]


def ball_query_reference(
    xyz: Array, centre: Array, *, radius: float, samples: int, min_radius: float = 0.0
) -> NDArray[np.int32]:
    """xyz (B, N, 3), centre (B, M, 3), both in the unit of the radii -> indices (B, M, samples), int32.

    The first `samples` points, in the order of their index, whose squared distance is below radius ** 2 and
    not below min_radius ** 2, or exactly 0. What is left over repeats the first hit; without any hit all are
    0, a point like any other. Squared distances are (dx * dx + dy * dy) + dz * dz, rounded to float32 at
    every step, like the squares of the radii. A point or centre that is not finite has no hit.
    Raises InputError for what does not fit.
    """
    SPEC.bind((xyz.shape, centre.shape), {"radius": radius, "samples": samples, "min_radius": min_radius})
    points, centres = xyz.astype(np.float32, copy=False), centre.astype(np.float32, copy=False)
    outer, inner = (np.float32(value) * np.float32(value) for value in (radius, min_radius))
    found = np.zeros((*centre.shape[:2], samples), np.int32)
    step = max(1, _AT_ONCE // xyz.shape[1])
    for image in range(xyz.shape[0]):
        for start in range(0, centre.shape[1], step):
            squares = _squares(points[image], centres[image, start : start + step])
            is_hit = ((squares < outer) & (squares >= inner)) | (squares == 0)
            found[image, start : start + step] = _first_hits(is_hit, samples)
    return found


def _squares(points: Array, centres: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        dx, dy, dz = (points[None, :, axis] - centres[:, None, axis] for axis in range(3))
        return np.asarray((dx * dx + dy * dy) + dz * dz, np.float32)


def _first_hits(is_hit: NDArray[np.bool_], samples: int) -> NDArray[np.int32]:
    """Indices (M, samples) of the first hits in each row (M, N)."""
    row, column = np.nonzero(is_hit)
    hits = is_hit.sum(1)
    place = np.arange(row.size) - np.repeat(np.cumsum(hits) - hits, hits)
    found = np.zeros((is_hit.shape[0], samples), np.int32)
    found[:] = np.where(hits > 0, is_hit.argmax(1), 0)[:, None]
    kept = place < samples
    found[row[kept], place[kept]] = column[kept]
    return found


def check_ball_query(dims: Mapping[str, int], attributes: Mapping[str, AttributeValue]) -> str | None:
    """What the shapes alone do not say."""
    radius: Any = attributes["radius"]
    samples: Any = attributes["samples"]
    min_radius: Any = attributes["min_radius"]
    if not 0 < radius <= LARGEST_RADIUS:
        return f"radius: expected more than 0 and at most 1e18, got {radius:g}"
    if not 0 <= min_radius <= radius:
        return f"min_radius: expected 0 to the radius {radius:g}, got {min_radius:g}"
    if not 1 <= samples <= MAXIMUM:
        return f"samples: expected 1 to {MAXIMUM}, got {samples}"
    if not 1 <= dims["N"] <= MAXIMUM:
        return f"xyz: expected 1 to {MAXIMUM} points, got {dims['N']}"
    return None


SPEC = OpSpec(
    name="BallQuery",
    folder="ball_query",
    summary="the first points, by index, within a radius of each centre",
    inputs=(
        Operand("xyz", ("B", "N", 3), "points"),
        Operand("centre", ("B", "M", 3), "of the balls"),
    ),
    outputs=(Operand("index", ("B", "M", "samples"), "of the points found", dtype="int32"),),
    attributes=(
        Attribute("radius", "float", "points are nearer than that"),
        Attribute("samples", "int", "how many are taken at most"),
        Attribute("min_radius", "float", "and not nearer than that, unless they are the centre", 0.0),
    ),
    reference=ball_query_reference,
    cases=cases,
    check=check_ball_query,
    has_fast_cpu=True,
)
