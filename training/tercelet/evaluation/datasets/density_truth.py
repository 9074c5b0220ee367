"""Density ground truth: a Gaussian at the centre of each annotated object, as a map of objects a pixel.

The form is that of DMNet (Li et al., CVPRW 2020), compatible with Cli98/DMNet (no licence stated; none of its
code is here). Deliberate differences unless `parity` is set: the last row and column are used, neighbours are
near in the frame alone and not in class number too, score 0 is left out of every split, and a frame
without objects is a map of zeros.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.visdrone_txt import VisDroneAnnotation

SIGMA = 15.0
LARGEST_SIGMA = 20.0
_SIGMA_STEP = 0.025
_NEIGHBOURS = 3
# Pairs of points compared at once; a frame of 2000 objects takes two rounds.
_PAIRS_AT_ONCE = 1 << 22
# Upstream takes a line with truncation 2 for one to be left out; the format knows 0 and 1 only.
_NEVER_TRUNCATED = 2

Method = Literal[1, 2, 3]
Mode = Literal["train", "val", "test"]


def counted_objects(
    annotation: VisDroneAnnotation, *, drop_score0: bool = True, drop_heavy_occlusion: bool = False
) -> NDArray[np.bool_]:
    """(N,) which lines are objects that count: categories 1 to 10 with an extent.

    drop_score0: without those that the data set marks to be ignored. drop_heavy_occlusion: without those
    of which more than half is hidden.
    """
    counted: NDArray[np.bool_] = annotation.is_object & annotation.has_extent
    if drop_score0:
        counted &= annotation.scores != 0
    if drop_heavy_occlusion:
        counted &= annotation.occlusion < 2
    return counted


def upstream_objects(annotation: VisDroneAnnotation, *, mode: Mode) -> NDArray[np.bool_]:
    """(N,) which lines DMNet's scripts count: only mode "val" leaves out score 0 (and truncation 2)."""
    counted: NDArray[np.bool_] = annotation.is_object & annotation.has_extent
    if mode == "val":
        counted &= (annotation.scores != 0) & (annotation.truncation != _NEVER_TRUNCATED)
    return counted


def object_points(
    annotation: VisDroneAnnotation, counted: NDArray[np.bool_], *, height: int, width: int
) -> NDArray[np.int64]:
    """(n, 3) x, y of the pixel at each counted object's centre, moved into the frame, and category - 1."""
    boxes = annotation.boxes[counted]
    centres = np.trunc((boxes[:, :2] + boxes[:, 2:]) * 0.5).clip(0, (width - 1, height - 1))
    return np.concatenate((centres, annotation.categories[counted, None] - 1), axis=1).astype(np.int64)


def density_truth(
    annotation: VisDroneAnnotation,
    *,
    height: int,
    width: int,
    method: Method = 3,
    sigma: float = SIGMA,
    min_sigma: float = 0.0,
    preserve_count: bool = False,
    drop_score0: bool = True,
    drop_heavy_occlusion: bool = False,
    parity: bool = False,
    mode: Mode = "train",
) -> NDArray[np.float32]:
    """(height, width) float32 objects a pixel of the frame that was annotated.

    method: how wide an object's Gaussian is, in pixels of standard deviation. 3: `sigma`. 2: the distance to
    the nearest other object; 1: a tenth of the mean distance to the nearest three; both at least `min_sigma`,
    at most 20, in steps of 0.025, and `sigma` for an object alone in its frame. preserve_count: every object
    adds exactly 1; without it, what lies beyond the border is lost. parity: as upstream computes it, `mode`
    being the split that it is told; drop_score0, drop_heavy_occlusion and preserve_count are then refused if
    changed. Where upstream fails (a frame without objects, a point in the last row or column with sigma 0)
    nothing is added. Raises InputError for an impossible option.
    """
    _check(height, width, method, sigma)
    if parity:
        if not drop_score0 or drop_heavy_occlusion or preserve_count:
            raise InputError(
                "parity: expected drop_score0, drop_heavy_occlusion and preserve_count unchanged; "
                "upstream has none of them"
            )
        counted = upstream_objects(annotation, mode=mode)
    else:
        counted = counted_objects(
            annotation, drop_score0=drop_score0, drop_heavy_occlusion=drop_heavy_occlusion
        )
    points = object_points(annotation, counted, height=height, width=width)
    sigmas = object_sigmas(points, method=method, sigma=sigma, min_sigma=min_sigma, parity=parity)
    ends = (height - 1, width - 1) if parity else (height, width)
    return _stamped(points, sigmas, (height, width), ends=ends, preserve_count=preserve_count)


