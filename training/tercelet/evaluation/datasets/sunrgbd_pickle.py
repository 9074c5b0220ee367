"""Pickled infos of mmdetection3d, read as data: dictionaries, lists, numbers, texts and numpy arrays.

A pickle can name any function to be called. Here the opcodes are looked through before anything is loaded,
the five names that numpy arrays need stand for small classes of this file, and every other name is refused,
so that nothing of the file's choosing runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tercelet.contract.errors import InputError

# The largest real file, of 5285 scenes, has well under two million.
_MAX_OPCODES = 20_000_000
_MAX_BYTES = 1 << 30
_MAX_VALUES = 20_000_000
_MAX_DEPTH = 32
_REFUSED = frozenset({"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4",
                      "NEXT_BUFFER", "READONLY_BUFFER"})  # fmt: skip


def read_infos_pickle(path: Path) -> Any:
    """The value of a pickle of infos; arrays as numpy arrays, numpy numbers as plain ones.

    Raises InputError for a file that is damaged, too large, or that names anything but numpy arrays.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: expected infos of at most {_MAX_BYTES} bytes; refused")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a pickle of infos: {error.strerror or error}") from error
    try:
        _look_through(raw, path)
        return _Plain().of(_ArraysOnly(io.BytesIO(raw)).load(), 0)
    except InputError:
        raise
    except _RefusedError as error:
        raise InputError(f"{path}: {error}; refused, nothing was run") from error
    except (pickle.UnpicklingError, ValueError, EOFError, TypeError, KeyError, IndexError, AttributeError,
            OverflowError, MemoryError) as error:  # fmt: skip
        reason = str(error).split("\n")[0][:80]
        raise InputError(f"{path}: the pickle is cut off or damaged ({reason}); copy it anew") from error


class _RefusedError(Exception):
    """The file asks for what no infos need."""


def _look_through(raw: bytes, path: Path) -> None:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        if count >= _MAX_OPCODES:
            raise _RefusedError(f"the pickle has more than {_MAX_OPCODES} opcodes")
        if opcode.name in _REFUSED:
            raise _RefusedError(f"the pickle uses the opcode {opcode.name}")
        # A place in the memo that is far ahead would make the loader take memory up to it.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > count:
            raise _RefusedError("the pickle stores values at places that it does not have")


class _Dtype:
    def __init__(self, name: Any, *rest: Any) -> None:
        self._name, self._order = name, "<"

    def __setstate__(self, state: Any) -> None:
        self._order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """The type, if it is one of numbers, truth values, bytes or text."""
        name, order = self._name, self._order
        if not isinstance(name, str) or name[:1] not in "biufSU" or order not in ("<", ">", "|", "="):
            raise _RefusedError(f"the pickle holds an array of {str(name)[:20]!r}")
        return np.dtype((order if order in "<>" else "") + name)


class _Array:
    """Stands for an array until its state comes."""

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        self.value: np.ndarray[Any, Any] = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(data, bytes) or not isinstance(dtype, _Dtype):
            raise _RefusedError("the pickle holds an array of Python objects")
        flat = np.frombuffer(data, dtype.numpy()) if data else np.zeros(0, dtype.numpy())
        self.value = flat.reshape(shape, order="F" if is_fortran else "C")


def _number(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise _RefusedError("the pickle holds a number that is none")
    (value,) = np.frombuffer(data, dtype.numpy()).tolist()
    return value


def _no_array(*arguments: Any) -> Any:
    """numpy.ndarray is only ever handed on."""
    raise _RefusedError("the pickle makes an array in an unusual way")


def _bytes_of_text(text: Any, encoding: Any = "") -> bytes:
    """What protocol 2 writes bytes as."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError("the pickle encodes text in an unusual way")
    return text.encode("latin1")


class _Maker:
    """What a name stands for. A pickle may set the state of what it gets hold of, but not of this."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("the pickle changes what a name stands for")


_NAMES = {
    ("numpy", "ndarray"): _Maker(_no_array),
    ("numpy", "dtype"): _Maker(_Dtype),
    ("_codecs", "encode"): _Maker(_bytes_of_text),
    **{
        (f"numpy.{core}.multiarray", name): _Maker(make)
        for core in ("core", "_core")
        for name, make in (("_reconstruct", _Array), ("scalar", _number))
    },
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; everything else is refused."""
        if (module, name) not in _NAMES:
            raise _RefusedError(f"the pickle asks for {module[:40]}.{name[:40]}")
        return _NAMES[module, name]


class _Plain:
    """Plain values of what was loaded, counted, because a list can hold itself or one value many times."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def of(self, value: Any, depth: int) -> Any:
        """The value with stand-ins replaced by what they stand for."""
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise _RefusedError("the pickle nests or repeats its contents without end")
        if isinstance(value, _Array):
            return value.value
        if isinstance(value, dict):
            return {str(key): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(item, depth + 1) for item in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise _RefusedError(f"the pickle holds a {type(value).__name__}")
