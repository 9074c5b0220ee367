"""How a camera sees and how it is held: intrinsics, and the rotation to the upright frame.

Three frames, metres: camera (x right, y down, z forward), depth (x right, y forward, z up: the camera's
turned, still tilted as it was held) and upright depth (z against gravity).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError

Matrix = NDArray[np.float64]

# Depth axes from camera axes: (x, y, z) of the camera is (x, z, -y) in the depth frame.
DEPTH_FROM_CAMERA: Matrix = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
# Focal length in longer sides of the picture: 0.13 sees 150 degrees, 12 sees 5.
_FOCAL = (0.13, 12.0)
_ROTATION_ERROR = 1e-2  # what calibration files with few digits leave of orthogonality


@dataclass(frozen=True, eq=False)
class Calibration:
    """intrinsics: (3, 3) float64, pixels, camera frame. upright: (3, 3) float64, upright depth from depth
    frame; None where nothing tells how the camera was held. first_pixel: what the middle of the first pixel
    is called by the intrinsics: 1 in SUN RGB-D, which was made in MATLAB, 0 by cameras, OpenCV and ROS."""

    intrinsics: Matrix
    upright: Matrix | None = None
    first_pixel: Literal[0, 1] = 0

    def depth2img(self, upright: Matrix | None = None) -> Matrix:
        """(3, 3) float64: an upright point p is seen at (u/w, v/w) with (u, v, w) = depth2img p.

        Pixels are counted from 1, whatever the intrinsics do, because the fusion of SUN RGB-D's detectors
        takes 1 off. upright: the rotation that the points were levelled by, if not the calibration's own.
        """
        shift = np.eye(3)
        shift[:2, 2] = 1 - self.first_pixel
        return depth2img(shift @ self.intrinsics, self.upright if upright is None else upright)


def depth2img(intrinsics: Matrix, upright: Matrix | None) -> Matrix:
    """(3, 3) projection of upright depth points, metres, to homogeneous pixels; upright None: not tilted."""
    rotation = np.eye(3) if upright is None else upright
    return intrinsics @ DEPTH_FROM_CAMERA.T @ rotation.T


def read_calib_txt(path: str | Path) -> Calibration:
    """calib.txt of SUN RGB-D: the rotation, then the intrinsics, nine numbers each by columns."""
    path = Path(path)
    numbers = _numbers(path, "calib.txt")
    if numbers.size != 18:
        raise InputError(f"{path}: expected 9 numbers of Rtilt and 9 of K, got {numbers.size} in all")
    upright, intrinsics = (part.reshape(3, 3, order="F") for part in (numbers[:9], numbers[9:]))
    return Calibration(
        checked_intrinsics(intrinsics, where=str(path)),
        checked_rotation(upright, where=str(path)),
        first_pixel=1,
    )


def read_intrinsics(path: str | Path) -> Matrix:
    """intrinsics.txt: a 3x3 matrix row by row, or fx fy cx cy; float64."""
    path = Path(path)
    numbers = _numbers(path, "intrinsics")
    if numbers.size == 4:
        fx, fy, cx, cy = numbers
        numbers = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0])
    if numbers.size != 9:
        raise InputError(f"{path}: expected a 3x3 matrix or fx fy cx cy, got {numbers.size} numbers")
    return checked_intrinsics(numbers.reshape(3, 3), where=str(path))


def read_extrinsics(path: str | Path) -> Matrix:
    """A raw SUN RGB-D extrinsics file (3x4 or 3x3, row by row) -> (3, 3) upright depth from depth frame.

    The file rotates the camera's own axes; its translation, which is 0 there, moves nothing here.
    """
    path = Path(path)
    numbers = _numbers(path, "extrinsics")
    if numbers.size not in (9, 12):
        raise InputError(f"{path}: expected a 3x3 or 3x4 matrix, got {numbers.size} numbers")
    rotation = checked_rotation(numbers.reshape(3, -1)[:, :3], where=str(path))
    return DEPTH_FROM_CAMERA @ rotation @ DEPTH_FROM_CAMERA.T


def checked_intrinsics(
    intrinsics: Matrix, *, where: str, image_size: tuple[int, int] | None = None
) -> Matrix:
    """The (3, 3) intrinsics in float64, if a camera can have them; InputError that names what is absurd.

    image_size: (width, height) in pixels, against which focal lengths and centre are judged where known.
    """
    k = np.asarray(intrinsics, np.float64)
    if k.shape != (3, 3) or not np.isfinite(k).all():
        raise InputError(f"{where}: intrinsics: expected 3x3 finite numbers, got {k.tolist()}")
    if np.abs(k[2] - (0, 0, 1)).max() > 1e-6 or k[1, 0] != 0:
        hint = "; is the matrix written column by column?" if np.abs(k[:, 2] - (0, 0, 1)).max() < 1e-6 else ""
        raise InputError(f"{where}: intrinsics: expected [fx s cx; 0 fy cy; 0 0 1], got {k.tolist()}{hint}")
    fx, fy, cx, cy = float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])
    if min(fx, fy) <= 0 or not 0.5 <= fx / fy <= 2:
        raise InputError(
            f"{where}: intrinsics: expected focal lengths above 0 and alike, got {fx:g} and {fy:g}"
        )
    if image_size is None:
        return k
    width, height = image_size
    longer = max(width, height)
    if not _FOCAL[0] <= fx / longer <= _FOCAL[1]:
        raise InputError(
            f"{where}: intrinsics: expected a focal length of {_FOCAL[0] * longer:.0f} to "
            f"{_FOCAL[1] * longer:.0f} pixels for a picture of {width}x{height}, got {fx:g}; "
            "are they in pixels, and those of this picture's size?"
        )
    if not (0 < cx < width and 0 < cy < height):
        raise InputError(
            f"{where}: intrinsics: expected the centre inside the picture of {width}x{height}, got "
            f"({cx:g}, {cy:g}); are they those of this picture's size?"
        )
    return k


def checked_rotation(rotation: Matrix, *, where: str) -> Matrix:
    """The (3, 3) rotation in float64; InputError for a matrix that is none."""
    r = np.asarray(rotation, np.float64)
    sound = r.shape == (3, 3) and bool(np.isfinite(r).all())
    if not sound or np.abs(r @ r.T - np.eye(3)).max() > _ROTATION_ERROR or np.linalg.det(r) < 0:
        raise InputError(f"{where}: expected a rotation matrix, got {r.tolist()}")
    return r


def _numbers(path: Path, name: str) -> Matrix:
    if not path.is_file():
        raise InputError(f"{path}: expected a calibration file ({name}), nothing is there; without it depth "
                         "cannot become points")  # fmt: skip
    try:
        return np.array(path.read_text(encoding="ascii").replace(",", " ").split(), np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected numbers only: {error}") from error
