"""What the bytes of a picture file tell before and after a codec has had them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

JPEG_SIGNATURE = b"\xff\xd8"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*")


def is_damaged_png(data: NDArray[np.uint8]) -> bool:
    """Whether this is a PNG file whose vital parts are cut off or fail their checksum.

    Found here because libpng writes a complaint of its own to stderr, which nothing can switch off.
    """
    raw = memoryview(data.tobytes()) if data[:8].tobytes() == _PNG_SIGNATURE else None
    if raw is None:
        return False
    start = len(_PNG_SIGNATURE)
    while start + 12 <= len(raw):
        length, kind = struct.unpack(">I4s", raw[start : start + 8])
        stop = start + 8 + length
        if stop + 4 > len(raw):
            return True
        vital = kind[:1].isupper()
        if vital and zlib.crc32(raw[start + 4 : stop]) != int.from_bytes(raw[stop : stop + 4], "big"):
            return True
        if kind == b"IEND":
            return False
        start = stop + 4
    return True


def may_be_turned(data: NDArray[np.uint8]) -> bool:
    """Whether EXIF data, which may hold an orientation, seem to be in a PNG, WebP or AVIF file."""
    raw = data.tobytes()
    return any(mark in raw for mark in (b"eXIf", b"EXIF", b"Exif"))


def describe_refused(data: NDArray[np.uint8]) -> str:
    """In words, what a file that no codec took is."""
    head = data[:512].tobytes()
    if not head:
        return "an empty file"
    if head.startswith(JPEG_SIGNATURE):
        return "a JPEG file that is damaged or cut short"
    if head.startswith(_PNG_SIGNATURE):
        return "a PNG file that is damaged or cut short"
    if head.startswith(_TIFF_SIGNATURES):
        return "a TIFF file that is damaged or of an unusual kind"
    if b"<html" in head.lower() or b"<!doctype" in head.lower():
        return "an HTML page (a download that failed?)"
    return f"{data.size} bytes of no known picture format, or of one that is damaged"


def why_unfit(image: NDArray[np.generic]) -> str | None:
    """What is wrong with decoded (H, W) or (H, W, channels) samples as a frame, None for nothing.

    Fit: 8-bit grey, 8-bit colour, and 8-bit colour with an alpha that hides nothing: 255 everywhere, or 0
    everywhere, which is a byte that was never used.
    """
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype != np.uint8:
        kind = "floating-point" if image.dtype.kind == "f" else "integer"
        bits = 8 * image.dtype.itemsize
        return f"expected 8 bits a sample, got {bits}-bit {kind} samples in {channels} channels"
    if channels not in (1, 3, 4):
        return f"expected grey or colour, got {channels} channels"
    if channels == 4:
        alpha = image[..., 3]
        if int(alpha.min()) != int(alpha.max()) or int(alpha.flat[0]) not in (0, 255):
            return "expected an opaque picture, got one with transparent parts"
    return None
