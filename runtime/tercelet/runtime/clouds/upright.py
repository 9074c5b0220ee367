"""Bringing a cloud upright: by the extrinsics, by its floor, or by leaving it as it is, as asked.

And the check that a cloud that is said to be upright does not lie in the frame of a camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds.calibration import DEPTH_FROM_CAMERA, Matrix
from tercelet.runtime.clouds.cloud import Cloud
from tercelet.runtime.clouds.floor import Vector, find_floor

Levelling = Literal["extrinsics", "floor", "identity"]

_UP: Vector = np.array([0.0, 0.0, 1.0])
_CAMERA_UP: Vector = np.array([0.0, -1.0, 0.0])
_CHECK_TILT_DEGREES = 25.0
_ESTIMATE_TILT_DEGREES = 60.0
_LEAST_CONFIDENCE = 0.3
_NO_FLOOR, _SURE_FLOOR = 0.1, 0.4
_HIGHEST_FLOOR = 0.3  # metres above the origin, which is the camera or a point on the floor


@dataclass(frozen=True, eq=False)
class Upright:
    """rotation: (3, 3) float64, upright depth from depth frame. how: what it rests on. confidence: 0..1 of
    the floor it was estimated from; None where nothing was estimated."""

    rotation: Matrix
    how: Levelling
    confidence: float | None = None


def upright_rotation(
    points: NDArray[np.float32], *, how: Levelling, extrinsics: Matrix | None = None, source: str = "cloud"
) -> Upright:
    """The rotation that makes (N, 3) depth-frame points upright.

    how: "extrinsics" takes the given rotation. "floor" estimates it from the largest plane within 60 degrees
    of the camera's own up that has nothing below it; turns about the vertical are left as they are.
    "identity" leaves the points as they are. Raises InputError for "extrinsics" without any, and for "floor"
    where none is found with a confidence of at least 0.3.
    """
    if how == "extrinsics":
        if extrinsics is None:
            raise InputError(
                f"{source}: expected extrinsics to find the upright frame with, got none; give them, or ask "
                "for it to be estimated from the floor, or for the cloud to be taken as upright"
            )
        return Upright(extrinsics, "extrinsics")
    if how == "identity":
        return Upright(np.eye(3), "identity")
    floor = find_floor(points, up=_UP, most_tilt_degrees=_ESTIMATE_TILT_DEGREES)
    confidence = 0.0 if floor is None else floor.confidence
    if floor is None or confidence < _LEAST_CONFIDENCE:
        raise InputError(
            f"{source}: expected a floor to find the upright frame with, got none to rely on (confidence "
            f"{confidence:.2f} of {_LEAST_CONFIDENCE}); give extrinsics"
        )
    return Upright(rotation_between(floor.normal, _UP), "floor", confidence)


def rotation_between(start: Vector, stop: Vector) -> Matrix:
    """(3, 3) the shortest rotation that takes one unit vector to another, which is not its opposite."""
    axis, cosine = np.cross(start, stop), float(start @ stop)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turned: Matrix = np.eye(3) + cross + cross @ cross / (1.0 + cosine)
    return turned


def made_upright(cloud: Cloud, upright: Upright) -> Cloud:
    """The cloud, its points rotated into the upright depth frame."""
    points = cloud.points @ upright.rotation.T.astype(np.float32)
    return Cloud(cloud.source, np.ascontiguousarray(points), cloud.colours)


def cloud_from_camera_frame(cloud: Cloud) -> Cloud:
    """Camera frame (x right, y down, z forward) -> depth frame (x right, y forward, z up)."""
    points = cloud.points @ DEPTH_FROM_CAMERA.T.astype(np.float32)
    return Cloud(cloud.source, np.ascontiguousarray(points), cloud.colours)


def refuse_camera_frame(cloud: Cloud) -> None:
    """InputError for a cloud that is said to be upright and seems to lie in the frame of a camera.

    It does where three things hold: no floor across z within 25 degrees at or below the origin (confidence
    below 0.1; what lies above is a thing in front of a camera), one across -y instead (at least 0.4), and
    points all before the camera along z while some lie on either side of y = 0. A view in the upright frame
    that shows a wall and no floor fails the third: all its points have y > 0.
    """
    upright = find_floor(cloud.points, up=_UP, most_tilt_degrees=_CHECK_TILT_DEGREES)
    if upright is not None and upright.confidence >= _NO_FLOOR and upright.offset < _HIGHEST_FLOOR:
        return
    camera = find_floor(cloud.points, up=_CAMERA_UP, most_tilt_degrees=_ESTIMATE_TILT_DEGREES)
    if camera is None or camera.confidence < _SURE_FLOOR:
        return
    ahead = float((cloud.points[:, 2] > 0).mean())
    behind = float((cloud.points[:, 1] < 0).mean())
    if ahead > 0.99 and behind > 0.02:
        tilt = camera.tilt_degrees(_CAMERA_UP)
        raise InputError(
            f"{cloud.source}: expected an upright cloud (x right, y forward, z up), got one that seems to "
            f"lie in the camera's frame (x right, y down, z forward): its floor lies across -y, tilted by "
            f"{tilt:.0f} degrees (confidence {camera.confidence:.2f}); say that it is in the camera's frame"
        )


def floor_tilt_degrees(points: NDArray[np.float32]) -> tuple[float, float] | None:
    """How far the floor of (N, 3) points is from level, in degrees, and how sure that is (0..1); None
    where no floor is seen within 60 degrees."""
    floor = find_floor(points, up=_UP, most_tilt_degrees=_ESTIMATE_TILT_DEGREES)
    if floor is None or not math.isfinite(floor.confidence):
        return None
    return floor.tilt_degrees(_UP), floor.confidence
