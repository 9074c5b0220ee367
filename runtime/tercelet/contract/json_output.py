"""JSON for scripts: what `--json FILE` of every verb writes, and where it may not go."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError

STDOUT = "-"
# A slip of the shell (--json *.jpg) must not turn somebody's picture or weights into JSON.
_PRECIOUS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".npy", ".npz"),
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"),
    *(".pt", ".pth", ".safetensors", ".onnx", ".h5", ".tflite", ".engine"),
    *(".txt", ".yaml", ".yml", ".py"),
)


def check_json_place(destination: str | Path | None) -> None:
    """InputError, before any work is done, unless `destination` is None, "-" or a place for a JSON file.

    Refused: an empty name, a folder, an existing file whose suffix is that of pictures, videos, weights or
    text, and a place that cannot be written. Nothing is made yet.
    """
    if destination is None or str(destination) == STDOUT:
        return
    if not str(destination):
        raise InputError("--json: expected a file name, or - for stdout, got an empty name")
    # Resolved: "missing/../photo.jpg" is not there yet, and would be once the folder is made.
    path = Path(destination).resolve()
    if path.is_dir():
        raise InputError(f"{destination}: expected a file for the results, got a folder; add a file name")
    if path.exists() and path.suffix.lower() in _PRECIOUS:
        raise InputError(
            f"{destination}: --json would overwrite this file, which is no JSON; choose another name"
        )
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """InputError unless files can be put into the folder, or it can be made; nothing is made yet."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        problem = "cannot be written to" if existing.is_dir() else "is a file"
        raise InputError(f"{folder}: expected a folder to write results to, but {existing} {problem}")


def write_json(destination: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to a file, or to stdout where destination is "-".

    Values that JSON has no name for (NaN, infinities) become null. Parents are made. Raises InputError where
    the file cannot be written.
    """
    check_json_place(destination)
    text = json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if str(destination) == STDOUT:
        if sys.stdout is None:
            raise InputError("--json -: stdout is closed; give a file name instead")
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    path = Path(destination).resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"{destination}: cannot be written: {error}; choose another --json FILE") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
