"""Where results and drawn pictures may go: never over what is read, and never with a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import numbered_frame

from tercelet.contract import Detections, InputError
from tercelet.runtime.command_line import main
from tercelet.runtime.run_console import RunConsole
from tercelet.runtime.running import run
from tercelet.runtime.saving import DrawnResults
from tercelet.runtime.sources import Frame
from tercelet.runtime.sources.opening import Kind
from tercelet.runtime.vision import VideoReader, read_image


def test_pictures_are_saved_under_their_names_and_equal_names_do_not_collide(
    tiny_bundle: Path, tmp_path: Path, pictures: Path, write_picture: Callable[..., Path]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_picture(other / "1.png", height=30)
    write_picture(other / "1.PNG", height=20)
    write_picture(other / "frame.npy")
    drawn = tmp_path / "deep" / "drawn"
    sources = [pictures, other / "1.png", other / "1.PNG", other / "frame.npy"]
    for _ in range(2):
        run(tiny_bundle, sources, save=drawn, score=1.0)
    names = ["1-2.png", "1-3.PNG", "1.png", "10.png", "2.png", "frame.png"]
    assert sorted(path.name for path in drawn.iterdir()) == names
    assert [read_image(drawn / name).shape[0] for name in ("1.png", "1-2.png", "1-3.PNG")] == [48, 30, 20]
    assert np.array_equal(read_image(drawn / "2.png"), read_image(pictures / "2.png"))


def test_boxes_are_drawn_into_what_is_saved(tiny_bundle: Path, tmp_path: Path, pictures: Path) -> None:
    summary = run(tiny_bundle, pictures / "1.png", save=tmp_path / "drawn", score=0.0)
    assert summary.detections > 0
    assert not np.array_equal(read_image(tmp_path / "drawn" / "1.png"), read_image(pictures / "1.png"))


def test_a_source_is_never_written_over(tiny_bundle: Path, pictures: Path) -> None:
    before = (pictures / "1.png").read_bytes()
    with pytest.raises(InputError, match="would replace a source; save to another folder"):
        run(tiny_bundle, pictures, save=pictures)
    assert (pictures / "1.png").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("0", "camera", "camera-0.mp4"),
        ("rtsp://host:554/live/main?channel=1", "network", "host-554-live-main-channel-1.mp4"),
        ("rtsp://日本", "network", "stream.mp4"),
        ("some/clip.avi", "video", "clip.mp4"),
    ],
)
def test_a_stream_is_saved_under_a_name_that_tells_it(
    tmp_path: Path, source: str, kind: Kind, name: str
) -> None:
    frame = Frame(source, 0, numbered_frame(1), 0.0)
    with DrawnResults(tmp_path / "drawn") as drawn:
        path = drawn.add(frame, Detections.empty(("cat",)), kind=kind, fps=None)
    assert path == tmp_path / "drawn" / name
    assert VideoReader(str(path), live=False).total == 1


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    drawn = DrawnResults(tmp_path / "drawn")
    (tmp_path / "drawn").touch()
    with pytest.raises(InputError, match="drawn: cannot be made: File exists"):
        drawn.add(Frame("0", 0, numbered_frame(1), 0.0), Detections.empty(("cat",)), kind="camera", fps=None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_slip_of_the_shell_does_not_turn_a_picture_into_json(tiny_bundle: Path, pictures: Path) -> None:
    before = contents(pictures)
    globbed = [str(path) for path in sorted(pictures.iterdir())]
    assert main(["run", str(tiny_bundle), "--json", *globbed]) == 2
    assert main(["run", str(tiny_bundle), globbed[0], "--json", globbed[0]]) == 2
    assert contents(pictures) == before


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_results_never_replace_a_file_that_is_read_under_whatever_name(
    tiny_bundle: Path, pictures: Path, tmp_path: Path, link: Callable[..., None], whole_folder: bool
) -> None:
    alias = tmp_path / "results.jsonl"
    link(pictures / "1.png", alias)
    before = contents(pictures)
    with pytest.raises(
        InputError,
        match=r"results.jsonl: (the results would replace a file that is read|--json would overwrite)",
    ):
        run(tiny_bundle, pictures if whole_folder else pictures / "1.png", json=alias)
    assert contents(pictures) == before


def test_results_never_replace_a_part_of_the_bundle(tiny_bundle: Path, pictures: Path) -> None:
    before = contents(tiny_bundle)
    with pytest.raises(InputError, match="would replace a file that is read"):
        run(tiny_bundle, pictures, json=tiny_bundle / "manifest.json")
    assert contents(tiny_bundle) == before


def test_a_drawn_picture_never_replaces_another_source(
    tiny_bundle: Path, pictures: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    first = write_picture(tmp_path / "1.png", seed=5)
    before = contents(pictures)
    with pytest.raises(InputError, match="would replace a source; save to another folder"):
        run(tiny_bundle, [first, pictures], save=pictures)
    assert contents(pictures) == before


def test_a_video_is_never_drawn_over_itself(
    tiny_bundle: Path, tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="would replace a source"):
        run(tiny_bundle, clip, save=tmp_path)
    assert contents(tmp_path) == before


def test_the_longest_file_name_is_saved(
    tiny_bundle: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    picture = write_picture(tmp_path / f"{'a' * 248}.png")
    run(tiny_bundle, picture, save=tmp_path / "drawn", score=1.0)
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == [picture.name]


@pytest.mark.parametrize(
    "words",
    [
        ["{picture}", "--save", "{long}"],
        ["{picture}", "--json", "{long}"],
        ["{long}"],
        ["{picture}", "{picture}", "--save", "{drawn}"],
    ],
)
def test_a_name_that_is_too_long_is_one_line(
    tiny_bundle: Path,
    tmp_path: Path,
    write_picture: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    # The second one of this name would become ...-2.png, one character too many.
    picture = write_picture(tmp_path / f"{'a' * 250}.png")
    places = {"picture": picture, "long": tmp_path / ("b" * 300), "drawn": tmp_path / "drawn"}
    assert main(["run", str(tiny_bundle), *(word.format(**places) for word in words), "--quiet"]) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert "File name too long" in errors


@pytest.mark.parametrize("words", [["", "p"], ["b", ""], ["b", "p", "--save", ""], ["b", "p", "--json", ""]])
def test_an_empty_name_is_refused(
    tiny_bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    given = [{"b": str(tiny_bundle), "p": str(pictures)}.get(word, word) for word in words]
    assert main(["run", *given]) == 2
    assert "got an empty name" in capsys.readouterr().err


def test_labels_of_somebody_else_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = RunConsole(quiet=False, verbose=False, stdout_is_taken=False)
    hostile = Detections(
        boxes=np.zeros((1, 4), np.float32),
        scores=np.ones(1, np.float32),
        class_ids=np.zeros(1, np.int64),
        labels=("\x1b]0;owned\x07",),
    )
    console._line_a_frame = True
    console.frame_done(Frame("a.jpg", 0, numbered_frame(1), 0.0), hostile)
    console.warned("a\x1b[31m.jpg: broken")
    assert "\x1b" not in "".join(capsys.readouterr())
