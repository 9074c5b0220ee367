"""tercelet run: pictures, folders and videos through a real bundle, and everything that can go wrong."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import number_in, numbered_frame

from tercelet.contract import InputError
from tercelet.runtime import open_pipeline
from tercelet.runtime.command_line import main
from tercelet.runtime.printable import printable
from tercelet.runtime.running import run
from tercelet.runtime.vision import VideoReader, read_image

STAGES = ("read", "preprocess", "infer", "postprocess")
# The random weights of the test bundle give scores all over the place; this keeps frames from being crowded.
FEW = ("--max-detections", "5", "--threads", "1")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_no_source_is_refused(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="expected at least one source"):
        run(tiny_bundle, [])
    assert main(["run", str(tiny_bundle)]) == 2
    assert "SOURCE" in capsys.readouterr().err


def test_a_picture_gives_one_line_on_stdout_and_a_summary_on_stderr(
    tiny_bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tiny_bundle), str(pictures / "1.png"), *FEW]) == 0
    captured = capsys.readouterr()
    assert re.fullmatch(
        r"1\.png 64x48: (nothing|\d+ (cat|dog|owl)(, \d+ (cat|dog|owl))*)"
        r"  \(read [\d.]+, preprocess [\d.]+, infer [\d.]+, postprocess [\d.]+ ms\)\n",
        captured.out,
    )
    assert re.match(r"1 frame, \d detections in [\d.]+ s \(read .* ms a frame\)\n$", captured.err)


def test_the_results_are_those_of_the_pipeline(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    results = tmp_path / "out" / "r.jsonl"
    summary = run(tiny_bundle, pictures, json=results, max_detections=5, threads=1, score=0.0)
    records = lines_of(results)
    assert [record["source"] for record in records] == [str(pictures / f"{n}.png") for n in (1, 2, 10)]
    with open_pipeline(tiny_bundle, max_detections=5, threads=1, score_threshold=0.0) as detect:
        for record in records:
            detections = detect(read_image(record["source"]))
            assert record["detections"] == list(detections.records())
            assert (record["frame"], record["width"], record["height"]) == (0, 64, 48)
            assert tuple(record["timing_ms"]) == STAGES
    assert (summary.frames, summary.broken, summary.dropped, summary.interrupted) == (3, 0, 0, False)
    assert summary.detections == sum(len(record["detections"]) for record in records) > 0
    assert tuple(summary.timing_ms) == STAGES


def test_json_on_stdout_is_alone_there(
    tiny_bundle: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tiny_bundle), str(pictures), "--json", "-", *FEW]) == 0
    captured = capfd.readouterr()
    assert [json.loads(line)["width"] for line in captured.out.splitlines()] == [64] * 3
    assert "3 frames" in captured.err


def test_quiet_says_nothing_at_all(
    tiny_bundle: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tiny_bundle), str(pictures), "--quiet", *FEW]) == 0
    assert capfd.readouterr() == ("", "")


def test_a_video_gives_a_line_at_its_end_or_with_verbose_one_a_frame(
    tiny_bundle: Path, tmp_path: Path, write_clip: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=6)
    assert main(["run", str(tiny_bundle), str(clip), *FEW]) == 0
    captured = capsys.readouterr()
    assert re.fullmatch(r"clip\.mp4: 6 frames: .*\n", captured.out)
    assert "clip.mp4: 6/6" in captured.err
    assert main(["run", str(tiny_bundle), str(clip), "--verbose", *FEW]) == 0
    assert [line.split(" ")[1] for line in capsys.readouterr().out.splitlines()[1:-1]] == [
        f"#{n}" for n in range(1, 6)
    ]


def test_every_frame_of_a_video_has_a_line_and_is_drawn(
    tiny_bundle: Path, tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=30, fps=12.0)
    results, drawn = tmp_path / "r.jsonl", tmp_path / "drawn"
    run(tiny_bundle, clip, json=results, save=drawn, score=1.0, threads=1)
    assert [record["frame"] for record in lines_of(results)] == list(range(30))
    reader = VideoReader(str(drawn / "clip.mp4"), live=False)
    assert (reader.total, reader.fps) == (30, 12.0)
    assert [number_in(item[1]) for item in iter(reader.read, None)] == list(range(30))


def test_the_limit_counts_frames_over_all_sources(
    tiny_bundle: Path, tmp_path: Path, pictures: Path, write_clip: Callable[..., Path]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=10)
    assert run(tiny_bundle, [pictures, clip, pictures], limit=7).frames == 7
    assert run(tiny_bundle, [pictures, clip], limit=3).frames == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score", "1.5"], "expected a number from 0 to 1, got 1.5"),
        (["--score", "nan"], "expected a number from 0 to 1, got nan"),
        (["--iou", "-0.1"], "expected a number from 0 to 1, got -0.1"),
        (["--max-detections", "0"], "expected at least 1, got 0"),
        (["--threads", "0"], "expected 1 to 256, got 0"),
        (["--threads", "100000"], "expected 1 to 256, got 100000"),
        (["--limit", "0"], "limit: expected at least 1 frame, got 0"),
        (["--score", "high"], "invalid float value"),
        (["--device", "tpu"], "invalid choice"),
        (["--quiet", "--verbose"], "not allowed with"),
        (["--json", "{pictures}"], "expected a file for the results, got a folder"),
        (["--save", "{pictures}/1.png"], "1.png is a file"),
        (["none.jpg"], "nothing is there"),
        (["{empty}"], "got no file at all"),
        (["{notes}"], "got suffix '.txt'"),
    ],
)
def test_wrong_use_is_refused_at_once_and_leaves_nothing(
    tiny_bundle: Path,
    tmp_path: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    places = {"pictures": pictures, "empty": tmp_path / "empty", "notes": tmp_path / "notes.txt"}
    options = [option.format(**places) for option in options]
    outputs = ["--json", str(tmp_path / "out" / "r.jsonl"), "--save", str(tmp_path / "out" / "drawn")]
    assert main(["run", str(tiny_bundle), *outputs, str(pictures / "2.png"), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) <= 2
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_a_broken_picture_that_was_named_fails_at_once_and_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"<html></html>")
    outputs = ["--json", str(tmp_path / "out" / "r.jsonl"), "--save", str(tmp_path / "out" / "drawn")]
    assert main(["run", str(tiny_bundle), str(broken), str(pictures), *outputs]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"tercelet: {broken}: expected a picture, got an HTML page (a download that failed?); "
        "copy or download it anew\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_broken_picture_among_others_is_named_and_the_run_goes_on(
    tiny_bundle: Path, tmp_path: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (pictures / "2.png").write_bytes(b"<html></html>")
    results = tmp_path / "r.jsonl"
    late = tmp_path / "late.jpg"
    late.write_bytes(b"")
    sources = [str(pictures), str(late), str(pictures / "1.png")]
    assert main(["run", str(tiny_bundle), *sources, "--json", str(results), *FEW]) == 2
    assert [Path(record["source"]).name for record in lines_of(results)] == ["1.png", "10.png", "1.png"]
    errors = capfd.readouterr().err.splitlines()
    assert sum("2.png: expected a picture" in line for line in errors) == 1
    assert sum("late.jpg: expected a picture, got an empty file" in line for line in errors) == 1
    assert errors[-1] == "tercelet: 2 frames could not be read, see above"


def test_a_video_that_is_cut_short_is_reported(
    tiny_bundle: Path, tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=40)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match="frames could be read where the file claims 40; it is cut short"):
        summary = run(tiny_bundle, clip, score=1.0)
    assert 10 < summary.frames < 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tiny_bundle, clip, limit=3)


def test_a_video_without_a_frame_in_it_leaves_an_empty_results_file(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.mp4"
    page.write_bytes(b"<html>" * 100)
    assert main(["run", str(tiny_bundle), str(page), "--json", str(tmp_path / "r.jsonl")]) == 2
    assert "expected a video, got a file that cannot be decoded" in capsys.readouterr().err
    assert not (tmp_path / "r.jsonl").exists()


def test_names_from_a_hostile_disk_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[31m\n\udcff é.jpg") == "a\\x1b[31m\\n\\udcff é.jpg"


def test_a_bar_and_a_line_a_picture_do_not_share_a_terminal(
    tiny_bundle: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["run", str(tiny_bundle), str(pictures), *FEW]) == 0
    assert "\x1b" not in capsys.readouterr().err
    (pictures / "2.png").write_bytes(b"")
    assert main(["run", str(tiny_bundle), str(pictures), "--json", "-", *FEW]) == 2
    assert "\r\x1b[Ktercelet: " in capsys.readouterr().err


def test_frames_without_any_vision_library_run(
    tiny_bundle: Path, tmp_path: Path, without_opencv: None, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", numbered_frame(1))
    assert main(["run", str(tiny_bundle), str(tmp_path / "a.npy"), "--quiet"]) == 0
