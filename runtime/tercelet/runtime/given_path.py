"""Paths as a user gives them."""

from __future__ import annotations

from pathlib import Path

from tercelet.contract.errors import InputError


def given_path(value: str | Path, *, name: str) -> Path:
    """The path; InputError for an empty one, which would otherwise mean the current folder.

    An empty word on a command line is a variable that was not set.
    """
    if not str(value):
        raise InputError(f"{name}: expected a path, got an empty name; is a variable not set?")
    return Path(value)
