"""What many measured times say: percentiles, jitter, and ratios between two sides of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tercelet.contract.errors import InputError


@dataclass(frozen=True)
class Distribution:
    """Times in milliseconds. Percentiles interpolate linearly between samples.

    jitter is p99 - p50: how much later than usual a late frame comes. iqr, the distance between the
    quartiles, is the spread of the ordinary frames, which a few late ones do not move.
    """

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    jitter: float
    iqr: float
    min: float
    max: float


@dataclass(frozen=True)
class Ratio:
    """Median of one side over median of the other, round by round: the median of these and their spread."""

    median: float
    min: float
    max: float
    lower_quartile: float
    upper_quartile: float
    rounds: tuple[float, ...]


def distribution_of(samples: Sequence[float]) -> Distribution:
    """The distribution of at least one time in milliseconds; InputError for none."""
    if not len(samples):
        raise InputError("expected at least one measured time, got none")
    values = np.asarray(samples, np.float64)
    p25, p50, p75, p90, p99 = (float(value) for value in np.percentile(values, (25, 50, 75, 90, 99)))
    return Distribution(
        count=len(values),
        mean=float(values.mean()),
        p50=p50,
        p90=p90,
        p99=p99,
        jitter=p99 - p50,
        iqr=p75 - p25,
        min=float(values.min()),
        max=float(values.max()),
    )


def ratio_of(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Ratio:
    """first, second: the times of each round, in one unit -> how many times as long the first side takes.

    Raises InputError unless both have the same number of rounds, at least one.
    """
    if not first or len(first) != len(second):
        raise InputError(
            "expected the same number of rounds on both sides, at least one, "
            f"got {len(first)} and {len(second)}"
        )
    rounds = [float(np.median(a) / np.median(b)) for a, b in zip(first, second, strict=True)]
    low, lower, median, upper, high = (float(v) for v in np.percentile(rounds, (0, 25, 50, 75, 100)))
    return Ratio(median, low, high, lower, upper, tuple(rounds))
