"""JSON lines: their content, their place, and that a line is whole or not there."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract import Detections, InputError
from tercelet.runtime.results import ResultLines, record_of
from tercelet.runtime.sources import Frame


def frame_of(source: str = "bus.jpg", index: int = 7) -> Frame:
    return Frame(source, index, np.zeros((20, 30, 3), np.uint8), read_ms=1.23456)


def detections() -> Detections:
    return Detections(
        boxes=np.array([[1, 2, 3.5, 4.25]], np.float32),
        scores=np.array([0.875], np.float32),
        class_ids=np.array([1]),
        labels=("cat", "Hündin"),
        timing_ms={"preprocess": 0.5, "infer": 30.25},
    )


def test_a_frame_without_detections_has_a_record_too() -> None:
    record = record_of(frame_of(), Detections.empty(("cat",)))
    assert record["detections"] == []
    assert record["timing_ms"] == {"read": 1.235}


def test_a_record_has_the_fields_that_the_design_names() -> None:
    assert record_of(frame_of(), detections()) == {
        "source": "bus.jpg",
        "frame": 7,
        "width": 30,
        "height": 20,
        "detections": [{"box": [1.0, 2.0, 3.5, 4.25], "score": 0.875, "label": "Hündin", "class_id": 1}],
        "timing_ms": {"read": 1.235, "preprocess": 0.5, "infer": 30.25},
    }


def test_each_record_is_one_line_and_an_older_file_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "results.jsonl"
    for count in (3, 2):
        with ResultLines(path) as lines:
            for _ in range(count):
                lines.write(record_of(frame_of("a\nb\udcff.jpg"), detections()))
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") == count
        assert [json.loads(line)["source"] for line in text.splitlines()] == ["a\nb\udcff.jpg"] * count
        assert "Hündin" in text
    assert path.stat().st_mode & 0o111 == 0


def test_the_file_is_made_by_the_first_line_or_at_a_good_end(tmp_path: Path) -> None:
    with ResultLines(tmp_path / "empty.jsonl"):
        assert not list(tmp_path.iterdir())
    assert (tmp_path / "empty.jsonl").read_bytes() == b""
    with pytest.raises(RuntimeError), ResultLines(tmp_path / "failed.jsonl"):
        raise RuntimeError
    assert not (tmp_path / "failed.jsonl").exists()


def test_a_line_is_there_for_others_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with ResultLines(tmp_path / "x.jsonl") as lines:
        for count in range(1, 4):
            lines.write({"n": count})
            assert len((tmp_path / "x.jsonl").read_bytes().splitlines()) == count


def test_a_dash_is_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with ResultLines("-") as lines:
        lines.write({"a": 1})
    assert capfd.readouterr().out == '{"a": 1}\n'


def test_a_number_that_json_cannot_hold_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"), ResultLines(tmp_path / "x.jsonl") as lines:
        lines.write({"a": float("nan")})
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (".", "expected a file for the results, got a folder"),
        ("file/x.jsonl", "file is a file"),
        ("file/deeper/x.jsonl", "file is a file"),
        ("/proc/none/x.jsonl", "/proc"),
    ],
)
def test_a_target_that_cannot_become_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    def write() -> None:
        with ResultLines(target) as lines:
            lines.write({})

    with pytest.raises(InputError, match=message):
        write()


def test_a_folder_that_may_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written to"):
        ResultLines(tmp_path / "x.jsonl")


def test_a_full_disk_leaves_whole_lines_and_a_sentence(tmp_path: Path) -> None:
    lines = ResultLines(tmp_path / "x.jsonl")
    lines.write({"text": "a" * 500})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, before[1]))
    try:
        with pytest.raises(InputError, match="results cannot be written: File too large"):
            lines.write({"text": "b" * 500})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines.close()
    assert [json.loads(line)["text"][0] for line in (tmp_path / "x.jsonl").read_text().splitlines()] == ["a"]
    with (
        pytest.raises(InputError, match="results cannot be written: No space left"),
        ResultLines("/dev/full") as full,
    ):
        full.write({})


def test_a_reader_that_went_away_is_no_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    lines = ResultLines("-")
    lines._descriptor = theirs
    with pytest.raises(BrokenPipeError):
        lines.write({})
    lines.close()


def test_a_program_without_stdout_cannot_have_the_results_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="expected stdout for the results, but it is closed"):
        ResultLines("-")