def object_sigmas(
    points: NDArray[np.int64],
    *,
    method: Method = 3,
    sigma: float = SIGMA,
    min_sigma: float = 0.0,
    parity: bool = False,
) -> NDArray[np.float64]:
    """(n, 3) x, y, class -> (n,) standard deviation of each point's Gaussian; options as density_truth.

    parity: the class number is a third coordinate, and a neighbour that is not there is infinitely far.
    """
    if method == 3 or len(points) < 2:
        return np.full(len(points), sigma)
    places = (points if parity else points[:, :2]).astype(np.float64)
    distances = nearest_distances(places)[:, 1:]
    if method == 2:
        found = distances[:, 0]
    elif parity:
        found = distances.mean(axis=1) * 0.1
    else:
        there = np.isfinite(distances)
        found = np.where(there, distances, 0.0).sum(axis=1) / there.sum(axis=1) * 0.1
    return closest_sigma(np.maximum(found, min_sigma))


def nearest_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) -> (n, 4) float64 distance to the point itself (0) and its three nearest, infinite if
    missing."""
    count = len(points)
    nearest = np.full((count, _NEIGHBOURS + 1), np.inf)
    step = max(_PAIRS_AT_ONCE // max(count, 1), 1)
    for start in range(0, count, step):
        part = points[start : start + step]
        squares = sum((part[:, None, axis] - points[None, :, axis]) ** 2 for axis in range(points.shape[1]))
        kept = min(count, _NEIGHBOURS + 1)
        lowest = np.partition(np.asarray(squares), kept - 1, axis=1)[:, :kept]
        nearest[start : start + step, :kept] = np.sqrt(np.sort(lowest, axis=1))
    return nearest


def closest_sigma(sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest of 0, 0.025, ... 20 to each; between two equally near ones the larger."""
    keys = np.linspace(0, LARGEST_SIGMA, round(LARGEST_SIGMA / _SIGMA_STEP) + 1).round(3)
    upper = np.searchsorted(keys, sigmas).clip(1, len(keys) - 1)
    below, above = keys[upper - 1], keys[upper]
    closest: NDArray[np.float64] = np.where(sigmas - below < above - sigmas, below, above)
    return closest


@lru_cache(maxsize=64)
def gaussian_row(sigma: float) -> NDArray[np.float64]:
    """(2 r + 1,) float64 of sum 1, r = ceil(4 sigma): a kernel is the outer product of this with itself.

    The weights end at int(4 sigma + 0.5), as scipy's filter of an impulse does, so that the outermost two can
    be 0.
    """
    radius, reach = math.ceil(4 * sigma), int(4 * sigma + 0.5)
    places = np.arange(-radius, radius + 1)
    if sigma == 0:
        return np.ones(1)
    row = np.where(np.abs(places) <= reach, np.exp(-0.5 * (places / sigma) ** 2), 0.0)
    return row / row.sum()  # type: ignore[no-any-return]


def quarter_density(density: NDArray[np.floating]) -> NDArray[np.float32]:
    """(H, W) -> (H // 4, W // 4) float32, 16 times the bilinear samples, as MCNN's training has it.

    The count is kept only nearly; DensityMap.resized keeps it. Raises InputError for a side below 4.
    """
    height, width = (side // 4 for side in density.shape)
    if not height or not width:
        raise InputError(f"expected a density of at least 4x4 pixels, got {density.shape}")
    values = _sampled_rows(density.astype(np.float32), height)
    return np.ascontiguousarray(_sampled_rows(values.T, width).T) * np.float32(16)


def _check(height: int, width: int, method: int, sigma: float) -> None:
    if height < 1 or width < 1:
        raise InputError(f"expected a frame of at least 1x1 pixels, got {height}x{width}")
    if method not in (1, 2, 3):
        raise InputError(f"method: expected 1, 2 or 3, got {method!r}")
    if not 0 <= sigma < math.inf:
        raise InputError(f"sigma: expected a standard deviation of 0 pixels or more, got {sigma}")


def _stamped(
    points: NDArray[np.int64],
    sigmas: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    ends: tuple[int, int],
    preserve_count: bool,
) -> NDArray[np.float32]:
    """One outer product a point, cut at 0 and at `ends`; quicker than a convolution of the whole frame."""
    density = np.zeros(shape, np.float64 if len(points) else np.float32)
    for (x, y, _), sigma in zip(points.tolist(), sigmas.tolist(), strict=True):
        row = gaussian_row(sigma)
        (top, down), (left, across) = _cut(row, y, ends[0]), _cut(row, x, ends[1])
        if preserve_count:
            down, across = down / down.sum(), across / across.sum()
        density[top : top + len(down), left : left + len(across)] += down[:, None] * across
    return density.astype(np.float32, copy=False)


def _cut(row: NDArray[np.float64], centre: int, end: int) -> tuple[int, NDArray[np.float64]]:
    """Where the kernel begins in 0 to `end`, and the part of it that lies there."""
    begin = centre - len(row) // 2
    start = max(begin, 0)
    return start, row[start - begin : max(min(begin + len(row), end), start) - begin]


def _sampled_rows(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Bilinear samples at the centres of `count` rows, without smoothing first."""
    places = ((np.arange(count) + 0.5) * (len(values) / count) - 0.5).clip(0, len(values) - 1)
    low = places.astype(np.int64)
    share = (places - low).astype(np.float32)[:, None]
    return values[low] * (1 - share) + values[np.minimum(low + 1, len(values) - 1)] * share
