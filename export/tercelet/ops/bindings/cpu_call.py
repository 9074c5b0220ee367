"""Ops on this CPU by the C function of the native library (cpu_call.cc): what torch kernels call in training.

Off until `use_native_ops` names a library; without it the torch kernels are what they were.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.op_spec import AttributeValue, OpSpec
from tercelet.ops.bindings.cuda_call import flat_attributes, flat_shapes

_FUNCTION = "tercelet_cpu_call"
_used: Path | None = None


def use_native_ops(library: Path | None) -> Path | None:
    """From now on take this library for the ops of this process, None for none; returns the one before.

    CheckFailedError for a file that is no such library.
    """
    global _used
    if library is not None:
        _functions(library)
    before, _used = _used, library
    return before


def native_ops() -> Path | None:
    """The library that is taken."""
    return _used


def run_on_cpu(
    spec: OpSpec,
    inputs: Sequence[NDArray[Any]],
    attributes: Mapping[str, AttributeValue],
    *,
    threads: int = 1,
) -> list[NDArray[Any]]:
    """The outputs of an op on contiguous arrays of float32 or int32 as specified, by the library in use.

    Raises InputError for shapes and attributes that do not fit, CheckFailedError with the library's words
    where it fails.
    """
    if _used is None:
        raise CheckFailedError(
            f"{spec.name}: expected a native library in use, got none; use_native_ops first"
        )
    functions = _functions(_used)
    sizes = spec.output_shapes([array.shape for array in inputs], attributes)
    outputs = [np.empty(shape, item.dtype) for item, shape in zip(spec.outputs, sizes, strict=True)]
    given = [np.ascontiguousarray(a, i.dtype) for i, a in zip(spec.inputs, inputs, strict=True)]
    lists = (flat_shapes(a.shape for a in given), flat_attributes(spec, spec.complete(attributes)))
    counted = [part for numbers in lists for part in (_int64s(numbers), len(numbers))]
    pointers = [(ctypes.c_void_p * len(group))(*(a.ctypes.data for a in group)) for group in (given, outputs)]
    if functions.tercelet_cpu_call(spec.name.encode(), *counted, *pointers, threads):
        message = functions.tercelet_cpu_message().decode(errors="replace")
        raise CheckFailedError(f"{spec.name}: {message}")
    return outputs


@cache
def _functions(library: Path) -> ctypes.CDLL:
    try:
        functions = ctypes.CDLL(str(library.resolve()))
        functions.tercelet_cpu_message.restype = ctypes.c_char_p
        functions.tercelet_cpu_call.argtypes = [
            ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64,
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int,
        ]  # fmt: skip
    except (OSError, AttributeError) as error:
        raise CheckFailedError(f"{library}: expected a library with {_FUNCTION}: {error}") from error
    return functions


def _int64s(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)
