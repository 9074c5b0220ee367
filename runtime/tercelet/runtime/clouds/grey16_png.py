"""Grey PNG pictures of 16 bits, which is how depth is stored, with numpy and the standard library alone.

Written from the PNG specification (W3C, second edition). A robot that reads depth needs no vision library.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.picture_bytes import is_damaged_png

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PIXELS = 1 << 26


def read_grey16_png(path: str | Path) -> NDArray[np.uint16]:
    """The (H, W) uint16 samples as they are stored. Raises InputError for any other file or a damaged one."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a depth picture: {error.strerror or error}") from error
    if not raw.startswith(_SIGNATURE):
        raise InputError(f"{path}: expected a PNG file of 16-bit grey, got something else")
    if is_damaged_png(np.frombuffer(raw, np.uint8)) or raw[12:16] != b"IHDR":
        raise InputError(f"{path}: the PNG file is damaged or cut short; copy it anew")
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">2I5B", raw, 16)
    if (bits, colour, interlaced) != (16, 0, 0):
        raise InputError(
            f"{path}: expected 16-bit grey that is not interlaced, got {bits} bits of PNG colour type "
            f"{colour}{', interlaced' if interlaced else ''}; is this depth, or a picture of it?"
        )
    if not 0 < width * height <= _MAX_PIXELS:
        raise InputError(f"{path}: expected a picture of at most {_MAX_PIXELS} pixels, got {width}x{height}")
    size = height * (2 * width + 1)
    try:
        data = zlib.decompressobj().decompress(_packed(raw), size)
    except zlib.error as error:
        raise InputError(f"{path}: the PNG file is damaged ({error}); copy it anew") from error
    rows = np.frombuffer(data, np.uint8)
    if rows.size != size or rows[:: 2 * width + 1].max() > 4:
        raise InputError(f"{path}: the PNG file is damaged or cut short; copy it anew")
    rows = rows.reshape(height, 2 * width + 1)
    bytes_of = _unfiltered(rows[:, 0], rows[:, 1:].reshape(height, width, 2))
    return np.ascontiguousarray(bytes_of).view(">u2")[..., 0].astype(np.uint16)


def _packed(raw: bytes) -> bytes:
    """The picture data of all its chunks, which `is_damaged_png` found whole."""
    parts, place = [], len(_SIGNATURE)
    while place + 12 <= len(raw):
        length, kind = struct.unpack_from(">I4s", raw, place)
        if kind == b"IDAT":
            parts.append(raw[place + 8 : place + 8 + length])
        place += length + 12
    return b"".join(parts)


def _unfiltered(kinds: NDArray[np.uint8], stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filters: kinds (H,), stored (H, W, 2) -> (H, W, 2).

    A sample needs its left, upper and upper left neighbour, so that all of one diagonal can be done at once:
    the rows are shifted against one another until a diagonal is a column.
    """
    height, width, _ = stored.shape
    # Two columns and a row of zeros stand for the neighbours that the border does not have.
    table = np.zeros((width + height + 1, height + 1, 2), np.int16)
    place = np.arange(height)
    for column in range(width):
        table[place + column + 2, place + 1] = stored[:, column]
    kind = np.concatenate(([0], kinds)).astype(np.int16)[:, None]
    sub, up, average, paeth = (kind == number for number in (1, 2, 3, 4))
    for diagonal in range(2, width + height + 1):
        low, high = max(1, diagonal - 1 - width), min(height, diagonal - 1)
        part = slice(low, high + 1)
        before, above = slice(low, high + 1), slice(low - 1, high)
        left = table[diagonal - 1, before]
        upper, corner = table[diagonal - 1, above], table[diagonal - 2, above]
        guess = left * sub[part] + upper * up[part] + ((left + upper) >> 1) * average[part]
        if paeth[part].any():
            to_left, to_upper = np.abs(upper - corner), np.abs(left - corner)
            to_corner = np.abs(left + upper - 2 * corner)
            near = np.where((to_left <= to_upper) & (to_left <= to_corner), left, corner)
            near = np.where((to_upper < to_left) & (to_upper <= to_corner), upper, near)
            guess += near * paeth[part]
        table[diagonal, part] = (table[diagonal, part] + guess) & 255
    result = np.empty((height, width, 2), np.uint8)
    for column in range(width):
        result[:, column] = table[place + column + 2, place + 1]
    return result
