"""From storages to numpy arrays: bounds checked in whole numbers first, then copied out as float32."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.training.importing.inert import Global, Storage, StridedTensor, quoted
from tercelet.training.importing.pickle_calls import is_integer

_BFLOAT16 = "BFloat16Storage"
_NUMPY_TYPES = {
    "HalfStorage": "f2",
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    _BFLOAT16: "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_MAX_NUMEL = 1 << 40
MAX_NAME = 300
_FLOATS = ("f2", "f4", "f8")
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")


class StorageBlocks(Protocol):
    """Gives the bytes of a storage, checked for length; byteorder is "little" or "big"."""

    @property
    def byteorder(self) -> str: ...

    def __call__(self, storage: Storage) -> memoryview: ...


def storage_from_identity(identity: Any, where: str) -> Storage:
    """A storage from its persistent id ('storage', class, key, location, numel); InputError otherwise."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise InputError(f"{where}: expected storages as external data, got something else; refused")
    kind, key, _, numel = identity[1:5]
    if len(identity) == 6 and identity[5] is not None:
        raise InputError(f"{where}: a storage that is part of another (torch 0.1 to 0.3); save it anew")
    if not isinstance(kind, Global) or kind.module not in _STORAGE_MODULES or kind.name not in _NUMPY_TYPES:
        raise InputError(
            f"{where}: expected storages of {', '.join(_NUMPY_TYPES)}, "
            f"got {kind if isinstance(kind, Global) else quoted(kind)}"
        )
    if not isinstance(key, str) or not is_integer(numel) or not 0 <= numel <= _MAX_NUMEL:
        raise InputError(
            f"{where}: expected the key and length of a storage, got others; the file is damaged"
        )
    return Storage(kind.name, key, numel)


def bytes_of_storage(storage: Storage) -> int:
    """Its length in bytes."""
    return storage.numel * np.dtype(_NUMPY_TYPES[storage.kind]).itemsize


def checked_block(block: memoryview, storage: Storage, *, where: str) -> memoryview:
    """The block if it has the storage's length; InputError otherwise."""
    if len(block) != bytes_of_storage(storage):
        raise InputError(
            f"{where}: storage {quoted(storage.key)}: expected {bytes_of_storage(storage)} bytes "
            f"({storage.numel} numbers), got {len(block)}; the file is damaged"
        )
    return block


def array_from_tensor(tensor: StridedTensor, blocks: StorageBlocks, *, where: str) -> NDArray[Any]:
    """The tensor as an array of its own: floats of any width as float32, integers and booleans as they are.

    Raises InputError if the tensor reaches outside its storage or is larger than it.
    """
    storage, numel = tensor.storage, math.prod(tensor.shape)
    last = tensor.offset + sum(
        (side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    outside = numel > storage.numel or (numel > 0 and last >= storage.numel)
    if outside or not is_possible_shape(tensor.shape):
        raise InputError(
            f"{where}: a tensor of shape {quoted(str(tensor.shape))} reaches outside its storage "
            f"{quoted(storage.key)} of {storage.numel} numbers; the file is damaged or made by hand"
        )
    name = _NUMPY_TYPES[storage.kind]
    dtype = np.dtype(name).newbyteorder("<" if blocks.byteorder == "little" else ">")
    flat: NDArray[Any] = np.frombuffer(blocks(storage), dtype=dtype)
    if numel == 0:
        return np.zeros(tensor.shape, np.float32 if name in (*_FLOATS, "u2") else np.dtype(name))
    # The stride of a side of length 1 is never taken, and files state anything there.
    steps = tuple(
        step * dtype.itemsize if side > 1 else 0
        for side, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
    if storage.kind == _BFLOAT16:
        return float32_from_bfloat16(view)
    if name == "?":
        return np.array(view.view(np.uint8) != 0)
    with np.errstate(all="ignore"):  # a double too large becomes infinite; who uses the numbers checks them
        return np.array(view, dtype=np.float32 if name in _FLOATS else np.dtype(name), order="C")


def check_tensor_name(name: Any, *, where: str) -> str:
    """The name if it is text fit for a terminal, of at most 300 characters; InputError otherwise."""
    if not isinstance(name, str) or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"{where}: expected printable tensor names, got {quoted(name)}")
    return name


def is_possible_shape(shape: Iterable[int]) -> bool:
    """Whether numpy can make an array of this shape; an empty one may still have sides beyond all bounds."""
    return math.prod(max(side, 1) for side in shape) <= _MAX_NUMEL


def float32_from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 as its 16 bits -> the same numbers as float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
