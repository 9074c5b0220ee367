"""RGB-D frames and their boxes as a recording (.rrd) for the rerun viewer.

The world is the upright depth frame (x right, y forward, z up, metres). Frames follow each other on the
timeline `frame`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections3d import Detections3d
from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.contract.labels import color_for
from tercelet.runtime.clouds.calibration import Matrix
from tercelet.runtime.given_path import given_path
from tercelet.runtime.sources.rgbd import RgbdFrame

SUFFIX = ".rrd"
# A viewer shows as many quickly; what lies between them is not missed.
MOST_POINTS = 200_000
_GREY = 170


class RgbdRecording:
    """Writes frames into a file, which an older recording of the name gives way to; a context manager."""

    def __init__(self, path: str | Path) -> None:
        """Raises InputError for a name without .rrd or one that cannot be written, MissingDependencyError
        without rerun-sdk."""
        self.path = given_path(path, name="record")
        if self.path.suffix.lower() != SUFFIX:
            raise InputError(f"{self.path}: expected a name that ends in {SUFFIX}")
        self._rerun = _import_rerun()
        self._stream = self._rerun.RecordingStream("tercelet")
        self._count = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("wb").close()  # rerun would only log that it cannot
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        self._stream.save(str(self.path))
        self._log("world", self._rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def add(self, frame: RgbdFrame, detections: Detections3d) -> None:
        """The next frame: points in their colours, boxes, and the camera with its picture where there is
        one."""
        rerun = self._rerun
        self._stream.set_time("frame", sequence=self._count)
        self._count += 1
        step = -(-len(frame.cloud) // MOST_POINTS)
        points, colours = frame.cloud.points[::step], frame.cloud.colours
        shown = _GREY if colours is None else np.rint(colours[::step] * 255).astype(np.uint8)
        colors = np.broadcast_to(shown, points.shape) if colours is None else shown
        self._log("world/points", rerun.Points3D(points, colors=np.asarray(colors, np.uint8), radii=0.008))
        self._log("world/boxes", self._boxes(detections))
        if frame.image is not None:
            self._log_picture(frame.image, frame.depth2img, detections)
        self._log("notes", rerun.TextDocument("\n".join((frame.source, *detections.notes))))

    def close(self) -> None:
        """Write what is left and close the file."""
        self._stream.flush()
        self._stream.disconnect()

    def __enter__(self) -> RgbdRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _boxes(self, detections: Detections3d) -> Any:
        half = detections.boxes[:, 6] / 2
        zero = np.zeros_like(half)
        return self._rerun.Boxes3D(
            centers=detections.boxes[:, :3],
            half_sizes=np.abs(detections.boxes[:, 3:6]) / 2,
            quaternions=np.stack((zero, zero, np.sin(half), np.cos(half)), axis=1),
            labels=[
                f"{detections.label_of(row)} {detections.scores[row]:.2f}" for row in range(len(detections))
            ],
            colors=_colors(detections.class_ids),
        )

    def _log_picture(
        self, image: NDArray[np.uint8], depth2img: Matrix | None, detections: Detections3d
    ) -> None:
        """The picture inside its camera, so that the viewer draws the boxes into it; beside the world where
        nothing says where the camera stands."""
        rerun, place = self._rerun, "picture"
        if depth2img is not None:
            place = "world/camera"
            intrinsics, rotation = camera_of(depth2img)
            self._log(place, rerun.Transform3D(mat3x3=rotation.T))
            self._log(
                place,
                rerun.Pinhole(
                    image_from_camera=intrinsics,
                    resolution=(image.shape[1], image.shape[0]),
                    camera_xyz=rerun.ViewCoordinates.RDF,
                ),
            )
        self._log(f"{place}/image", rerun.Image(image, color_model="BGR").compress(jpeg_quality=90))
        seen = detections.picture_boxes
        if seen is not None:
            boxes = rerun.Boxes2D(
                array=seen.boxes,
                array_format=rerun.Box2DFormat.XYXY,
                labels=[f"{seen.label_of(row)} {seen.scores[row]:.2f}" for row in range(len(seen))],
                colors=_colors(seen.class_ids),
            )
            self._log(f"{place}/image/boxes", boxes)

    def _log(self, place: str, *what: Any, static: bool = False) -> None:
        self._rerun.log(place, *what, static=static, recording=self._stream)


def camera_of(depth2img: Matrix) -> tuple[Matrix, Matrix]:
    """(3, 3) to pixels counted from 1 -> intrinsics (3, 3) to pixels whose corner counts, as viewers have
    them, and the rotation (3, 3) from the boxes' frame to the camera's (x right, y down, z forward)."""
    turned = np.flipud(np.eye(3))
    q, r = np.linalg.qr((turned @ depth2img).T)
    upper, rotation = turned @ r.T @ turned, turned @ q.T
    signs = np.diag(np.where(np.diag(upper) < 0, -1.0, 1.0))
    intrinsics, rotation = upper @ signs, signs @ rotation
    intrinsics = intrinsics / intrinsics[2, 2]
    intrinsics[:2, 2] -= 0.5  # from 1 to 0, and by half a pixel to its corner
    return intrinsics, rotation


def _colors(class_ids: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """RGB of each class, as the pictures draw it."""
    return [(red, green, blue) for blue, green, red in (color_for(int(number)) for number in class_ids)]


def _import_rerun() -> ModuleType:
    try:
        import rerun
    except ImportError as error:
        raise MissingDependencyError(
            f"--record needs rerun-sdk ({error}): pip install 'tercelet[viewer]'"
        ) from error
    module: ModuleType = rerun
    return module
