"""Points of PLY files: ascii, binary little and big endian."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds.cloud import Cloud

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER = 1 << 16
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class _Header:
    """order: "" for ascii. columns: name and numpy type of each property of a vertex. length: in bytes."""

    order: str
    vertices: int
    columns: tuple[tuple[str, str], ...]
    length: int


def read_ply(path: Path) -> Cloud:
    """The vertices of a PLY file; red, green and blue, where it has them, as colours.

    Raises InputError for another file, one that ends early, vertices without x, y and z or with lists, and
    where anything stands before the vertices.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a PLY file: {error.strerror or error}") from error
    header = _header(path, raw)
    names = [name for name, _ in header.columns]
    missing = [name for name in "xyz" if name not in names]
    if missing or len(set(names)) != len(names):
        raise InputError(f"{path}: expected vertices with x, y and z once each, got {', '.join(names)}")
    table = _ascii(path, raw, header) if not header.order else _binary(path, raw, header)
    points = np.stack([table[name] for name in "xyz"], axis=1).astype(np.float32)
    if not all(name in names for name in _COLOURS):
        return Cloud(str(path), points)
    colours = np.stack([table[name] for name in _COLOURS], axis=1).astype(np.float32)
    whole = all(kind[0] in "iu" for name, kind in header.columns if name in _COLOURS)
    return Cloud(str(path), points, colours / np.float32(255) if whole else colours)


def _header(path: Path, raw: bytes) -> _Header:
    head = raw[:_LONGEST_HEADER]
    end = head.find(b"end_header")
    stop = head.find(b"\n", end)
    if not head.startswith(b"ply") or end < 0 or stop < 0:
        raise InputError(f"{path}: expected a PLY file with its header, got something else")
    order: str | None = None
    columns: list[tuple[str, str]] = []
    vertices, element = 0, ""
    for line in head[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        if words[:1] == ["format"] and len(words) > 1:
            order = _ORDERS.get(words[1])
        elif words[:1] == ["element"] and len(words) == 3:
            if not columns and words[1] != "vertex":
                raise InputError(f"{path}: expected the vertices first, got {words[1]!r}; write it anew so")
            element = words[1]
            vertices = _count(path, words[2]) if element == "vertex" else vertices
        elif words[:1] == ["property"] and element == "vertex":
            if len(words) != 3 or words[1] not in _TYPES:
                raise InputError(f"{path}: expected plain numbers a vertex, got {line.strip()!r}")
            columns.append((words[2], _TYPES[words[1]]))
    if order is None:
        raise InputError(f"{path}: expected format {', '.join(_ORDERS)}, got none of them")
    return _Header(order, vertices, tuple(columns), stop + 1)


def _count(path: Path, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InputError(f"{path}: expected a number of vertices, got {text[:20]!r}")
    return int(text)


def _ascii(path: Path, raw: bytes, header: _Header) -> dict[str, NDArray[np.float64]]:
    wanted = header.vertices * len(header.columns)
    if wanted > len(raw):  # a number takes two characters: refused before memory is taken
        raise InputError(
            f"{path}: expected {header.vertices} vertices, got a file that is too short for them"
        )
    words = raw[header.length :].split(None, wanted)[:wanted]
    if len(words) < wanted:
        raise InputError(f"{path}: expected {wanted} numbers of vertices, got {len(words)}; copy it anew")
    try:
        values = np.array(words, dtype="S").astype(np.float64).reshape(header.vertices, len(header.columns))
    except ValueError as error:
        raise InputError(f"{path}: expected numbers of vertices: {error}") from error
    return {name: values[:, column] for column, (name, _) in enumerate(header.columns)}


def _binary(path: Path, raw: bytes, header: _Header) -> NDArray[np.void]:
    layout = np.dtype([(name, header.order + kind) for name, kind in header.columns])
    available = (len(raw) - header.length) // layout.itemsize
    if available < header.vertices:
        raise InputError(f"{path}: expected {header.vertices} vertices, got {available}; copy it anew")
    return np.frombuffer(raw, layout, header.vertices, header.length)
