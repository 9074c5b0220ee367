"""Artefacts on disk: a folder with a manifest, files under their sha256, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Manifest
from tercelet.contract.manifest_json import json_from_manifest, manifest_from_json

MANIFEST_NAME = "manifest.json"
ArtefactKind = Literal["checkpoint", "bundle"]
_MANIFEST_LIMIT = 16 << 20


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def read_manifest(folder: str | Path) -> Manifest:
    """The checked manifest of an artefact's folder; InputError says what is wrong and where."""
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing there; check the path"
        raise InputError(f"{folder}: expected a folder made by tercelet import or export, got {what}")
    if not path.is_file():
        raise InputError(
            f"{folder}: expected {MANIFEST_NAME} in it, got none; is this the artefact's folder?"
        )
    if path.stat().st_size > _MANIFEST_LIMIT:
        raise InputError(f"{path}: expected at most {_MANIFEST_LIMIT} bytes, got {path.stat().st_size}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text: {error}") from error
    manifest = manifest_from_json(text, where=str(path))
    for name in manifest.files:
        inside(folder, name)
    return manifest


def inside(folder: Path, name: str) -> Path:
    """The path of file `name` of the artefact; InputError if the name leaves the folder."""
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise InputError(f"{folder / MANIFEST_NAME}: files: expected names inside the folder, got {name!r}")
    path = folder / pure
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder / MANIFEST_NAME}: files: {name!r} is a link that leaves the folder")
    return path


def verify_file(folder: Path, manifest: Manifest, name: str) -> Path:
    """The path of `name` after its sha256 was compared; CheckFailedError if it differs or is missing."""
    if name not in manifest.files:
        raise InputError(f"{folder / MANIFEST_NAME}: files: expected an entry for {name!r}, got none")
    path = inside(folder, name)
    if not path.is_file():
        raise CheckFailedError(
            f"{path}: listed in {MANIFEST_NAME} but missing; export or copy the folder anew"
        )
    got = sha256_of(path)
    if got != manifest.files[name]:
        raise CheckFailedError(
            f"{path}: sha256 {got[:12]}... differs from {manifest.files[name][:12]}... in {MANIFEST_NAME}: "
            "the file was changed or damaged; export or copy the folder anew"
        )
    return path


def check_output_free(output: str | Path, *, kind: ArtefactKind, overwrite: bool = False) -> Path:
    """The output's path, refused with InputError if something is there that may not be replaced.

    With overwrite a folder may be replaced that is an artefact of the same kind and holds nothing else.
    """
    if not str(output):
        raise InputError("-o: expected the name of a folder to write, got an empty name")
    output = Path(output)
    if not output.exists() and not output.is_symlink():
        return output
    if not overwrite:
        hint = "choose another -o, or replace it with --overwrite" if output.is_dir() else "choose another -o"
        raise InputError(f"{output}: already exists; {hint}")
    try:
        old = read_manifest(output)
    except InputError as error:
        raise InputError(f"{output}: already exists and is no {kind}; choose another -o ({error})") from error
    if old.kind != kind:
        raise InputError(f"{output}: expected a {kind} to replace, got a {old.kind}; choose another -o")
    known = {MANIFEST_NAME, *old.files}
    for path in output.rglob("*"):
        name = path.relative_to(output).as_posix()
        if not path.is_dir() and name not in known:
            raise InputError(f"{output}: holds {name!r}, which is no part of the {kind}; choose another -o")
    return output


@contextmanager
def new_artefact(output: str | Path, *, kind: ArtefactKind, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `output` to write into, renamed to it at the end, removed on any error.

    The body must call `finish_artefact`. With overwrite, an older artefact of the same kind at `output` is
    replaced only once the new one is complete. Of two that race for one name the later is refused.
    """
    output = check_output_free(output, kind=kind, overwrite=overwrite)
    missing = [p for p in (output.parent, *output.parent.parents) if not p.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}-", dir=output.parent))
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error}; choose another -o") from error
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())
        _put_in_place(folder, check_output_free(output, kind=kind, overwrite=overwrite))
    except BaseException:  # Ctrl-C too must leave nothing; re-raised
        shutil.rmtree(folder, ignore_errors=True)
        for parent in missing:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise


def finish_artefact(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file of the folder, write the manifest, and return it with its `files` filled in."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    hashes = {name: sha256_of(folder / name) for name in names if name != MANIFEST_NAME}
    complete = replace(manifest, files=hashes)
    (folder / MANIFEST_NAME).write_text(json_from_manifest(complete), encoding="utf-8")
    return complete


def _put_in_place(folder: Path, output: Path) -> None:
    """Rename `folder` to `output`; what was there comes back if that fails."""
    retired = None
    try:
        if output.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}-old-", dir=output.parent)) / "old"
            output.rename(retired)
        folder.rename(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be put in place: {error}; choose another -o") from error
    finally:
        if retired is not None:
            if not output.exists() and retired.exists():
                retired.rename(output)
            shutil.rmtree(retired.parent, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
