"""Drawn results in a folder: a picture for each picture, an .mp4 for each video or stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_folder
from tercelet.runtime import vision
from tercelet.runtime.aerial_drawing import draw_aerial, view_of
from tercelet.runtime.given_path import given_path
from tercelet.runtime.sources.frame import Frame
from tercelet.runtime.sources.opening import Kind


class DrawnResults:
    """Writes into `folder` under the names of the sources; files of an earlier run are replaced.

    Two sources of one name in the same run become name.jpg and name-2.jpg. None of `kept`, the
    files of all sources, is ever written over, under whatever name. The folder is made by the first frame.
    plain: boxes alone, in the frame's own size; otherwise a pipeline that makes a plan shows that too.
    """

    def __init__(self, folder: str | Path, *, kept: Iterable[Path] = (), plain: bool = False) -> None:
        """Raises InputError for a folder that cannot be written to, MissingDependencyError without OpenCV."""
        vision.require_opencv()
        self.folder = given_path(folder, name="save")
        self._kept = frozenset(_identity(path) for path in kept) - {None}
        self._plain = plain
        self._taken: set[str] = set()
        self._video: vision.VideoWriter | None = None
        try:
            check_folder(self.folder)
        except OSError as error:  # a name that is too long for any folder
            raise InputError(f"{self.folder}: cannot be a folder: {error.strerror or error}") from error

    def add(
        self,
        frame: Frame,
        detections: Detections,
        *,
        kind: Kind,
        fps: float | None,
        pipeline: Callable[..., Detections] | None = None,
    ) -> Path:
        """Draw one frame and write it; returns the file. InputError if that cannot be written.

        pipeline: the one that found the detections, in the frame that it saw last.
        """
        view = None if self._plain else view_of(pipeline)
        if view is None:
            drawn = vision.draw_detections(frame.image, detections)
        else:
            drawn = draw_aerial(frame.image, detections, view)
        if kind in ("picture", "folder"):
            source = Path(frame.source)
            path = self._free_path(source.stem, vision.writable_suffix(source.suffix))
            vision.write_image(path, drawn)
            return path
        if self._video is None:
            path = self._free_path(_stem_of(frame.source, kind), ".mp4")
            height, width = drawn.shape[:2]
            self._video = vision.VideoWriter(path, height=height, width=width, fps=fps)
        self._video.write(drawn)
        return self._video.path

    def add_drawn(self, drawn: vision.Image, *, stem: str, suffix: str) -> Path:
        """Write a picture that is drawn already, of this name; returns the file. InputError as for `add`."""
        path = self._free_path(stem, vision.writable_suffix(suffix))
        vision.write_image(path, drawn)
        return path

    def end_source(self) -> None:
        """Finish the video of the source that has ended; CheckFailedError if it cannot be read back."""
        video, self._video = self._video, None
        if video is not None:
            video.close()

    def _free_path(self, stem: str, suffix: str) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made: {error.strerror or error}") from error
        number, name = 1, f"{stem}{suffix}"
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        path = self.folder / name
        if _identity(path) in self._kept:
            raise InputError(f"{path}: the drawn result would replace a source; save to another folder")
        return path

    def __enter__(self) -> DrawnResults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.__exit__(kind, error, trace)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others, links followed; None where none can be found."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _stem_of(source: str, kind: Kind) -> str:
    if kind == "video":
        return Path(source).stem
    if kind == "camera":
        return f"camera-{source}"
    return re.sub(r"[^A-Za-z0-9]+", "-", source.partition("://")[2]).strip("-") or "stream"
