"""A cloud of points, and what must hold of one before a detector is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError

LEAST_POINTS = 1000
# A room measures some metres. What spans this much is a room in millimetres, or no room.
_LARGEST_SPAN = 100.0
_SMALLEST_SPAN = 0.2
_MILLIMETRES = 1000.0
# Enough, evenly taken, to tell a span.
_JUDGED_POINTS = 20_000

NonFinite = Literal["refuse", "drop"]


@dataclass(frozen=True, eq=False)
class Cloud:
    """N points. source: for messages. points: (N, 3) float32, metres. colours: (N, 3) float32 RGB 0..1, None
    where the source has none."""

    source: str
    points: NDArray[np.float32]
    colours: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.points)

    def taken(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Cloud:
        """The cloud of these rows, in this order."""
        colours = None if self.colours is None else self.colours[rows]
        return Cloud(self.source, self.points[rows], colours)


def cloud_from_columns(source: str, values: NDArray[np.generic]) -> Cloud:
    """(N, 3 or more) numbers, x y z first -> a cloud; of exactly six columns the last three are its colours.

    Colours above 1 are taken for 0..255. Raises InputError for another shape and for what are no numbers.
    """
    if values.ndim != 2 or values.shape[1] < 3 or values.dtype.kind not in "fiu":
        raise InputError(
            f"{source}: expected numbers in rows of x y z or more columns, got shape {values.shape} of "
            f"{values.dtype}; write it as (N, 3) float32, metres"
        )
    points = np.ascontiguousarray(values[:, :3], np.float32)
    if values.shape[1] != 6:
        return Cloud(source, points)
    colours = np.ascontiguousarray(values[:, 3:], np.float32)
    if len(colours) and np.nanmax(colours, initial=0.0) > 1:
        colours = colours / np.float32(255)
    return Cloud(source, points, colours)


def checked_cloud(cloud: Cloud, *, non_finite: NonFinite = "refuse", least: int = LEAST_POINTS) -> Cloud:
    """The cloud, if a detector can make something of it; InputError otherwise.

    non_finite: points with NaN or infinity are refused, or dropped, as asked. least: how many points there
    must be then. A cloud is also refused whose middle 98 % span more than 100 m or less than 0.2 m along
    their longest axis: it is not in metres.
    """
    sound: NDArray[np.bool_] = np.asarray(np.isfinite(cloud.points).all(axis=1))
    bad = len(cloud) - int(np.count_nonzero(sound))
    if bad and non_finite == "refuse":
        raise InputError(
            f"{cloud.source}: expected finite coordinates, got NaN or infinity in {bad} of {len(cloud)} "
            f"points (the first is point {int(sound.argmin())}); ask for them to be dropped if they are holes"
        )
    if bad:
        cloud = cloud.taken(sound)
    if len(cloud) < least:
        dropped = f" once {bad} without finite coordinates are dropped" if bad else ""
        raise InputError(
            f"{cloud.source}: expected at least {least} points, got {len(cloud)}{dropped}; "
            "is this the whole cloud?"
        )
    _check_unit(cloud)
    return cloud


def _check_unit(cloud: Cloud) -> None:
    if not len(cloud):
        return
    every = max(1, len(cloud) // _JUDGED_POINTS)
    low, high = np.percentile(cloud.points[::every], (1, 99), axis=0)
    span = float((high - low).max())
    if span > _LARGEST_SPAN:
        in_metres = span / _MILLIMETRES
        if _SMALLEST_SPAN <= in_metres <= _LARGEST_SPAN:
            raise InputError(
                f"{cloud.source}: expected metres, got a cloud that spans {span:.0f}: these look like "
                f"millimetres of a room of {in_metres:.1f} m; divide the coordinates by 1000"
            )
        raise InputError(
            f"{cloud.source}: expected a room in metres, got a cloud that spans {span:.4g}; check the unit"
        )
    if span < _SMALLEST_SPAN:
        raise InputError(
            f"{cloud.source}: expected a room in metres, got a cloud that spans {span:.4g}; check the unit, "
            "and that depth is not constant"
        )
