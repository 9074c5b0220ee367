"""From a cloud to the fixed number of points that a detector takes, with their height above the floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError

# In numpy's per cent: 0.99 per cent of the points are taken to lie below the floor by mistake.
FLOOR_PERCENTILE = 0.99


def sampled_rows(count: int, wanted: int, *, seed: int | None = None) -> NDArray[np.int64]:
    """Which `wanted` of `count` points a detector gets, int64.

    Without a seed: row i * count // wanted for i in 0.., evenly spread and ascending, so that the same cloud
    gives the same boxes; of fewer points than wanted each comes several times, side by side. With a seed:
    drawn at random without repetition, and if there are too few, all of them followed by random repeats.
    Raises InputError for no points.
    """
    if count < 1 or wanted < 1:
        raise InputError(f"expected at least 1 point to take from and 1 to take, got {count} and {wanted}")
    if seed is None:
        return np.arange(wanted, dtype=np.int64) * count // wanted
    generator = np.random.default_rng(seed)
    if count >= wanted:
        return generator.permutation(count)[:wanted].astype(np.int64)
    repeats = generator.integers(0, count, wanted - count)
    return np.concatenate((np.arange(count), repeats)).astype(np.int64)


def height_above_floor(z: NDArray[np.floating]) -> NDArray[np.float32]:
    """(N,) z in metres, upright -> (N,) float32 height above the 0.99th percentile of z (0.99 of 100)."""
    height: NDArray[np.float32] = (z - np.percentile(z, FLOOR_PERCENTILE)).astype(np.float32)
    return height


def detector_points(
    points: NDArray[np.float32], wanted: int, *, seed: int | None = None
) -> NDArray[np.float32]:
    """(N, 3) upright points -> (wanted, 4) float32 x, y, z, height: the rows of `sampled_rows`.

    The floor is that of the points taken, as it is in training.
    """
    taken = points[sampled_rows(len(points), wanted, seed=seed)]
    return np.concatenate((taken, height_above_floor(taken[:, 2])[:, None]), axis=1).astype(np.float32)
