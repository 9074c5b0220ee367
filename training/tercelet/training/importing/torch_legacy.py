"""Torch's files from before the zip format: five pickles, one after the other, then the raw storages."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.contract.file_kind import TORCH_LEGACY_MAGIC
from tercelet.training.importing.inert import Global, Storage, quoted
from tercelet.training.importing.pickle_machine import read_pickle
from tercelet.training.importing.tensors import (
    StorageBlocks,
    bytes_of_storage,
    checked_block,
    storage_from_identity,
)

_PROTOCOL = 1001


def read_torch_legacy(data: bytes, path: Path) -> tuple[Any, StorageBlocks]:
    """The checkpoint as inert data, and its storages. Raises InputError for anything that is not one."""
    where = str(path)
    stream = io.BytesIO(data)
    if read_pickle(stream, where=where) != TORCH_LEGACY_MAGIC:
        raise InputError(
            f"{path}: a pickle, but not one that torch.save wrote; give the weights as a torch checkpoint "
            "or as .safetensors"
        )
    protocol = read_pickle(stream, where=where)
    if protocol != _PROTOCOL:
        raise InputError(f"{path}: expected torch's file protocol {_PROTOCOL}, got {quoted(protocol)}")
    system = read_pickle(stream, where=where)
    little = system.get("little_endian", True) if isinstance(system, dict) else True
    storages: dict[str, Storage] = {}

    def persistent_load(identity: Any) -> Any:
        if isinstance(identity, tuple) and identity[:1] == ("module",) and len(identity) == 4:
            # Old files carry the source text of their classes. It is read past; the class stays a name.
            if isinstance(identity[1], Global):
                return identity[1]
            raise InputError(f"{path}: expected the name of a class beside its source text")
        storage = storage_from_identity(identity, where)
        if storages.setdefault(storage.key, storage) != storage:
            raise InputError(f"{path}: storage {quoted(storage.key)} is described in two ways; refused")
        return storage

    value = read_pickle(stream, where=where, persistent_load=persistent_load)
    keys = read_pickle(stream, where=where)
    blocks = _blocks(data, stream.tell(), keys, storages, path)
    return value, _LegacyBlocks(blocks, where, "little" if little else "big")


@dataclass(frozen=True)
class _LegacyBlocks:
    blocks: dict[str, memoryview]
    where: str
    byteorder: str

    def __call__(self, storage: Storage) -> memoryview:
        block = self.blocks.get(storage.key)
        if block is None:
            raise InputError(f"{self.where}: the numbers of storage {quoted(storage.key)} are missing")
        return checked_block(block, storage, where=self.where)


def _blocks(
    data: bytes, start: int, keys: Any, storages: dict[str, Storage], path: Path
) -> dict[str, memoryview]:
    """Where each storage lies: in the order of `keys`, each with its length (int64) before it."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InputError(f"{path}: expected the list of storages after the pickle; the file is damaged")
    blocks: dict[str, memoryview] = {}
    view = memoryview(data)
    for key in keys:
        storage = storages.get(key)
        if storage is None or key in blocks:
            raise InputError(
                f"{path}: storage {quoted(key)} is listed but not described; the file is damaged"
            )
        numel = int.from_bytes(view[start : start + 8], "little")
        stop = start + 8 + bytes_of_storage(storage)
        if numel != storage.numel or stop > len(data):
            raise InputError(f"{path}: the file is cut off or damaged at byte {start}; download it again")
        blocks[key] = view[start + 8 : stop]
        start = stop
    return blocks
