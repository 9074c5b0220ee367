"""safetensors, read with numpy alone: a JSON header with names, types and byte ranges, then the numbers.

https://github.com/huggingface/safetensors describes the format. Read here and not with its library, because
that needs torch for bfloat16.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.training.importing.inert import quoted
from tercelet.training.importing.pickle_calls import MAX_DIMENSIONS, is_integer
from tercelet.training.importing.tensors import check_tensor_name, float32_from_bfloat16, is_possible_shape

MAX_HEADER_BYTES = 16 << 20
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|u1",
}


def read_safetensors(data: bytes, *, where: str) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """Arrays by name (floats as float32, integers kept) and the file's metadata. Raises InputError."""
    header, start = _header(data, where)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError(f"{where}: __metadata__: expected text values")
    body = memoryview(data)[start:]
    arrays, position = {}, 0
    for name, record in sorted(header.items(), key=lambda item: _begin(item[1])):
        begin, end, dtype, shape = _record(check_tensor_name(name, where=where), record, where)
        if begin != position or end > len(body):
            raise InputError(
                f"{where}: {quoted(name)}: expected bytes from {position} on and within {len(body)}, "
                f"got {begin} to {end}; the file is cut off or damaged"
            )
        position = end
        arrays[name] = _array(body[begin:end], dtype, shape)
    if position != len(body):
        raise InputError(
            f"{where}: expected {position} bytes of numbers, got {len(body)}; the file is damaged"
        )
    # The file sorts by alignment; by name, the tensors of a layer come together.
    return {name: arrays[name] for name in sorted(arrays)}, metadata


def _header(data: bytes, where: str) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise InputError(
            f"{where}: expected a safetensors header, got none or a cut-off one; download it again"
        )
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: the safetensors header is damaged: {quoted(str(error))}") from error
    if not isinstance(header, dict):
        raise InputError(f"{where}: expected a JSON object as safetensors header")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _begin(record: Any) -> int:
    offsets = record.get("data_offsets") if isinstance(record, dict) else None
    return offsets[0] if isinstance(offsets, list) and offsets and is_integer(offsets[0]) else -1


def _record(name: str, record: Any, where: str) -> tuple[int, int, str, tuple[int, ...]]:
    if not isinstance(record, dict) or set(record) != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{where}: {quoted(name)}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise InputError(f"{where}: {quoted(name)}: expected one of {', '.join(_TYPES)}, got {quoted(dtype)}")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [-1]
    if not all(is_integer(v) and 0 <= v < 1 << 48 for v in numbers) or len(offsets) != 2:
        raise InputError(f"{where}: {quoted(name)}: expected whole numbers as shape and data_offsets")
    if len(shape) > MAX_DIMENSIONS:  # before they are multiplied: a header can hold a million of them
        raise InputError(
            f"{where}: {quoted(name)}: expected at most {MAX_DIMENSIONS} dimensions, got {len(shape)}"
        )
    begin, end = offsets
    wanted = math.prod(shape) * np.dtype(_TYPES[dtype]).itemsize
    if not is_possible_shape(shape) or end - begin != wanted:
        raise InputError(
            f"{where}: {quoted(name)}: expected {quoted(str(wanted))} bytes for shape "
            f"{quoted(str(shape))}, got {end - begin}"
        )
    return begin, end, dtype, tuple(shape)


def _array(block: memoryview, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    flat: NDArray[Any] = np.frombuffer(block, dtype=_TYPES[dtype])
    if dtype == "BF16":
        flat = float32_from_bfloat16(flat)
    elif dtype == "BOOL":
        flat = flat != 0
    elif dtype.startswith("F"):
        with np.errstate(
            all="ignore"
        ):  # a double too large becomes infinite; who uses the numbers checks them
            flat = flat.astype(np.float32)
    else:
        flat = flat.astype(flat.dtype.newbyteorder("="))
    return flat.reshape(shape)
