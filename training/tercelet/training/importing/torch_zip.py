"""Torch's zip archives: data.pkl and one uncompressed entry a storage, read in place.

Only the archive's directory is left to zipfile. Entries are found and checked here: stored uncompressed (a
compressed one could unpack to any size), inside the file, and with the right CRC.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.training.importing.inert import Storage, quoted
from tercelet.training.importing.pickle_machine import read_pickle
from tercelet.training.importing.tensors import StorageBlocks, checked_block, storage_from_identity

MAX_PICKLE_BYTES = 32 << 20
MAX_ENTRIES = 100_000
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def read_torch_zip(data: bytes, path: Path) -> tuple[Any, StorageBlocks]:
    """The checkpoint as inert data, and its storages. Raises InputError for anything that is not one."""
    entries = _entries(data, path)
    root = _root(entries, path)
    pickled = entries[f"{root}data.pkl"]
    if pickled.file_size > MAX_PICKLE_BYTES:
        raise InputError(
            f"{path}: data.pkl has {pickled.file_size} bytes, expected at most {MAX_PICKLE_BYTES}; refused"
        )
    order = entries.get(f"{root}byteorder")
    byteorder = bytes(_contents(data, order, path)).decode("latin1").strip() if order else "little"
    if byteorder not in ("little", "big"):
        raise InputError(f"{path}: byteorder: expected little or big, got {quoted(byteorder)}")
    stream = io.BytesIO(_contents(data, pickled, path))
    value = read_pickle(
        stream, where=str(path), persistent_load=lambda i: storage_from_identity(i, str(path))
    )
    return value, _ZipBlocks(data, entries, root, path, byteorder)


@dataclass(frozen=True)
class _ZipBlocks:
    data: bytes
    entries: dict[str, zipfile.ZipInfo]
    root: str
    path: Path
    byteorder: str
    checked: dict[str, memoryview] = field(default_factory=dict)

    def __call__(self, storage: Storage) -> memoryview:
        # Kept, so that a storage with many views is summed up once.
        if storage.key not in self.checked:
            self.checked[storage.key] = self._block(storage)
        return checked_block(self.checked[storage.key], storage, where=str(self.path))

    def _block(self, storage: Storage) -> memoryview:
        entry = self.entries.get(f"{self.root}data/{storage.key}")
        if entry is None:
            raise InputError(f"{self.path}: the numbers of storage {quoted(storage.key)} are missing")
        return _contents(self.data, entry, self.path)


def _entries(data: bytes, path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, OverflowError) as error:
        raise InputError(
            f"{path}: a torch zip archive that is cut off or damaged ({len(data)} bytes, no directory at the "
            "end); download it again"
        ) from error
    if len(listed) > MAX_ENTRIES:
        raise InputError(f"{path}: expected at most {MAX_ENTRIES} entries in the archive, got {len(listed)}")
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in listed:
        name = entry.filename
        if name in entries:
            raise InputError(f"{path}: the archive has {quoted(name)} twice; refused")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise InputError(f"{path}: the archive has the path {quoted(name)}; refused")
        entries[name] = entry
    return entries


def _root(entries: dict[str, zipfile.ZipInfo], path: Path) -> str:
    """The archive's single top folder, "name/"; InputError if this is no torch checkpoint."""
    roots = [
        name[: -len("data.pkl")] for name in entries if name.endswith("/data.pkl") and name.count("/") == 1
    ]
    scripted = any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in entries)
    if scripted:
        raise InputError(
            f"{path}: a TorchScript archive, which is a program and not a checkpoint; "
            "import the .pt that training wrote"
        )
    if len(roots) != 1:
        raise InputError(
            f"{path}: a zip archive, but no torch checkpoint (expected one NAME/data.pkl, got {len(roots)}); "
            "if the weights are packed in it, unpack them first"
        )
    for entry in entries.values():
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise InputError(
                f"{path}: {quoted(entry.filename)} in the archive is compressed, which torch never writes; "
                "refused, not unpacked"
            )
        if entry.flag_bits & 1:
            raise InputError(f"{path}: {quoted(entry.filename)} in the archive is encrypted; refused")
    return roots[0]


def _contents(data: bytes, entry: zipfile.ZipInfo, path: Path) -> memoryview:
    """The bytes of a stored entry, in place, after its local header and CRC were checked."""
    end_of_header = entry.header_offset + _LOCAL_HEADER.size
    header = data[entry.header_offset : end_of_header] if entry.header_offset >= 0 else b""
    if len(header) == _LOCAL_HEADER.size:
        magic, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = end_of_header + name_length + extra_length
        block = memoryview(data)[start : start + entry.file_size]
        if magic == b"PK\x03\x04" and len(block) == entry.file_size and zlib.crc32(block) == entry.CRC:
            return block
    raise InputError(
        f"{path}: {quoted(entry.filename)} in the archive is cut off or damaged (checksum); download it again"
    )
