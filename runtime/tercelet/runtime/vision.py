"""Pictures and video, read, resized, drawn and written: the only file that knows OpenCV.

OpenCV is optional and imported at the first use. Frames are (H, W, 3) uint8 in BGR order. Frames stored
as .npy need no vision library at all.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import sys
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.labels import color_for
from tercelet.contract.preprocess import check_frame
from tercelet.runtime.picture_bytes import (
    JPEG_SIGNATURE,
    describe_refused,
    is_damaged_png,
    may_be_turned,
    why_unfit,
)

Image = NDArray[np.uint8]

NETWORK_TIMEOUT_MS = 10_000
_DEFAULT_FPS = 30.0
# After a packet that cannot be decoded OpenCV answers as it does at the end of the file; asking again goes
# on behind it. This many refusals in a row are taken for the end.
_LONGEST_GAP = 50
# With more detections than this a label wider than its box hides its neighbours: the colour has to tell.
_CROWD = 30


@cache
def _opencv() -> Any:
    """The module cv2, told not to write its own warnings unless the caller's program had loaded it before."""
    if "cv2" not in sys.modules:
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            f"pictures and video are read with OpenCV, which cannot be imported ({error}): "
            "pip install 'tercelet[vision]', or hand in frames as .npy files"
        ) from error
    return cv2


def require_opencv() -> None:
    """Raise MissingDependencyError now, not at the first frame, where OpenCV is not installed."""
    _opencv()


def limit_threads(count: int | None) -> None:
    """Keep OpenCV, where it is installed, to the engine's number of threads, or to one.

    Its threads cost more than they bring at one resize a frame, and take cores from the engine. The setting
    holds for the whole process: for a command to call, never done on import.
    """
    if importlib.util.find_spec("cv2") is not None:
        _opencv().setNumThreads(count or 1)


