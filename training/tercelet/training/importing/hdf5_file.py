"""HDF5 (.h5, .hdf5): datasets of numbers by name, everything else refused before anything of it is read.

The HDF5 library is C and does much that a file asks for: follow links to other files, read numbers from them,
load filters from the disk, and make up numbers that are not stored. Which of these a file wants is looked up
first. The whole file is in memory, so that no path is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.training.importing.inert import quoted
from tercelet.training.importing.pickle_calls import MAX_DIMENSIONS
from tercelet.training.importing.state import MAX_DEPTH, MAX_PARTS
from tercelet.training.importing.tensors import MAX_NAME, check_tensor_name, is_possible_shape

if TYPE_CHECKING:
    import h5py

# A compressed file unpacks to more than its bytes, weights to little more.
_MAX_GROWTH = 8
_GROWTH_FLOOR = 1 << 20
_MAX_ITEM_BYTES = 8
# Deflate, shuffle and fletcher32, which are built into the library.
_FILTERS = (1, 2, 3)


def read_hdf5(data: bytes, *, where: str) -> dict[str, NDArray[Any]]:
    """Arrays by name, groups and names joined with dots; floats as float32, integers kept.

    Attributes are not read. Raises InputError for a damaged file, and for one with links, external or virtual
    numbers, filters of others, anything but numbers, or more of them than its size can hold.
    MissingDependencyError without h5py.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            f"{where} is an HDF5 file, which is read with h5py ({error}): pip install 'tercelet[train]'"
        ) from error
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            return _arrays(file, file_bytes=len(data), where=where)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise InputError(
            f"{where}: the HDF5 file is cut off or damaged: {quoted(str(error))}; download it again"
        ) from error


def _arrays(file: h5py.File, *, file_bytes: int, where: str) -> dict[str, NDArray[Any]]:
    datasets: dict[str, h5py.Dataset] = {}
    limit = _MAX_GROWTH * file_bytes + _GROWTH_FLOOR
    claimed = 0
    for name, dataset in _datasets(file, where):
        if check_tensor_name(name, where=where) in datasets:
            raise InputError(f"{where}: the name {quoted(name)} occurs twice; the file is made by hand")
        claimed += _checked_bytes(name, dataset, where)
        if claimed > limit:
            raise InputError(
                f"{where}: its numbers are many times the {file_bytes} bytes of the file, "
                f"from {quoted(name)} on; refused"
            )
        datasets[name] = dataset
    return {name: _array(dataset) for name, dataset in datasets.items()}


def _datasets(file: h5py.File, where: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset with its name; groups are walked one by one, no link but a plain one is followed."""
    import h5py

    pending: list[tuple[str, int, h5py.Group]] = [("", 0, file)]
    visited = 0
    while pending:
        prefix, depth, group = pending.pop()
        # Counted before they are looked at: a group may hold itself.
        visited += 1 + len(group)
        if visited > MAX_PARTS or depth > MAX_DEPTH or len(prefix) > MAX_NAME:
            raise InputError(
                f"{where}: the file has more than {MAX_PARTS} parts or {MAX_DEPTH} levels; refused"
            )
        children = []
        for key in group:
            name = f"{prefix}{key}"
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "another file" if isinstance(link, h5py.ExternalLink) else "another name"
                raise InputError(
                    f"{where}: {quoted(name)}: expected numbers, got a link to {kind}; refused, "
                    "write the numbers themselves"
                )
            part = group.get(key)
            if isinstance(part, h5py.Group):
                children.append((f"{name}.", depth + 1, part))
            elif isinstance(part, h5py.Dataset):
                yield name, part
            else:
                raise InputError(f"{where}: {quoted(name)}: expected numbers, got a named type")
        pending += reversed(children)


def _checked_bytes(name: str, dataset: h5py.Dataset, where: str) -> int:
    """How many bytes the dataset is in memory, after it was found to be plain numbers of this file."""
    place, dtype = f"{where}: {quoted(name)}", dataset.dtype
    if dtype.kind not in "fiub" or dtype.itemsize > _MAX_ITEM_BYTES or dtype.shape:
        raise InputError(f"{place}: expected numbers of at most 64 bits, got {quoted(str(dtype))}")
    if dataset.shape is None:
        raise InputError(f"{place}: expected numbers, got an empty dataset")
    if len(dataset.shape) > MAX_DIMENSIONS:
        raise InputError(f"{place}: expected at most {MAX_DIMENSIONS} dimensions, got {len(dataset.shape)}")
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{place}: expected numbers in this file, got some in another one; refused")
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if any(number not in _FILTERS for number in filters):
        raise InputError(
            f"{place}: expected numbers stored as they are or with gzip, got filters {filters}; save it anew"
        )
    if not is_possible_shape(dataset.shape):
        raise InputError(f"{place}: a shape of {quoted(str(dataset.shape))} is beyond all bounds; refused")
    return math.prod(map(int, dataset.shape)) * max(int(dtype.itemsize), np.dtype(np.float32).itemsize)


def _array(dataset: h5py.Dataset) -> NDArray[Any]:
    found: NDArray[Any] = np.asarray(dataset[()])
    if found.dtype.kind == "f":
        with np.errstate(
            all="ignore"
        ):  # a double too large becomes infinite; who uses the numbers checks them
            return found.astype(np.float32)
    return found.astype(found.dtype.newbyteorder("="))
