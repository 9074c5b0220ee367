"""The files of one synthetic room: as SUN RGB-D's extraction leaves a frame, and as VoteNet prepares it."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.evaluation.synthetic.rooms.view import RoomView, room_view
from tercelet.runtime.vision import write_image

TRAINVAL, VOTENET = "sunrgbd_trainval", "sunrgbd_pc_bbox_votes"
FOLDERS = (
    *(f"{TRAINVAL}/{name}" for name in ("image", "depth", "calib", "label_v1")),
    VOTENET,
)
_LEVEL = 3  # of deflate: higher costs time and saves little on noise


@dataclass(frozen=True)
class RoomRequest:
    """The room of `seed`, to be written below `output`."""

    output: Path
    seed: int

    @property
    def stem(self) -> str:
        """The files' name without suffix; it names the room, not its place in a run."""
        return f"{self.seed:06d}"

    @property
    def last_file(self) -> Path:
        """Written last, so that a room is complete where this is there."""
        return self.output / VOTENET / f"{self.stem}_pc.npz"

    @property
    def boxes_file(self) -> Path:
        """What tells the objects of a room that is complete."""
        return self.output / VOTENET / f"{self.stem}_bbox.npy"


def write_room(request: RoomRequest) -> None:
    """Draw the room and write its files; InputError where that cannot be done."""
    view = room_view(request.seed)
    trainval, stem = request.output / TRAINVAL, request.stem
    write_image(trainval / "image" / f"{stem}.jpg", view.image)
    _write(trainval / "depth" / f"{stem}.png", grey16_png(view.depth))
    _write(trainval / "depth" / f"{stem}.mat", matlab_file("instance", view.points))
    _write(trainval / "calib" / f"{stem}.txt", calib_text(view).encode())
    _write(trainval / "label_v1" / f"{stem}.txt", label_text(view).encode())
    _write(request.boxes_file, _npy(votenet_boxes(view)))
    _write(request.output / VOTENET / f"{stem}_votes.npz", _npz("point_votes", view.votes))
    _write(request.last_file, _npz("pc", view.points))


def calib_text(view: RoomView) -> str:
    """calib.txt: Rtilt, then K, by columns."""
    assert view.calibration.upright is not None
    matrices = (view.calibration.upright, view.calibration.intrinsics)
    return "".join(" ".join(f"{x:.9g}" for x in m.ravel(order="F").tolist()) + "\n" for m in matrices)


def label_text(view: RoomView) -> str:
    """A line an object: class, left, top, width, height, centre, half width, length, height, direction."""
    lines = []
    for box, name, (left, top, right, bottom) in zip(
        view.boxes, (SUNRGBD_CLASSES[i] for i in view.class_ids), view.boxes_2d.astype(int), strict=True
    ):
        x, y, z, dx, dy, dz, yaw = box.tolist()
        numbers = (x, y, z, dy / 2, dx / 2, dz / 2, float(np.cos(yaw)), float(np.sin(yaw)))
        words = (name, left, top, right - left, bottom - top, *(f"{number:.6f}" for number in numbers))
        lines.append(" ".join(map(str, words)) + "\n")
    return "".join(lines)


def votenet_boxes(view: RoomView) -> NDArray[np.float64]:
    """(K, 8): centre, half length, width, height, heading (clockwise from above), class."""
    boxes = view.boxes
    return np.concatenate((boxes[:, :3], boxes[:, 3:6] / 2, -boxes[:, 6:], view.class_ids[:, None]), axis=1)


def grey16_png(samples: NDArray[np.uint16]) -> bytes:
    """(H, W) as a PNG of 16-bit grey (W3C, second edition), each row as its difference to the one above."""
    height, width = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, 2 * width)
    above = np.vstack((np.zeros((1, 2 * width), np.uint8), rows[:-1]))
    filtered = np.hstack((np.full((height, 1), 2, np.uint8), rows - above))
    header = struct.pack(">2I5B", width, height, 16, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), _LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def matlab_file(name: str, values: NDArray[np.float32]) -> bytes:
    """A MATLAB file of level 5 with one (N, M) matrix of singles, compressed; written from the format's
    published description."""
    data = np.asarray(values, "<f4").tobytes(order="F")
    parts = (
        (6, struct.pack("<2I", 7, 0)),  # flags: the class of singles
        (5, struct.pack("<2i", *values.shape)),
        (1, name.encode("ascii")),
        (7, data),
    )
    body = b"".join(_element(kind, part) for kind, part in parts)
    packed = zlib.compress(_element(14, body), _LEVEL)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return head + struct.pack("<2I", 15, len(packed)) + packed


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)


def _npy(values: NDArray[np.floating[Any]]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def _npz(name: str, values: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        # Without a date of its own an entry says 1980, so that the same room gives the same bytes.
        archive.writestr(zipfile.ZipInfo(f"{name}.npy"), _npy(values), zipfile.ZIP_DEFLATED, _LEVEL)
    return stream.getvalue()


def _write(path: Path, data: bytes) -> None:
    """All of the file or nothing of it; InputError says why that failed."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
