"""RGB-D frames: a cloud file, or folders of RGB, depth and calibration, as upright clouds with a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds.calibration import (
    Calibration,
    Matrix,
    checked_intrinsics,
    read_calib_txt,
    read_extrinsics,
    read_intrinsics,
)
from tercelet.runtime.clouds.cloud import LEAST_POINTS, Cloud, NonFinite, checked_cloud
from tercelet.runtime.clouds.depth import (
    MILLIMETRES,
    cloud_from_depth,
    metres_from_samples,
    unrotated_sunrgbd,
)
from tercelet.runtime.clouds.grey16_png import read_grey16_png
from tercelet.runtime.clouds.reading import read_cloud
from tercelet.runtime.clouds.upright import (
    Levelling,
    Upright,
    cloud_from_camera_frame,
    made_upright,
    refuse_camera_frame,
    upright_rotation,
)
from tercelet.runtime.vision import read_image

CloudFrame = Literal["upright", "depth", "camera"]
DepthFormat = Literal["millimetres", "sunrgbd"]
_PICTURES = (".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class RgbdOptions:
    """How to read RGB-D frames; what is None is found out.

    cloud_frame: the frame of cloud files; depth pictures are in the camera's by nature. level: how to bring
    frames upright; None takes upright clouds as they are, everything else by its extrinsics where there are
    any, otherwise by its floor. columns: of .bin files. depth_format: of depth pictures; None takes them for
    SUN RGB-D's rotated bits where all samples are multiples of 8, otherwise for millimetres. longest: metres
    beyond which depth counts as not seen.
    """

    cloud_frame: CloudFrame = "upright"
    level: Levelling | None = None
    columns: int | None = None
    depth_format: DepthFormat | None = None
    longest: float | None = None
    non_finite: NonFinite = "refuse"
    least_points: int = LEAST_POINTS


@dataclass(frozen=True)
class RgbdFiles:
    """The files of one frame. depth: a cloud or a depth picture. calibration: calib.txt, or intrinsics with
    the extrinsics beside them where there are any."""

    depth: Path
    image: Path | None = None
    calibration: Path | None = None
    extrinsics: Path | None = None


@dataclass(frozen=True, eq=False)
class RgbdFrame:
    """source: the depth's or cloud's path. cloud: upright depth frame, metres. image: (H, W, 3) uint8 BGR,
    None without one. depth2img: (3, 3) float64 from upright points to the image's pixels, counted from 1,
    None without a calibration: without it or an image there is nothing to fuse. upright: how the cloud was
    levelled."""

    source: str
    cloud: Cloud
    upright: Upright
    image: NDArray[np.uint8] | None = None
    depth2img: Matrix | None = None


def read_rgbd(files: RgbdFiles, *, options: RgbdOptions | None = None) -> RgbdFrame:
    """One frame, checked: unit, frame, number of points, calibration, equal sizes of RGB and depth.

    Raises InputError, also for a depth picture without calibration; MissingDependencyError where a picture
    needs OpenCV and it is not installed.
    """
    options = RgbdOptions() if options is None else options
    image = None if files.image is None else read_image(files.image)
    if files.depth.suffix.lower() == ".png":
        samples, first_pixel = _depth_samples(files.depth, options.depth_format)
        calibration = _calibration(files, image, first_pixel=first_pixel)
        if calibration is None:
            raise InputError(
                f"{files.depth}: expected the calibration of the depth camera, got none; give a folder with "
                "intrinsics.txt (3x3, or fx fy cx cy)"
            )
        metres = metres_from_samples(samples, unit=MILLIMETRES, longest=options.longest)
        cloud = cloud_from_depth(metres, calibration, source=str(files.depth), image=image)
        return _levelled(cloud, image, calibration, options, is_upright=False)
    calibration = _calibration(files, image, first_pixel=0)
    cloud = read_cloud(files.depth, columns=options.columns)
    if options.cloud_frame == "camera":
        cloud = cloud_from_camera_frame(cloud)
    return _levelled(cloud, image, calibration, options, is_upright=options.cloud_frame == "upright")


def _levelled(
    cloud: Cloud,
    image: NDArray[np.uint8] | None,
    calibration: Calibration | None,
    options: RgbdOptions,
    *,
    is_upright: bool,
) -> RgbdFrame:
    """The frame of a cloud in the depth frame, or in the upright one already."""
    cloud = checked_cloud(cloud, non_finite=options.non_finite, least=options.least_points)
    extrinsics = None if calibration is None else calibration.upright
    if is_upright:
        if options.level not in (None, "identity"):
            raise InputError(
                f"{cloud.source}: expected a cloud that is still tilted, got one in the upright frame to be "
                f"levelled by its {options.level}; say in which frame it is, or take it as it is"
            )
        refuse_camera_frame(cloud)
        upright, to_image = Upright(np.eye(3), "identity"), extrinsics
    else:
        level = options.level or ("floor" if extrinsics is None else "extrinsics")
        upright = upright_rotation(cloud.points, how=level, extrinsics=extrinsics, source=cloud.source)
        cloud, to_image = made_upright(cloud, upright), upright.rotation
    projection = None if calibration is None else calibration.depth2img(to_image)
    return RgbdFrame(cloud.source, cloud, upright, image, projection)


def rgbd_files(path: str | Path) -> tuple[RgbdFiles, ...]:
    """The frames of a cloud file or of a folder, in order of their names.

    Folders: one frame with calib.txt (image.*, and depth.mat or one cloud); many with image/, depth/ (.mat)
    and calib/, as votenet's extraction of SUN RGB-D leaves them; and intrinsics.txt with image/, rgb/ or
    color/, depth_bfx/ or depth/ (16-bit PNG) and perhaps extrinsics/ or extrinsics.txt, as raw SUN RGB-D and
    cameras have it. Raises InputError that says what was looked for, for a missing calibration above all.
    """
    path = Path(path)
    if path.suffix.lower() in _PICTURES:
        raise InputError(
            f"{path}: expected a cloud or a folder of RGB-D frames, got a picture, which has no depth: no "
            "box in metres can be had of it alone; give its folder, or run a 2D detector on it"
        )
    if path.is_file():
        return (RgbdFiles(depth=path),)
    if not path.is_dir():
        raise InputError(f"{path}: expected a cloud or a folder of RGB-D frames, nothing is there")
    if (path / "calib.txt").is_file():
        return (_single(path),)
    if (path / "calib").is_dir():
        return _extracted(path)
    if (path / "intrinsics.txt").is_file():
        return _from_camera(path)
    raise InputError(
        f"{path}: expected calib.txt, a folder calib or intrinsics.txt beside RGB and depth, got no "
        "calibration; without one depth cannot become points, and a cloud file can be given by itself"
    )


def _single(folder: Path) -> RgbdFiles:
    clouds = [folder / "depth.mat"] if (folder / "depth.mat").is_file() else _files(folder, ".npz", "*_pc*")
    clouds = clouds or [file for suffix in (".ply", ".bin", ".png") for file in _files(folder, suffix)]
    if len(clouds) != 1:
        raise InputError(f"{folder}: expected depth.mat or one cloud beside calib.txt, got {len(clouds)}")
    images = [file for suffix in (".jpg", ".jpeg", ".png") for file in _files(folder, suffix, "image.*")]
    return RgbdFiles(clouds[0], images[0] if images else None, folder / "calib.txt")


def _extracted(folder: Path) -> tuple[RgbdFiles, ...]:
    clouds = _files(folder / "depth", ".mat")
    if not clouds:
        raise InputError(f"{folder / 'depth'}: expected clouds (.mat) beside calib, got none")
    found = []
    for cloud in clouds:
        image = folder / "image" / f"{cloud.stem}.jpg"
        calib = folder / "calib" / f"{cloud.stem}.txt"
        found.append(RgbdFiles(cloud, image if image.is_file() else None, calib))
    return tuple(found)


def _from_camera(folder: Path) -> tuple[RgbdFiles, ...]:
    depths = _files(folder / "depth_bfx", ".png") or _files(folder / "depth", ".png")
    if not depths:
        raise InputError(f"{folder}: expected 16-bit depth (.png) in depth_bfx or depth, got none")
    images: list[Path] = []
    for name in ("image", "rgb", "color"):
        images = images or [f for suffix in (".jpg", ".jpeg", ".png") for f in _files(folder / name, suffix)]
    by_stem = {file.stem: file for file in images}
    if len(images) == len(depths) and not by_stem.keys() & {file.stem for file in depths}:
        # Cameras that name by time of day: the first belongs to the first.
        by_stem = {depth.stem: image for depth, image in zip(depths, sorted(images), strict=True)}
    extrinsics = folder / "extrinsics.txt"
    if not extrinsics.is_file():
        several = _files(folder / "extrinsics", ".txt")
        if len(several) > 1:
            raise InputError(f"{folder / 'extrinsics'}: expected one file, got {len(several)}")
        extrinsics = several[0] if several else extrinsics
    held = extrinsics if extrinsics.is_file() else None
    return tuple(
        RgbdFiles(depth, by_stem.get(depth.stem), folder / "intrinsics.txt", held) for depth in depths
    )


def _files(folder: Path, suffix: str, pattern: str = "*") -> list[Path]:
    found = folder.glob(pattern) if folder.is_dir() else ()
    return sorted(f for f in found if f.suffix.lower() == suffix and f.is_file() and f.name[0] != ".")


def _calibration(
    files: RgbdFiles, image: NDArray[np.uint8] | None, *, first_pixel: Literal[0, 1]
) -> Calibration | None:
    """first_pixel: how intrinsics.txt counts pixels; calib.txt counts from 1."""
    if files.calibration is None:
        return None
    if files.calibration.name == "calib.txt" or files.calibration.parent.name == "calib":
        calibration = read_calib_txt(files.calibration)
    else:
        extrinsics = None if files.extrinsics is None else read_extrinsics(files.extrinsics)
        calibration = Calibration(read_intrinsics(files.calibration), extrinsics, first_pixel)
    if image is not None:
        size = (image.shape[1], image.shape[0])
        checked_intrinsics(calibration.intrinsics, where=str(files.calibration), image_size=size)
    return calibration


def _depth_samples(path: Path, depth_format: DepthFormat | None) -> tuple[NDArray[np.uint16], Literal[0, 1]]:
    """Millimetres, and how the intrinsics beside it count pixels: SUN RGB-D's from 1, a camera's from 0."""
    stored = read_grey16_png(path)
    rotated = depth_format == "sunrgbd"
    if depth_format is None:
        rotated = bool(stored.any()) and not (stored & 7).any()
    return (unrotated_sunrgbd(stored), 1) if rotated else (stored, 0)
