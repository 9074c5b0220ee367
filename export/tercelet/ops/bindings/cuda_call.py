"""Ops on a GPU by the C functions of the CUDA library (cuda.h), with numpy arrays in and out. No CUDA package
needed."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.op_spec import Attribute, AttributeValue, OpSpec

_FLOAT_FEATURES = 0


def run_on_gpu(
    library: Path,
    spec: OpSpec,
    inputs: Sequence[NDArray[Any]],
    attributes: Mapping[str, AttributeValue],
) -> list[NDArray[Any]]:
    """The outputs of an op on arrays of float32 or int32 as specified, computed on the current device.

    Raises CheckFailedError with the library's words where it does not load, the device fails or what is given
    does not fit.
    """
    cuda = _Library(library)
    sizes = spec.output_shapes([array.shape for array in inputs], attributes)
    outputs = [np.empty(shape, item.dtype) for item, shape in zip(spec.outputs, sizes, strict=True)]
    on_device: list[ctypes.c_void_p] = []
    results: list[ctypes.c_void_p] = []
    try:
        for item, array in zip(spec.inputs, inputs, strict=True):
            given = np.ascontiguousarray(array, item.dtype)
            on_device.append(cuda.allocated(given.nbytes))
            cuda.copy_to(on_device[-1], given)
        for output in outputs:
            results.append(cuda.allocated(output.nbytes))
        shapes = flat_shapes(array.shape for array in inputs)
        flat = flat_attributes(spec, spec.complete(attributes))
        pointers = [(ctypes.c_void_p * len(group))(*group) for group in (on_device, results)]
        counted = (_int64s(shapes), len(shapes), _int64s(flat), len(flat))
        cuda.call(
            "tercelet_cuda_launch", spec.name.encode(), _FLOAT_FEATURES, *counted, *pointers, None, 1, None
        )
        for array, pointer in zip(outputs, results, strict=True):
            cuda.call("tercelet_cuda_copy", array.ctypes.data_as(ctypes.c_void_p), pointer, array.nbytes)
        return outputs
    finally:
        for pointer in (*on_device, *results):
            cuda.free(pointer)


def flat_shapes(shapes: Iterable[Sequence[int]]) -> list[int]:
    """Every shape as its rank and its sizes, see flat_call.h."""
    return [number for shape in shapes for number in (len(shape), *shape)]


def flat_attributes(spec: OpSpec, attributes: Mapping[str, AttributeValue]) -> list[int]:
    """Every attribute as its count and its values, a string as the index of its choice, a float as bits."""
    numbers: list[int] = []
    for item in spec.attributes:
        value = attributes[item.name]
        if isinstance(value, tuple):
            numbers += [len(value), *value]
        else:
            numbers += [1, _number_of(item, value)]
    return numbers


def _number_of(item: Attribute, value: int | float | str) -> int:
    if isinstance(value, str):
        return item.choices.index(value)
    if isinstance(value, float):
        return int(struct.unpack("<i", struct.pack("<f", value))[0])
    return value


class _Library:
    def __init__(self, path: Path) -> None:
        try:
            self._functions = ctypes.CDLL(str(path.resolve()))
        except OSError as error:
            raise CheckFailedError(f"{path}: cannot be loaded: {error}") from error
        self._functions.tercelet_cuda_message.restype = ctypes.c_char_p
        for name in ("allocate", "copy"):
            getattr(self._functions, f"tercelet_cuda_{name}").argtypes = (
                [ctypes.c_int64, ctypes.c_void_p]
                if name == "allocate"
                else [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
            )
        self._functions.tercelet_cuda_free.argtypes = [ctypes.c_void_p]
        self._functions.tercelet_cuda_launch.argtypes = [
            ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64,
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p,
        ]  # fmt: skip

    def call(self, name: str, *arguments: Any) -> None:
        if getattr(self._functions, name)(*arguments):
            message = self._functions.tercelet_cuda_message().decode(errors="replace")
            raise CheckFailedError(f"{name}: {message}")

    def allocated(self, size: int) -> ctypes.c_void_p:
        pointer = ctypes.c_void_p()
        self.call("tercelet_cuda_allocate", max(size, 1), ctypes.byref(pointer))
        return pointer

    def copy_to(self, pointer: ctypes.c_void_p, array: NDArray[Any]) -> None:
        self.call("tercelet_cuda_copy", pointer, array.ctypes.data_as(ctypes.c_void_p), array.nbytes)

    def free(self, pointer: ctypes.c_void_p) -> None:
        """Never raises: what went wrong before must not be hidden."""
        self._functions.tercelet_cuda_free(pointer)


def _int64s(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)
