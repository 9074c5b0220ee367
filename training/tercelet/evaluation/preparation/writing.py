"""Files that are there whole or not at all, also after kill -9."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tercelet.contract.errors import InputError

UNFINISHED_SUFFIX = ".part"


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, renamed to `path` at the end, removed on any error.

    InputError where the disk refuses; what was there before is then untouched.
    """
    unfinished = path.with_name(f".{secrets.token_hex(6)}{UNFINISHED_SUFFIX}")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    except BaseException as error:  # Ctrl-C too must leave nothing; re-raised
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(
                f"{path}: cannot be written: {error.strerror or error}; "
                "the same command goes on where this one stopped"
            ) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`, whole or not at all; raises InputError."""
    with written_whole(path) as file:
        file.write(data)


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed process left half-written in the folder itself."""
    for path in folder.glob(f".*{UNFINISHED_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()
