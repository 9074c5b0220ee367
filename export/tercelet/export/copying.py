"""Bundles inside bundles: copied whole, every file compared with its sha256 first."""

from __future__ import annotations

import shutil
from pathlib import Path

from tercelet.contract.artefact import MANIFEST_NAME, read_manifest, verify_file


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, folders above it made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def copy_bundle(source: Path, target: Path) -> None:
    """Copy an artefact's files and manifest. CheckFailedError for a file that differs from the manifest."""
    manifest = read_manifest(source)
    for name in manifest.files:
        copy_file(verify_file(source, manifest, name), target / name)
    copy_file(source / MANIFEST_NAME, target / MANIFEST_NAME)