def read_image(path: str | Path) -> Image:
    """A picture file as (H, W, 3) uint8 BGR, turned upright as its EXIF data say; .npy is taken as it is.

    8-bit grey is repeated in three channels, and an alpha that hides nothing is left out. Raises InputError
    for a file that is missing, damaged, cut short or no picture, and for one that cannot be taken as it is:
    samples of more than 8 bits (16-bit, floating point) and transparent parts.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    cv2 = _opencv()
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a picture, nothing is there; check the path") from error
    except OSError as error:
        raise InputError(f"{path}: expected a readable picture: {error.strerror or error}") from error
    try:
        image = _decode(cv2, path, data)
    except cv2.error:
        image = None  # too many pixels, or a codec's own complaint: reported below like any other damage
    if image is None:
        raise InputError(
            f"{path}: expected a picture, got {describe_refused(data)}; copy or download it anew"
        )
    return image


def _read_npy(path: Path) -> Image:
    try:
        # Mapped, so that a header that claims more than the file holds is refused before memory is taken.
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a frame, nothing is there; check the path") from error
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: expected a frame as .npy (H, W, 3) uint8: {reason}") from error
    try:
        check_frame(stored)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return np.array(stored, order="C", subok=False)


def _decode(cv2: Any, path: Path, data: Image) -> Image | None:
    """Three channels of the samples as they are stored; None where no codec takes the file."""
    if not data.size or is_damaged_png(data):
        return None
    if data[:2].tobytes() == JPEG_SIGNATURE:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[no-any-return]  # always 8-bit, no alpha
    # IMREAD_COLOR would cut 16 bits down to the upper 8, nearly black for a 12-bit camera, and drop alpha.
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        return None
    problem = why_unfit(image)
    if problem:
        raise InputError(f"{path}: {problem}; convert it to 8-bit colour first")
    if may_be_turned(data):
        return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[no-any-return]  # the only one that turns
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[no-any-return]
    return np.ascontiguousarray(image[..., :3])


def write_image(path: str | Path, frame: Image) -> None:
    """Write (H, W, 3) uint8 BGR in the format that the suffix names, whole or not at all.

    Raises InputError for an unknown suffix or a place that cannot be written.
    """
    path, cv2 = Path(path), _opencv()
    try:
        done, data = cv2.imencode(path.suffix, frame)
    except cv2.error:
        done = False
    if not done:
        raise InputError(f"{path}: expected a picture format that OpenCV writes, such as .jpg or .png")
    # Short, whatever the length of the name itself; tempfile would make a file that nobody else may read.
    unfinished = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def writable_suffix(suffix: str) -> str:
    """The suffix itself where OpenCV writes that format, otherwise .jpg; .npy becomes .png, without loss."""
    if suffix.lower() == ".npy":
        return ".png"
    return suffix if _opencv().haveImageWriter(f"picture{suffix}") else ".jpg"


def resize_bilinear_into(source: Image, target: Image) -> None:
    """Bilinear resize of (h, w, 3) uint8 straight into `target`, also where that is a view of a canvas."""
    cv2 = _opencv()
    height, width = target.shape[:2]
    if target.strides[1:] != (3, 1) or target.strides[0] < 0:
        target[...] = cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR)
        return
    resized = cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    if resized is not target:
        target[...] = resized


def resize_to_see(image: Image, *, height: int, width: int) -> Image:
    """(h, w, 3) uint8 in another size for people to look at: nothing drops out of what gets smaller."""
    cv2 = _opencv()
    smaller = height < image.shape[0] or width < image.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=way)  # type: ignore[no-any-return]


def draw_detections(frame: Image, detections: Detections) -> Image:
    """A copy of (H, W, 3) uint8 BGR with a box and a legible label for each detection, the best on top.

    Among more than 30 detections only those get a label whose box is as wide as the text.
    """
    cv2 = _opencv()
    picture = frame.copy()
    height, width = frame.shape[:2]
    line = max(1, round(min(height, width) / 320))
    worst_first = np.argsort(detections.scores, kind="stable").tolist()
    for index in worst_first:
        corners = np.rint(detections.boxes[index].reshape(2, 2)).clip(0, (width - 1, height - 1))
        (x1, y1), (x2, y2) = corners.astype(int).tolist()
        color = color_for(int(detections.class_ids[index]))
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, line, cv2.LINE_AA)
    for index in worst_first:
        _draw_label(cv2, picture, detections, index)
    return picture


def _draw_label(cv2: Any, picture: Image, detections: Detections, index: int) -> None:
    height, width = picture.shape[:2]
    text = f"{detections.label_of(index)} {float(detections.scores[index]):.2f}"
    scale = max(0.45, min(height, width) / 1100)
    (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale *= min(1.0, (width - 4) / max(text_width, 1))
    size = tag_size(text, scale)
    box_width = float(detections.boxes[index, 2] - detections.boxes[index, 0])
    if len(detections) > _CROWD and box_width < size[0]:
        return
    corner = label_corner(detections.boxes[index], size=size, frame_size=(width, height))
    draw_tag(picture, text, corner, scale=scale, color=color_for(int(detections.class_ids[index])))


def tag_size(text: str, scale: float) -> tuple[int, int]:
    """Width and height in pixels of what `draw_tag` draws; scale 1 is a capital letter of 22 pixels."""
    cv2 = _opencv()
    thickness, pad = max(1, round(scale * 1.5)), max(1, round(scale * 4))
    (width, ascent), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    return width + 2 * pad, ascent + descent + 2 * pad


def draw_tag(
    picture: Image, text: str, corner: tuple[int, int], *, scale: float, color: tuple[int, int, int]
) -> None:
    """Text on a field of a BGR colour, its left top corner at `corner`, in black or white, as is legible."""
    cv2 = _opencv()
    (left, top), size = corner, tag_size(text, scale)
    thickness, pad = max(1, round(scale * 1.5)), max(1, round(scale * 4))
    cv2.rectangle(picture, (left, top), (left + size[0] - 1, top + size[1] - 1), color, cv2.FILLED)
    bright = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2] > 140
    ink = (0, 0, 0) if bright else (255, 255, 255)
    ascent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][1]
    foot = (left + pad, top + pad + ascent)
    cv2.putText(picture, text, foot, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA)


def label_corner(
    box: NDArray[np.float32], *, size: tuple[int, int], frame_size: tuple[int, int]
) -> tuple[int, int]:
    """Left and top of a label of (width, height) `size`: above the box, inside it where there is no room.

    The label lies inside the frame of (width, height) `frame_size` wherever it fits at all.
    """
    left, top = round(float(box[0])), round(float(box[1])) - size[1]
    if top < 0:
        top = round(float(box[1]))
    return max(0, min(left, frame_size[0] - size[0])), max(0, min(top, frame_size[1] - size[1]))


def draw_line(
    picture: Image, start: tuple[int, int], stop: tuple[int, int], *, color: tuple[int, int, int], width: int
) -> None:
    """A smooth line of `width` pixels between two pixels (x, y), which may lie up to 30000 outside."""
    _opencv().line(picture, start, stop, color, width, _opencv().LINE_AA)


class VideoReader:
    """Frames of a video file (path), a camera (index) or a network address, one after the other.

    total: frames that the container claims to hold, None where it does not say. fps: None where unknown.
    broken: frames so far that could not be decoded although later ones could. Not for use from two threads.
    """

    def __init__(self, source: str | int, *, live: bool, name: str | None = None) -> None:
        """live: no frame count, and no second try after a failed read. name: for messages.

        Raises InputError if it cannot be opened; a network address has NETWORK_TIMEOUT_MS for that.
        """
        cv2 = _opencv()
        self.name = str(source) if name is None else name
        self.broken = 0
        self._live = live
        self._position = 0
        self._capture = _open_capture(cv2, source, live=live)
        if not self._capture.isOpened():
            raise InputError(f"{self.name}: {_why_not_opened(source)}")
        total = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.total = int(total) if 0 < total < 1e9 else None
        self.fps = float(fps) if 0 < fps < 1000 else None

    def read(self) -> tuple[int, Image] | None:
        """The next frame and its place in the stream, None at the end; broken frames are passed over."""
        failures = 0
        while True:
            done, image = self._capture.read()
            index = self._position
            self._position += 1
            if done:
                self.broken += failures
                return index, image
            failures += 1
            at_end = self._live or self.total is None or self._position >= self.total
            if at_end or failures > _LONGEST_GAP:
                return None

    def close(self) -> None:
        """Give the file or the device back."""
        self._capture.release()


def _open_capture(cv2: Any, source: str | int, *, live: bool) -> Any:
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    if cv2.CAP_FFMPEG not in cv2.videoio_registry.getBackends():
        return cv2.VideoCapture(source)  # a build that reads with GStreamer alone
    options: list[int] = []
    if "://" in source:
        options += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS]
        options += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS]
    if live:
        # With N decoder threads a frame comes out N - 1 frames late.
        options += [cv2.CAP_PROP_N_THREADS, 1]
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, options)


def _why_not_opened(source: str | int) -> str:
    if isinstance(source, int):
        return f"expected a camera with index {source}, none could be opened; is it plugged in and free?"
    if "://" in source:
        seconds = NETWORK_TIMEOUT_MS // 1000
        return f"expected a stream, none could be opened within {seconds} s; check the address and the server"
    return "expected a video, got a file that cannot be decoded; is it complete, and a video?"


class VideoWriter:
    """An .mp4 file (MPEG-4 part 2) that is written frame by frame and readable once it is closed.

    The codec stores even sides only: an odd width or height loses its last column or row.
    """

    def __init__(self, path: str | Path, *, height: int, width: int, fps: float | None) -> None:
        """fps: None where the source does not say: 30 then. Raises InputError if it cannot be opened."""
        cv2 = _opencv()
        self.path = Path(path)
        self._shape = (height, width, 3)
        self._frames = 0
        rate = fps or _DEFAULT_FPS
        code = cv2.VideoWriter_fourcc(*"mp4v")
        # Absolute, so that a colon in a relative name is not read as the name of a protocol.
        self._writer = cv2.VideoWriter(str(self.path.resolve()), code, rate, (width, height))
        if not self._writer.isOpened():
            self._writer.release()
            raise InputError(
                f"{self.path}: expected a place to write a {width}x{height} .mp4 video to; "
                "check that the folder can be written and that the frame has at least 2x2 pixels"
            )

    def write(self, frame: Image) -> None:
        """Append a frame; InputError if its size is not the one that the file was opened with."""
        if frame.shape != self._shape:
            raise InputError(
                f"{self.path}: expected frames {self._shape}, got {frame.shape}: "
                "the stream changed its size; save it in two runs"
            )
        self._writer.write(frame)
        self._frames += 1

    def close(self) -> None:
        """Finish the file; CheckFailedError if it does not hold the frames that were written (disk full)."""
        if self._writer is None:
            return
        self._release()
        cv2 = _opencv()
        stored = int(cv2.VideoCapture(str(self.path.resolve())).get(cv2.CAP_PROP_FRAME_COUNT))
        if stored != self._frames:
            raise CheckFailedError(
                f"{self.path}: {self._frames} frames were written, {max(stored, 0)} can be read back; "
                "is the disk full?"
            )

    def _release(self) -> None:
        self._writer.release()
        self._writer = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._writer is not None:
            self._release()  # finished as far as it came; the error in flight is the one to report
