"""The folder of prepared frames: whose it is, what it was made with, and that one run has it alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_folder
from tercelet.evaluation.preparation.frame import CROP_ANNOTATIONS, CROP_PICTURES, DENSITY, RECORDS
from tercelet.evaluation.preparation.settings import PrepareSettings
from tercelet.evaluation.preparation.splits import Split
from tercelet.evaluation.preparation.writing import remove_unfinished, write_bytes

SETTINGS_NAME = "prepared.json"
FRAMES_JSON, CROPS_JSON = "annotations_frames.json", "annotations_crops.json"
_FORMAT = 1


def check_output(output: Path, settings: PrepareSettings, splits: Sequence[Split]) -> None:
    """InputError unless `output` is new, empty, or holds frames of these splits made with these settings."""
    if output.is_dir():
        _check_settings(output, settings)
        _check_frames(output, splits)
    check_folder(output)


@contextmanager
def open_output(output: Path, settings: PrepareSettings, splits: Sequence[Split]) -> Iterator[None]:
    """Write down the settings, make the folders, and keep other runs out until the end.

    The settings come first: a folder that was left at any moment can be gone on with.
    """
    names = [DENSITY, RECORDS, *((CROP_PICTURES, CROP_ANNOTATIONS) if settings.crops else ())]
    folders = [split.output / name for split in splits for name in names]
    _make(output)
    with _alone(output):
        # Again: between the first look and now another run may have begun here.
        _check_settings(output, settings)
        for folder in [output, *(split.output for split in splits), *folders]:
            if folder.is_dir():
                remove_unfinished(folder)
        if not (output / SETTINGS_NAME).exists():
            text = json.dumps({"format": _FORMAT, "settings": asdict(settings)}, indent=1) + "\n"
            write_bytes(output / SETTINGS_NAME, text.encode())
        for folder in folders:
            _make(folder)
        yield


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror or error}") from error


def _check_settings(output: Path, settings: PrepareSettings) -> None:
    path = output / SETTINGS_NAME
    if not path.is_file():
        foreign = [entry.name for entry in output.iterdir() if entry.name[0] != "."]
        if foreign:
            raise InputError(
                f"{output}: expected a new folder or one made by tercelet prepare, got "
                f"one with {min(foreign)!r} in it; choose another -o"
            )
        return
    try:
        stored: dict[str, Any] = json.loads(path.read_bytes())
        found, version = dict(stored["settings"]), stored["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: expected what tercelet prepare wrote there: {error}") from error
    wanted = asdict(settings)
    differing = [name for name in wanted if name not in found or found[name] != wanted[name]]
    if version != _FORMAT or found.keys() - wanted.keys():
        raise InputError(f"{path}: was written by another version of tercelet prepare; choose another -o")
    if differing:
        names = "; ".join(f"{name} {found.get(name)!r}, not {wanted[name]!r}" for name in differing)
        raise InputError(
            f"{output}: was made with other settings ({names}); choose another -o, or give the same settings"
        )


def _check_frames(output: Path, splits: Sequence[Split]) -> None:
    """Outputs of frames that are not there any more would be taken for part of the data set."""
    known = {split.output / RECORDS: {task.record.name for task in split.tasks} for split in splits}
    for folder in (output / RECORDS, *output.glob(f"*/{RECORDS}")):
        if not folder.is_dir():
            continue
        stale = {path.name for path in folder.glob("[!.]*.json")} - known.get(folder, set())
        if stale:
            raise InputError(
                f"{folder / min(stale)}: is of a frame that the data set does not have "
                f"(one of {len(stale)}); choose another -o, or delete the folder and prepare it anew"
            )


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """A lock on the folder itself, which ends with the process; InputError if another run holds it."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield
        return
    descriptor = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{output}: another tercelet prepare is writing there; wait for it, or choose another -o"
            ) from error
        except OSError:
            pass  # a file system that knows no locks
        yield
    finally:
        os.close(descriptor)
