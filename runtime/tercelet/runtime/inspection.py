"""The verb `inspect`: what a folder or a file is, whether it is whole, and what to do with it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tercelet.contract.artefact import MANIFEST_NAME, inside, read_manifest, sha256_of
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Manifest
from tercelet.runtime.file_kind import kind_of_file
from tercelet.runtime.given_path import given_path

FileState = Literal["ok", "changed", "missing", "unlisted"]


@dataclass(frozen=True)
class InspectedFile:
    """A file of an artefact. unlisted: there, but not in the manifest, and nothing reads it.

    sha256, size_bytes: of what is there; None if it is missing.
    """

    name: str
    state: FileState
    size_bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class Inspection:
    """kind: checkpoint, bundle, or what a single file is ("torch-zip", "onnx", ..., see file_kind.py).

    ok: every listed file is there with its sha256; for a single file, that it is not cut off. manifest and
    files: of an artefact. sha256: of a single file. next_step: a command or a sentence.
    """

    path: str
    kind: str
    description: str
    ok: bool
    size_bytes: int
    next_step: str
    sha256: str | None = None
    manifest: Manifest | None = None
    files: tuple[InspectedFile, ...] = ()


def inspect(path: str | Path) -> Inspection:
    """Inspect an artefact's folder or a single file. Nothing is unpickled, and no network is opened.

    Raises InputError if nothing is there, it cannot be read, or a folder is no artefact.
    """
    path = given_path(path, name="path")
    try:
        if not path.exists():
            raise InputError(f"{path}: expected a folder or a file, nothing is there; check the path")
        return _inspect_artefact(path) if path.is_dir() else _inspect_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _inspect_artefact(folder: Path) -> Inspection:
    manifest = read_manifest(folder)
    files = [_inspect_listed(folder, name, sha256) for name, sha256 in sorted(manifest.files.items())]
    there = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    for name in there:
        if name not in manifest.files and name != MANIFEST_NAME:
            path = folder / name
            files.append(InspectedFile(name, "unlisted", path.stat().st_size, sha256_of(path)))
    ok = all(file.state in ("ok", "unlisted") for file in files)
    return Inspection(
        path=str(folder),
        kind=manifest.kind,
        description=_description(manifest),
        ok=ok,
        size_bytes=sum((folder / name).stat().st_size for name in there),
        next_step=_next_step(folder, manifest, ok=ok),
        manifest=manifest,
        files=tuple(files),
    )


def density_beside(inspection: Inspection) -> Manifest | None:
    """The manifest of the density network that an aerial bundle holds; None where there is none, or none that
    can be read, which the state of its file tells."""
    record = inspection.manifest.aerial if inspection.manifest else None
    if record is None or record.density is None:
        return None
    try:
        return read_manifest(inside(Path(inspection.path), record.density))
    except InputError:
        return None


def _description(manifest: Manifest) -> str:
    name, count = manifest.detector.name, len(manifest.labels)
    if manifest.pipeline == "density":
        return f"density {manifest.kind} of {name}: how many objects lie where"
    kind = "aerial bundle" if manifest.pipeline == "density_crops" else manifest.kind
    return f"{kind} of {name}, {count} {'class' if count == 1 else 'classes'}"


def _inspect_listed(folder: Path, name: str, sha256: str) -> InspectedFile:
    path = inside(folder, name)
    if not path.is_file():
        return InspectedFile(name, "missing", None, None)
    got = sha256_of(path)
    return InspectedFile(name, "ok" if got == sha256 else "changed", path.stat().st_size, got)


def _next_step(folder: Path, manifest: Manifest, *, ok: bool) -> str:
    if not ok:
        return "a file was changed or lost: copy the folder again, or make it anew"
    place = shlex.quote(str(folder))
    if manifest.kind == "checkpoint":
        return f"tercelet export {place} -o BUNDLE"
    if manifest.pipeline == "density":
        return f"tercelet run DETECTOR PICTURE --density {place}"
    if manifest.pipeline == "density_crops":
        return f"tercelet run {place} VIDEO --save drawn"
    if manifest.picture_votes is not None:
        if manifest.picture_votes.detector is None:
            return f"tercelet bundle-rgbd {place} DETECTOR puts a 2D detector beside it"
        return f"tercelet run {place} FOLDER --save drawn"
    if manifest.pipeline == "rgbd":
        return f"tercelet run {place} CLOUD --save drawn"
    return f"tercelet run {place} PICTURE"


def _inspect_file(path: Path) -> Inspection:
    if not path.is_file():
        raise InputError(f"{path}: expected a folder or a file, got a device or a pipe")
    kind = kind_of_file(path)
    return Inspection(
        path=str(path),
        kind=kind.name,
        description=kind.description,
        ok=kind.whole,
        size_bytes=path.stat().st_size,
        next_step=kind.next_step,
        sha256=sha256_of(path),
    )
