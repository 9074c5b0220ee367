"""The folder of a generator: new, empty, or the one that the same request began."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_folder
from tercelet.evaluation.synthetic.frame_files import write_text

REQUEST_NAME = "synthetic.json"


def open_requested_folder(
    folder: Path,
    request: Mapping[str, Any],
    *,
    made_by: str,
    folders: Sequence[str | Path],
    stale: Sequence[str] = (),
) -> None:
    """Make the folders and note the request; InputError if something else lies there already.

    made_by: the command. folders: below it. stale: files of an earlier run that must not stand beside what is
    half made; they are taken away before anything is written.
    """
    text = json.dumps({"made_by": made_by, **request}, indent=1) + "\n"
    note = folder / REQUEST_NAME
    entries = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if note.is_file():
        if note.read_text(encoding="utf-8", errors="replace") != text:
            raise InputError(
                f"{folder}: was made by another request, see {REQUEST_NAME} there; choose another -o, or "
                "delete the folder"
            )
    elif entries:
        raise InputError(
            f"{folder}: expected a new or empty folder, got one with {entries[0]!r} in it; choose another -o"
        )
    check_folder(folder)
    try:
        for name in folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    write_text(note, text)
