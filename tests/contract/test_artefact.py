"""Artefacts are written whole or not at all, verified by hash, and never reach outside their folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from contract.test_manifest import FULL

from tercelet.contract.artefact import (
    check_output_free,
    finish_artefact,
    inside,
    new_artefact,
    read_manifest,
    sha256_of,
    verify_file,
)
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest_json import json_from_manifest


def write_one(output: Path, content: bytes = b"weights", *, overwrite: bool = False) -> Path:
    with new_artefact(output, kind="bundle", overwrite=overwrite) as folder:
        (folder / "model.onnx").write_bytes(content)
        finish_artefact(folder, FULL)
    return output


def test_a_finished_artefact_lists_its_files_with_their_hashes(tmp_path: Path) -> None:
    output = write_one(tmp_path / "deep" / "bundle")
    manifest = read_manifest(output)
    assert dict(manifest.files) == {"model.onnx": sha256_of(output / "model.onnx")}
    assert verify_file(output, manifest, "model.onnx") == output / "model.onnx"
    assert [p.name for p in output.parent.iterdir()] == ["bundle"]
    assert output.stat().st_mode & 0o077 == 0o077 & ~_umask()


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failure_leaves_nothing_behind_not_even_new_parents(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_artefact(tmp_path / "a" / "b" / "bundle", kind="bundle") as folder:
            (folder / "half").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_older_artefact_is_replaced_only_when_asked_and_only_when_complete(tmp_path: Path) -> None:
    output = write_one(tmp_path / "bundle", b"old")
    with pytest.raises(InputError, match="already exists; choose another -o, or replace it with --overwrite"):
        write_one(output, b"new")
    with pytest.raises(ZeroDivisionError), new_artefact(output, kind="bundle", overwrite=True):
        _ = 1 / 0
    assert (output / "model.onnx").read_bytes() == b"old"
    write_one(output, b"new", overwrite=True)
    assert (output / "model.onnx").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_overwrite_never_replaces_what_is_no_artefact(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("photos", "file"):
        with pytest.raises(InputError, match="already exists"):
            check_output_free(tmp_path / name, kind="bundle", overwrite=True)


def test_overwrite_spares_other_kinds_and_folders_that_hold_more_than_the_artefact(tmp_path: Path) -> None:
    output = write_one(tmp_path / "bundle")
    with pytest.raises(InputError, match="expected a checkpoint to replace, got a bundle"):
        check_output_free(output, kind="checkpoint", overwrite=True)
    (output / "notes").mkdir()
    (output / "notes" / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"holds 'notes/mine\.txt', which is no part of the bundle"):
        check_output_free(output, kind="bundle", overwrite=True)
    with pytest.raises(InputError, match="expected the name of a folder to write, got an empty name"):
        check_output_free("", kind="bundle")


def test_of_two_that_race_for_one_name_the_later_is_refused(tmp_path: Path) -> None:
    def late() -> None:
        with new_artefact(tmp_path / "bundle", kind="bundle") as folder:
            write_one(tmp_path / "bundle", b"first")
            finish_artefact(folder, FULL)

    with pytest.raises(InputError, match="already exists"):
        late()
    assert (tmp_path / "bundle" / "model.onnx").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_the_older_artefact_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = write_one(tmp_path / "bundle", b"old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.startswith(".bundle-") and Path(target) == output:
            raise OSError("no room")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match="cannot be put in place: no room"):
        write_one(output, b"new", overwrite=True)
    assert (output / "model.onnx").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_an_output_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(InputError, match="cannot be written"),
        new_artefact(tmp_path / "file" / "bundle", kind="bundle"),
    ):
        pass


def test_a_changed_file_a_missing_file_and_an_unlisted_file_are_told_apart(tmp_path: Path) -> None:
    output = write_one(tmp_path / "bundle")
    manifest = read_manifest(output)
    with pytest.raises(InputError, match=r"expected an entry for 'other\.bin'"):
        verify_file(output, manifest, "other.bin")
    (output / "model.onnx").write_bytes(b"weightz")
    with pytest.raises(CheckFailedError, match=r"model\.onnx: sha256 .* differs .* changed or damaged"):
        verify_file(output, manifest, "model.onnx")
    (output / "model.onnx").unlink()
    with pytest.raises(CheckFailedError, match="listed in manifest.json but missing"):
        verify_file(output, manifest, "model.onnx")


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/../../b", "", "c:\\x", "a\\b", "x\0y"])
def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path: Path, name: str) -> None:
    output = write_one(tmp_path / "bundle")
    (output / "manifest.json").write_text(json_from_manifest(replace(FULL, files={name: "0" * 64})))
    with pytest.raises(InputError, match="files: expected names inside the folder"):
        read_manifest(output)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    output = write_one(tmp_path / "bundle")
    (output / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link that leaves the folder"):
        inside(output, "link")


def test_what_is_no_artefact_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "manifest.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").mkdir()
    with (tmp_path / "large" / "manifest.json").open("wb") as file:
        file.truncate(17 << 20)
    for name, message in (
        ("nowhere", "got nothing there"),
        ("file", "got a file"),
        ("empty", "expected manifest.json in it, got none"),
        ("binary", "expected UTF-8 text"),
        ("large", "expected at most 16777216 bytes"),
    ):
        with pytest.raises(InputError, match=message):
            read_manifest(tmp_path / name)


def test_the_manifest_on_disk_is_plain_json(tmp_path: Path) -> None:
    output = write_one(tmp_path / "bundle")
    assert json.loads((output / "manifest.json").read_text())["labels"] == ["cat", "dog"]
