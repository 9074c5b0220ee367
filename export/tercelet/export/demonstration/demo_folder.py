"""The folder that a demo fills: never over somebody's files, and which files of it are new."""

from __future__ import annotations

from pathlib import Path

from tercelet.contract.artefact import MANIFEST_NAME
from tercelet.contract.errors import InputError
from tercelet.evaluation.synthetic.requested_folder import REQUEST_NAME

# What the two kinds of demo make first.
CHECKPOINT = "checkpoint"
SCENES = "scenes"


def own_folder(output: Path) -> None:
    """InputError unless the folder is new, empty, or an earlier demo's."""
    earlier = (output / CHECKPOINT / MANIFEST_NAME).is_file() or any(output.glob(f"{SCENES}*/{REQUEST_NAME}"))
    if output.exists() and not earlier and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: already exists and is no earlier demo's; choose another --output")


def times_of(folder: Path) -> dict[Path, int]:
    """Every file below a folder, sorted, and when it was written."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files}


def written_since(before: dict[Path, int], folder: Path) -> tuple[Path, ...]:
    """The files below a folder that are not as they were."""
    return tuple(path for path, changed in times_of(folder).items() if before.get(path) != changed)
