"""Clouds from files: .npz with `pc`, .npy, .ply, .bin of float32, and .mat of SUN RGB-D."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds.cloud import Cloud, cloud_from_columns
from tercelet.runtime.clouds.matlab_file import matlab_array
from tercelet.runtime.clouds.ply_file import read_ply

CLOUD_SUFFIXES = (".npz", ".npy", ".ply", ".bin", ".mat")
NPZ_NAME = "pc"
MAT_NAME = "instance"
BIN_COLUMNS = (6, 4, 3)
# No coordinate of a room and no colour is larger; bytes that are no float32 numbers soon are.
_LARGEST_NUMBER = 1e6


def read_cloud(path: str | Path, *, columns: int | None = None) -> Cloud:
    """The cloud of a file, in the frame and unit that the file has it in.

    columns: .bin only, how many float32 numbers a point has (x y z first, of six the last three colours);
    without it: 6 where columns 4 to 6 all lie in 0..1 or all in 0..255 as whole numbers, else 4 where column
    4 lies in 0..1, else 3. .npz: the array `pc`. .mat: the array `instance`. Raises InputError for a file
    that is missing, damaged or none of these.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if columns is not None and suffix != ".bin":
        raise InputError(f"columns: expected with a .bin file only, got it with {path}")
    if not path.is_file():
        raise InputError(f"{path}: expected a cloud, nothing is there; check the path")
    if suffix == ".npz":
        return cloud_from_columns(str(path), _from_npz(path))
    if suffix == ".npy":
        return cloud_from_columns(str(path), _from_npy(path))
    if suffix == ".ply":
        return read_ply(path)
    if suffix == ".bin":
        return cloud_from_columns(str(path), _from_bin(path, columns))
    if suffix == ".mat":
        return cloud_from_columns(str(path), matlab_array(path, MAT_NAME))
    raise InputError(f"{path}: expected a cloud ({', '.join(CLOUD_SUFFIXES)}), got suffix {path.suffix!r}")


def _from_npz(path: Path) -> NDArray[np.generic]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if NPZ_NAME in arrays:
                values: NDArray[np.generic] = arrays[NPZ_NAME]
                return values
            names = ", ".join(map(repr, arrays)) or "none"
    except (OSError, ValueError, EOFError, MemoryError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: expected an .npz archive that can be read: {_first_line(error)}"
        ) from error
    raise InputError(f"{path}: expected an array {NPZ_NAME!r} with the points, got {names}")


def _from_npy(path: Path) -> NDArray[np.generic]:
    try:
        # Mapped, so that a header that claims more than the file holds is refused before memory is taken.
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected points as .npy (N, 3): {_first_line(error)}") from error


def _from_bin(path: Path, columns: int | None) -> NDArray[np.float32]:
    size = path.stat().st_size
    if columns is not None and columns < 3:
        raise InputError(f"columns: expected at least 3 numbers a point, got {columns}")
    choices = BIN_COLUMNS if columns is None else (columns,)
    fitting = [count for count in choices if size % (4 * count) == 0]
    if not size or not fitting:
        wanted = " or ".join(map(str, choices))
        raise InputError(
            f"{path}: expected rows of {wanted} float32 numbers, got {size} bytes; "
            "say how many columns it has"
        )
    values = np.fromfile(path, "<f4")
    if columns is None:
        seen = values[np.isfinite(values)]
        if len(seen) < len(values) / 2 or np.abs(seen).max(initial=0.0) > _LARGEST_NUMBER:
            raise InputError(f"{path}: expected float32 numbers, got bytes that are none; check the format")
        columns = next((count for count in fitting if _looks_like(values.reshape(-1, count))), None)
    if columns is None:
        raise InputError(
            f"{path}: expected rows of 6, 4 or 3 float32 numbers, got {size} bytes whose columns cannot be "
            "told apart; say how many columns it has"
        )
    return values.reshape(-1, columns)


def _looks_like(rows: NDArray[np.float32]) -> bool:
    """Whether what follows x y z in these rows is what it would be with so many columns."""
    rest = rows[:, 3:]
    if not rest.size:
        return True
    shares = bool(((rest >= 0) & (rest <= 1)).all())
    if rows.shape[1] == 4:
        return shares
    return shares or bool(((rest >= 0) & (rest <= 255) & (rest == np.rint(rest))).all())


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0] or type(error).__name__
