"""From a depth picture to points in the depth frame (x right, y forward, z up, metres)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds.calibration import Calibration, checked_intrinsics
from tercelet.runtime.clouds.cloud import Cloud

MILLIMETRES = 0.001


def unrotated_sunrgbd(stored: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(H, W) samples of a raw SUN RGB-D depth picture -> millimetres: their bits are rotated by three."""
    millimetres: NDArray[np.uint16] = (stored >> np.uint16(3)) | (stored << np.uint16(13))
    return millimetres


def metres_from_samples(
    stored: NDArray[np.generic], *, unit: float, longest: float | None = None
) -> NDArray[np.float32]:
    """(H, W) samples, 0 or not finite where the sensor saw nothing -> (H, W) float32 metres, 0 there.

    unit: metres a sample step (0.001 for millimetres). longest: what lies farther counts as not seen.
    """
    metres = stored.astype(np.float32) * np.float32(unit)
    metres[~np.isfinite(metres) | (metres < 0)] = 0
    if longest is not None:
        metres[metres > longest] = 0
    return metres


def cloud_from_depth(
    metres: NDArray[np.float32],
    calibration: Calibration,
    *,
    source: str,
    image: NDArray[np.uint8] | None = None,
) -> Cloud:
    """Points of a depth picture, row by row, in the depth frame; pixels without depth give none.

    metres: (H, W) float32 along the optical axis, 0 where nothing was seen. image: (H, W, 3) uint8 BGR of the
    same pixels, for colours. Whatever rotation the calibration has is not applied here.
    Raises InputError for absurd intrinsics and for an image of another size.
    """
    if metres.ndim != 2:
        raise InputError(f"{source}: expected depth as (H, W), got {metres.shape}")
    height, width = metres.shape
    if image is not None and image.shape[:2] != (height, width):
        raise InputError(
            f"{source}: expected RGB and depth of one size, got RGB {image.shape[1]}x{image.shape[0]} and "
            f"depth {width}x{height}; align the depth to the RGB camera first"
        )
    k = checked_intrinsics(calibration.intrinsics, where=source, image_size=(width, height))
    v, u = np.nonzero(metres > 0)
    forward = metres[v, u].astype(np.float64)
    first = calibration.first_pixel
    down = (v + first - k[1, 2]) / k[1, 1]
    right = (u + first - k[0, 2] - k[0, 1] * down) / k[0, 0]
    points = np.stack((right * forward, forward, -down * forward), axis=1).astype(np.float32)
    colours = None if image is None else image[v, u, ::-1].astype(np.float32) / np.float32(255)
    return Cloud(source, points, colours)
