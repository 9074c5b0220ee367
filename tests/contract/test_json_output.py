"""Where JSON may be written: never over a picture or weights, and known before the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place, write_json


def test_nothing_asked_for_and_stdout_need_no_place() -> None:
    check_json_place(None)
    check_json_place("-")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "--json: expected a file name"),
        ("folder", "expected a file for the results, got a folder"),
        ("photo.jpg", "--json would overwrite this file"),
        ("missing/../photo.jpg", "missing/../photo.jpg: --json would overwrite this file"),
        ("photo.jpg/x.json", "is a file"),
    ],
)
def test_a_place_that_would_cost_a_file_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=message):
        check_json_place(name)
    with pytest.raises(InputError, match=message):
        write_json(name, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "photo.jpg"]
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"


def test_numbers_that_json_lacks_become_null_and_parents_are_made(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": [float("nan"), 1.5], "y": (float("inf"),)})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": [None, 1.5], "y": [None]}
