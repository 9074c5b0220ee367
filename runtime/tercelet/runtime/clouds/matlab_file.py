"""Numeric arrays of MATLAB files of level 5 (save -v6 and -v7), with the standard library and numpy.

Written from the format's published description: a header of 128 bytes, then elements of type, length and
data, padded to 8 bytes; a compressed element holds one deflated element.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single, and integers of 8 to 64 bits
_COMPLEX = 0x0800
# An element may claim any size: a depth frame of 1920 x 1080 with colours takes 100 MB as float64.
_MAX_INFLATED = 1 << 29


class _DamagedError(Exception):
    """The file is not what it claims to be; turned into an InputError that names it."""


@dataclass(frozen=True)
class _Element:
    kind: int
    data: bytes


def matlab_array(path: Path, name: str) -> NDArray[np.generic]:
    """The real numeric array `name` of the file, in its own shape and in the type that is stored.

    Raises InputError for a file of another kind, a damaged one, and one that has no such array.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a MATLAB file: {error.strerror or error}") from error
    if raw[:8] == b"\x89HDF\r\n\x1a\n" or raw[512:520] == b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path}: expected a MATLAB file of level 5, got -v7.3; save it anew with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:128])
    if order is None:
        raise InputError(f"{path}: expected a MATLAB file of level 5, got something else")
    found: list[str] = []
    try:
        for element in _elements(raw[_HEADER:], order):
            if element.kind != _MATRIX:
                continue
            its_name, values = _matrix(element.data, order)
            if its_name == name and values is not None:
                return values
            found.append(its_name)
    except (_DamagedError, struct.error, zlib.error, UnicodeDecodeError, ValueError) as error:
        raise InputError(
            f"{path}: the MATLAB file is damaged or cut short ({error}); copy it anew"
        ) from error
    raise InputError(
        f"{path}: expected a numeric array {name!r}, got {', '.join(map(repr, found)) or 'no array'}"
    )


def _elements(data: bytes, order: str) -> list[_Element]:
    """The elements that follow one another in `data`, compressed ones inflated."""
    found, place = [], 0
    while place + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}2I", data, place)
        small = kind >> 16
        if small:  # up to four bytes, in the tag itself
            kind, length, start, place = kind & 0xFFFF, small, place + 4, place + 8
            if length > 4:
                raise _DamagedError("an element in a tag of more than 4 bytes")
        else:
            start = place + 8
            # A compressed element is not padded.
            place = start + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        if start + length > len(data):
            raise _DamagedError(f"an element of {length} bytes where {len(data) - start} are left")
        body = data[start : start + length]
        found.extend(_elements(_inflated(body), order) if kind == _COMPRESSED else [_Element(kind, body)])
    return found


def _inflated(data: bytes) -> bytes:
    machine = zlib.decompressobj()
    result = machine.decompress(data, _MAX_INFLATED)
    if machine.unconsumed_tail:
        raise _DamagedError(f"an element of more than {_MAX_INFLATED} bytes")
    if len(result) >= 4 and int.from_bytes(result[:4], "little") in (_COMPRESSED, _COMPRESSED << 24):
        raise _DamagedError("a compressed element in a compressed element")
    return result


def _matrix(data: bytes, order: str) -> tuple[str, NDArray[np.generic] | None]:
    """Name and values of an array; None for what is not real and numeric."""
    flags, sides, name, *parts = _elements(data, order)[:4]
    word = struct.unpack_from(f"{order}I", flags.data)[0]
    title = name.data.decode("ascii")
    if (word & 0xFF) not in _NUMERIC_CLASSES or word & _COMPLEX or not parts:
        return title, None
    shape = struct.unpack(f"{order}{len(sides.data) // 4}i", sides.data)
    kind = _NUMBERS.get(parts[0].kind)
    if kind is None:
        raise _DamagedError(f"numbers of the unknown kind {parts[0].kind}")
    values = np.frombuffer(parts[0].data, np.dtype(order + kind))
    if min(shape, default=-1) < 0 or math.prod(shape) != values.size:
        raise _DamagedError(f"{values.size} numbers for an array of shape {shape}")
    return title, values.reshape(shape, order="F")
