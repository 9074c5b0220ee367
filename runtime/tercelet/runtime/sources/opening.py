"""From what the user wrote to a source: a picture, a folder, a video, a camera index or an address."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Literal

from tercelet.contract.errors import InputError
from tercelet.runtime import vision
from tercelet.runtime.given_path import given_path
from tercelet.runtime.sources.frame import OnBroken, Source, raise_broken
from tercelet.runtime.sources.pictures import ARRAY_SUFFIX, PICTURE_SUFFIXES, PictureSource, pictures_in
from tercelet.runtime.sources.stream import FrameReader, StreamSource

Kind = Literal["picture", "folder", "video", "camera", "network"]

VIDEO_SUFFIXES = (
    ".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".3gp",
    ".ogv", ".264", ".h264", ".265", ".h265", ".hevc",
)  # fmt: skip
LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "udp", "tcp", "srt")
HTTP_SCHEMES = ("http", "https")


def kind_of(source: str | Path) -> Kind:
    """What kind of source this is; InputError if it is none, or a file that is not there.

    A string of digits is a camera index; a file of that name is ./0 or a Path.
    """
    text = str(source)
    if isinstance(source, str) and re.fullmatch("[0-9]{1,4}", text):
        return "camera"
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if isinstance(source, str) and scheme:
        if scheme[1].lower() in LIVE_SCHEMES + HTTP_SCHEMES:
            return "network"
        known = ", ".join(LIVE_SCHEMES + HTTP_SCHEMES)
        raise InputError(f"{without_password(text)}: expected an address of {known}, got {scheme[1]}")
    path = given_path(source, name="source")
    try:
        return _kind_of_path(path)
    except OSError as error:  # a name that is too long for any file
        raise InputError(f"{path}: expected a source that can be read: {error.strerror or error}") from error


def _kind_of_path(path: Path) -> Kind:
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise InputError(f"{path}: expected a picture, a folder, a video, a camera index or an address; "
                         "nothing is there")  # fmt: skip
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES or suffix == ARRAY_SUFFIX:
        return "picture"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    raise InputError(
        f"{path}: expected a picture ({', '.join(PICTURE_SUFFIXES[:4])}, .npy, ...) or a video "
        f"({', '.join(VIDEO_SUFFIXES[:4])}, ...), got suffix {path.suffix!r}"
    )


def check_source(source: str | Path) -> Kind:
    """Find what is wrong with a source as far as that is cheap: nothing is decoded, no device is opened.

    Raises InputError, or MissingDependencyError where the source needs a vision library that is not there.
    """
    kind = kind_of(source)
    paths = pictures_in(Path(source)) if kind == "folder" else (Path(source),)
    if any(path.suffix.lower() != ARRAY_SUFFIX for path in paths):
        vision.require_opencv()
    if kind == "video" and Path(source).stat().st_size == 0:
        raise InputError(f"{source}: expected a video, got an empty file; copy or download it anew")
    return kind


def files_of(source: str | Path, kind: Kind) -> tuple[Path, ...]:
    """The files that a source of this kind reads; none of a camera or a network address."""
    if kind == "folder":
        return pictures_in(Path(source))
    return (Path(source),) if kind in ("picture", "video") else ()


def open_source(
    source: str | Path, *, on_broken: OnBroken = raise_broken, stop: threading.Event | None = None
) -> Source:
    """Open a picture, a folder (not its subfolders), a video file, a camera index or a network address.

    on_broken: called with an InputError for a picture that cannot be read, after which the next one is
    taken, and behind the end of a video that had frames in its middle that could not be decoded; raises by
    default. stop: once set, no further frame comes, even from a stream that has stalled.
    Raises InputError; SourceLostError comes out of the iteration when a live source ends.
    """
    kind = kind_of(source)
    stop = threading.Event() if stop is None else stop
    if kind in ("picture", "folder"):
        paths = pictures_in(Path(source)) if kind == "folder" else (Path(source),)
        return PictureSource(paths, name=str(source), on_broken=on_broken, stop=stop)
    target, live, name = _stream(source, kind)

    def open_reader() -> FrameReader:
        return vision.VideoReader(target, live=live, name=name)

    return StreamSource(open_reader, name=name, live=live, on_broken=on_broken, stop=stop)


def _stream(source: str | Path, kind: Kind) -> tuple[str | int, bool, str]:
    """What OpenCV is given, whether it is live, and the name for messages and results."""
    text = str(source)
    if kind == "camera":
        return int(text), True, text
    if kind == "video":
        # Absolute, so that a colon in a relative name is not read as the name of a protocol.
        return str(Path(source).resolve()), False, text
    scheme, _, rest = text.partition("://")
    path = rest.partition("?")[0].lower()
    is_file = scheme.lower() in HTTP_SCHEMES and path.endswith(VIDEO_SUFFIXES)
    return text, not is_file, without_password(text)


def without_password(address: str) -> str:
    """The address without user name and password, which do not belong in a log or a results file."""
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@", r"\1", address)
