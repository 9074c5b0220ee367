"""Finding the pictures of a data set and their sizes, without decoding them where the header suffices."""

from __future__ import annotations

import struct
from pathlib import Path

from tercelet.contract.errors import InputError
from tercelet.runtime.sources.pictures import PICTURE_SUFFIXES
from tercelet.runtime.vision import read_image

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF = 0xE1


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in a folder and its subfolders, sorted by path, hidden files apart; InputError if none."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a folder of pictures, got {'a file' if folder.exists() else 'nothing'}"
        )
    files = (p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.name[0] != ".")
    found = sorted(p for p in files if p.is_file())
    if not found:
        raise InputError(
            f"{folder}: expected pictures ({', '.join(PICTURE_SUFFIXES[:3])}, ...), got none; "
            "is this the data set's folder?"
        )
    return found


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of the frame that reading the file gives; InputError if it is no picture.

    PNG and JPEG are measured by their header. One with Exif data may have to be turned, so that it is decoded
    like every other file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    size = _png_size(head) or _jpeg_size(head)
    if size is None:
        height, width = read_image(path).shape[:2]
        size = (width, height)
    return size


def _png_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR" or b"eXIf" in head:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    if head[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == _EXIF:
            return None
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return (width, height) if width and height else None
        at += 2 + length
    return None
