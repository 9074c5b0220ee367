"""Clouds of points: read, checked, made upright, sampled; with numpy alone."""

from __future__ import annotations

from tercelet.runtime.clouds.calibration import (
    Calibration,
    checked_intrinsics,
    depth2img,
    read_calib_txt,
    read_extrinsics,
    read_intrinsics,
)
from tercelet.runtime.clouds.cloud import LEAST_POINTS, Cloud, checked_cloud, cloud_from_columns
from tercelet.runtime.clouds.depth import cloud_from_depth, metres_from_samples, unrotated_sunrgbd
from tercelet.runtime.clouds.grey16_png import read_grey16_png
from tercelet.runtime.clouds.reading import CLOUD_SUFFIXES, read_cloud
from tercelet.runtime.clouds.sampling import detector_points, height_above_floor, sampled_rows
from tercelet.runtime.clouds.upright import (
    Levelling,
    Upright,
    cloud_from_camera_frame,
    made_upright,
    refuse_camera_frame,
    upright_rotation,
)

__all__ = [
    "CLOUD_SUFFIXES",
    "LEAST_POINTS",
    "Calibration",
    "Cloud",
    "Levelling",
    "Upright",
    "checked_cloud",
    "checked_intrinsics",
    "cloud_from_camera_frame",
    "cloud_from_columns",
    "cloud_from_depth",
    "depth2img",
    "detector_points",
    "height_above_floor",
    "made_upright",
    "metres_from_samples",
    "read_calib_txt",
    "read_cloud",
    "read_extrinsics",
    "read_grey16_png",
    "read_intrinsics",
    "refuse_camera_frame",
    "sampled_rows",
    "unrotated_sunrgbd",
    "upright_rotation",
]
