"""Files that are written whole or not at all, also when the machine goes down meanwhile."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from tercelet.contract.errors import InputError


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of what is at `path`, parents made; InputError where it cannot be written."""
    unfinished = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
