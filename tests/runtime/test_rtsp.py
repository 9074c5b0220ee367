"""A real RTSP server on loopback: frames arrive, the queue stays bounded, a lost server ends the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clips import number_in

from tercelet.runtime import vision
from tercelet.runtime.sources import SourceLostError, open_source

SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = "apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good python3-gi"
FRAMES = 130
FPS = 25.0
# A clean end, against the read timeout of ten seconds.
SOON_S = 3.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_clip: Callable[..., Path]) -> Path:
    try:
        probe = subprocess.run([SYSTEM_PYTHON, str(SERVER)], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"needs an RTSP server ({error}): {PACKAGES}")
    if probe.returncode:
        pytest.skip(f"needs an RTSP server ({probe.stderr.strip().splitlines()[-1]}): {PACKAGES}")
    return write_clip(tmp_path_factory.mktemp("rtsp") / "clip.mkv", frames=FRAMES, fps=FPS)


@pytest.fixture
def server(clip: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of the clip, played from its start to each new client, and the server's process."""
    process = subprocess.Popen(
        [SYSTEM_PYTHON, str(SERVER), str(clip)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    yield f"rtsp://127.0.0.1:{port}/clip", process
    process.kill()
    process.wait()
    process.stdout.close()


Server = tuple[str, "subprocess.Popen[str]"]


def test_frames_arrive_in_order_and_a_quick_consumer_loses_few(server: Server) -> None:
    address = server[0].replace("rtsp://", "rtsp://me:secret@")
    got = []
    with open_source(address) as source:
        assert (source.live, source.total, source.name) == (True, None, server[0])
        for frame in source:
            assert frame.image.shape == (96, 144, 3)
            got.append((frame.index, number_in(frame.image)))
            if frame.index >= 100:
                break
        dropped = source.dropped
    assert got == sorted(got)
    # What the decoder had buffered while the stream was being opened comes at once, and is dropped.
    assert len(got) + dropped >= 100
    assert len(got) > 40
    offsets = {number - index for index, number in got}
    assert offsets <= {0, -1, -2, -3}  # the codec may leave out frames that show nothing new


def test_a_slow_consumer_sees_the_newest_frames_and_memory_stays_bounded(server: Server) -> None:
    got = []
    with open_source(server[0]) as source:
        for frame in source:
            got.append(frame.index)
            time.sleep(0.3)
            if len(got) == 10:
                break
        dropped = source.dropped
    # Seven frames come during a look; none is seen twice, and not every one is kept for later.
    assert got == sorted(set(got))
    assert got[-1] > len(got)
    # Every frame up to the last was looked at or dropped, so that none of them is held in memory.
    assert dropped >= got[-1] + 1 - len(got)


def test_the_end_of_the_stream_is_told_apart_from_success(server: Server) -> None:
    got: list[int] = []
    with open_source(server[0]) as source, pytest.raises(SourceLostError, match="ended or went silent"):
        got.extend(number_in(frame.image) for frame in source)
    assert got[-1] >= FRAMES - 5


def test_a_server_that_dies_ends_the_stream(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "NETWORK_TIMEOUT_MS", 3000)
    with open_source(server[0]) as source:
        frames = iter(source)
        next(frames)
        server[1].kill()
        with pytest.raises(SourceLostError, match="start again to reconnect"):
            list(frames)


def test_closing_while_the_server_is_silent_does_not_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vision, "NETWORK_TIMEOUT_MS", 3000)
    source = open_source(server[0])
    next(iter(source))
    server[1].send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < SOON_S


FORGETFUL = """
import sys
from tercelet.runtime.sources import open_source
source = open_source(sys.argv[1])
print(next(iter(source)).index >= 0)
"""


def test_a_program_that_forgets_to_close_still_ends_well(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, server[0]], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def tercelet(*arguments: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from tercelet.runtime.command_line import main; raise SystemExit(main())",
        *arguments,
    ]


def test_the_command_reads_a_stream_up_to_its_limit(
    server: Server, tiny_bundle: Path, tmp_path: Path
) -> None:
    results = tmp_path / "r.jsonl"
    done = subprocess.run(
        tercelet(
            "run", str(tiny_bundle), server[0], "--limit", "20", "--json", str(results), "--threads", "1"
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, len(results.read_text().splitlines())) == (0, 20), done.stderr
    assert done.stdout.startswith("clip: 20 frames: ")


def test_ctrl_c_reaches_a_run_whose_server_is_silent(
    server: Server, tiny_bundle: Path, tmp_path: Path
) -> None:
    results = tmp_path / "r.jsonl"
    process = subprocess.Popen(
        tercelet("run", str(tiny_bundle), server[0], "--json", str(results), "--threads", "1"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (results.exists() and results.stat().st_size):
        time.sleep(0.05)
    server[1].send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    start = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < SOON_S
    assert process.returncode == 130
    assert "interrupted, what was finished is written" in errors
    assert "Traceback" not in errors
