"""Read the outermost fields of an ONNX file without onnx: enough to know what it is and that it is whole.

ONNX has no magic number; a file is one if it is a protobuf message of ModelProto's fields to the last byte.
Field numbers and types from onnx.proto (Apache-2.0), ModelProto and OperatorSetIdProto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_VARINT, _BYTES = 0, 2
# Number -> wire type of the fields of ModelProto.
_FIELDS = {1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES}
_FIELDS |= {14: _BYTES, 20: _BYTES, 25: _BYTES, 26: _BYTES}
_SMALL = 1 << 16


@dataclass(frozen=True)
class OnnxHeader:
    """ir_version, producer, and the opset of each domain ("" is ONNX's own)."""

    ir_version: int
    producer: str
    opsets: dict[str, int]


class _NotOnnx(ValueError):
    """Bytes that no ModelProto has."""


def read_onnx_header(path: Path) -> OnnxHeader | None:
    """The header of an ONNX file; None if the file is none, or is cut off."""
    ir_version, producer, has_graph = 0, "", False
    opsets: dict[str, int] = {}
    try:
        for number, value in _fields(path):
            if number == 1 and isinstance(value, int):
                ir_version = value
            elif number in (2, 3) and isinstance(value, bytes):
                producer = f"{producer} {value.decode('utf-8')}".strip()
            elif number == 7:
                has_graph = True
            elif number == 8 and isinstance(value, bytes):
                domain, version = _opset(value)
                opsets[domain] = version
    except (_NotOnnx, UnicodeDecodeError):
        return None
    return OnnxHeader(ir_version, producer, opsets) if has_graph and 0 < ir_version < 1000 else None


def _fields(path: Path) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each outermost field; long ones (the graph) are stepped over and come as b""."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            key = _varint(iter(lambda: file.read(1), b""))
            number, wire = key >> 3, key & 7
            if _FIELDS.get(number) != wire:
                raise _NotOnnx
            value = _varint(iter(lambda: file.read(1), b""))
            if wire == _VARINT:
                yield number, value
                continue
            if file.tell() + value > size:
                raise _NotOnnx
            yield number, file.read(value) if value <= _SMALL and number != 7 else b""
            file.seek(value if value > _SMALL or number == 7 else 0, 1)


def _opset(message: bytes) -> tuple[str, int]:
    """Domain and version of an OperatorSetIdProto."""
    domain, version = "", 0
    data = iter(message[i : i + 1] for i in range(len(message)))
    for first in data:
        if first == b"\x0a":
            domain = b"".join(next(data, b"") for _ in range(_varint(data))).decode("utf-8")
        elif first == b"\x10":
            version = _varint(data)
        else:
            raise _NotOnnx
    return domain, version


def _varint(data: Iterator[bytes]) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = next(data, b"")
        if not byte:
            raise _NotOnnx
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise _NotOnnx
