"""Where frames come from: what is recognised, in which order, what is refused."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import number_in, numbered_frame

from tercelet.contract import InputError, MissingDependencyError
from tercelet.runtime.sources import check_source, kind_of, open_source
from tercelet.runtime.sources.opening import without_password


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("0", "camera"),
        ("12", "camera"),
        ("rtsp://camera/stream", "network"),
        ("RTSPS://camera/stream", "network"),
        ("http://host/clip.mp4", "network"),
        ("folder", "folder"),
        ("a.jpg", "picture"),
        ("b.PNG", "picture"),
        ("c.npy", "picture"),
        ("d.MP4", "video"),
        ("e.mkv", "video"),
        ("./0", "folder"),
    ],
)
def test_a_source_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "0"):
        (tmp_path / folder).mkdir()
    for name in ("a.jpg", "b.PNG", "c.npy", "d.MP4", "e.mkv"):
        (tmp_path / name).touch()
    assert kind_of(source) == kind


def test_a_path_object_is_never_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    assert kind_of(Path("0")) == "folder"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.jpg", "nothing is there"),
        ("notes.txt", "got suffix '.txt'"),
        ("bare", "got suffix ''"),
        ("ftp://me:secret@host/x.mp4", "ftp://host/x.mp4: expected an address of rtsp, "),
        ("empty", r"empty: expected pictures \(.jpg, .jpeg, .png, ...\) .* got no file at all"),
        ("texts", "got 2 other files; subfolders are not searched"),
        ("empty.mp4", "got an empty file"),
    ],
)
def test_what_is_no_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("notes.txt", "bare", "empty.mp4", "texts/a.txt", "texts/b.txt", "texts/sub/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message) as caught:
        check_source(source)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="expected a folder that can be read: Permission denied"):
        check_source(tmp_path)


@pytest.mark.usefixtures("without_opencv")
def test_only_npy_frames_do_without_opencv(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbered_frame(1))
    assert check_source(tmp_path / "a.npy") == "picture"
    assert check_source(tmp_path) == "folder"
    with open_source(tmp_path) as source:
        assert [number_in(frame.image) for frame in source] == [1]
    (tmp_path / "b.jpg").touch()
    with pytest.raises(MissingDependencyError, match="tercelet.vision"):
        check_source(tmp_path)
    with pytest.raises(MissingDependencyError, match="tercelet.vision"):
        check_source("rtsp://camera/stream")


def test_a_password_appears_nowhere() -> None:
    assert without_password("rtsp://me:se@cret@host:554/a@b?x=1") == "rtsp://host:554/a@b?x=1"
    assert without_password("rtsp://host/a") == "rtsp://host/a"


def test_a_picture_is_one_frame(tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    path = write_picture(tmp_path / "x.png")
    with open_source(path) as source:
        assert (source.total, source.live, source.fps, source.dropped) == (1, False, None, 0)
        (frame,) = source
    assert (frame.source, frame.index, frame.image.shape) == (str(path), 0, (48, 64, 3))
    assert frame.read_ms > 0


def test_a_folder_is_read_in_natural_order_without_hidden_files_and_subfolders(
    tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    names = ["frame2.jpg", "frame10.jpg", "Frame1.png", "7.jpg", "007.png", "x².png"]
    for name in (*names, ".hidden.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "sub.jpg").mkdir()
    (tmp_path / "labels.npy").touch()
    (tmp_path / "notes.txt").touch()
    with open_source(str(tmp_path)) as source:
        assert source.total == len(names)
        got = [Path(frame.source).name for frame in source]
    assert got == ["7.jpg", "007.png", "Frame1.png", "frame2.jpg", "frame10.jpg", "x².png"]


def test_a_broken_picture_of_a_folder_is_reported_and_the_next_one_is_read(
    tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    for name in ("1.jpg", "3.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "2.jpg").write_bytes(b"no picture")
    reports: list[InputError] = []
    with open_source(tmp_path, on_broken=reports.append) as source:
        got = [Path(frame.source).name for frame in source]
        assert source.broken == 1
    assert got == ["1.jpg", "3.jpg"]
    assert [str(tmp_path / "2.jpg") in str(report) for report in reports] == [True]
    with open_source(tmp_path) as source, pytest.raises(InputError, match=re.escape("2.jpg")):
        list(source)


def test_a_folder_ends_when_asked_to(tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png")
    stop = threading.Event()
    with open_source(tmp_path, stop=stop) as source:
        frames = iter(source)
        next(frames)
        stop.set()
        assert list(frames) == []


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "with: colon.mp4"])
def test_a_video_gives_every_frame_in_order_even_to_a_slow_consumer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_clip: Callable[..., Path], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / name, frames=40)
    with open_source(name) as source:
        assert (source.total, source.live, source.fps) == (40, False, 25.0)
        got = []
        for frame in source:
            got.append((frame.source, frame.index, number_in(frame.image)))
            time.sleep(0.005)
        assert (source.dropped, source.broken) == (0, 0)
    assert got == [(name, number, number) for number in range(40)]


def damaged_clip(path: Path, write_clip: Callable[..., Path]) -> Path:
    """A clip with a hole of zeros in its middle: some frames cannot be decoded, later ones can."""
    frames = [np.random.default_rng(n).integers(0, 255, (96, 144, 3), np.uint8) for n in range(60)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (144, 96))
    for frame in frames:
        writer.write(frame)
    writer.release()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 30_000] = bytes(30_000)
    path.write_bytes(data)
    return path


def test_frames_that_cannot_be_decoded_are_reported_and_the_ones_behind_them_are_read(
    tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    path = damaged_clip(tmp_path / "x.mp4", write_clip)
    reports: list[InputError] = []
    with open_source(path, on_broken=reports.append) as source:
        indices = [frame.index for frame in source]
        broken = source.broken
        assert source.total == 60
    assert broken > 0
    assert len(indices) + broken == 60
    assert indices[-1] == 59
    assert [f"{broken} frames in the middle could not be decoded" in str(r) for r in reports] == [True]
    with open_source(path) as source, pytest.raises(InputError, match="is it damaged"):
        list(source)


def test_a_video_over_http_is_a_file_and_loses_nothing(
    tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    write_clip(tmp_path / "clip.mkv", frames=30)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """No access log in the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with open_source(f"http://me:secret@127.0.0.1:{server.server_port}/clip.mkv") as source:
            assert not source.live
            assert source.name == f"http://127.0.0.1:{server.server_port}/clip.mkv"
            got = []
            for frame in source:
                got.append(number_in(frame.image))
                time.sleep(0.005)
    finally:
        server.shutdown()
        server.server_close()
    assert got == list(range(30))


@pytest.mark.parametrize("source", ["73", "rtsp://127.0.0.1:1/none"])
def test_a_camera_or_a_server_that_is_not_there_is_an_input_error(source: str) -> None:
    with pytest.raises(InputError, match="none could be opened"):
        open_source(source)
