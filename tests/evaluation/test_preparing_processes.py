"""tercelet prepare as a process: killed, interrupted, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tercelet.contract.scenes import synthetic_frame
from tercelet.evaluation import prepare_visdrone
from tercelet.runtime.vision import write_image

COMMAND = (sys.executable, "-c", "from tercelet.runtime.command_line import main; raise SystemExit(main())")
FRAMES, JOBS = 40, 2
PATIENCE_S = 60


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames that take a few hundredths of a second each."""
    folder = tmp_path_factory.mktemp("frames") / "visdrone"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    frame = synthetic_frame(0, height=540, width=960)
    for number in range(FRAMES):
        write_image(folder / "images" / f"{number:03}.jpg", frame)
        lines = [f"{40 * k},{10 * number},30,20,1,4,0,0\n" for k in range(number % 20)]
        (folder / "annotations" / f"{number:03}.txt").write_text("".join(lines))
    return folder


def start(split: Path, output: Path) -> subprocess.Popen[str]:
    words = ("prepare", "visdrone", str(split), "-o", str(output), "--jobs", str(JOBS), "--quiet")
    return subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(output: Path) -> list[Path]:
    records = output / "records"
    return [p for p in records.glob("[!.]*.json") if b'"complete": true' in p.read_bytes()]


def wait_for(output: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(finished(output)) < count:
        assert time.monotonic() < deadline, "nothing was prepared"
        time.sleep(0.005)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(process: int) -> list[int]:
    folders = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for folder in folders for child in (folder / "children").read_text().split()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the processes")
def test_kill_loses_the_frames_in_work_and_the_next_run_ends_with_the_same_bytes(
    split: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(split, output)
    wait_for(output, 6)
    helpers = children(process.pid)
    assert len(helpers) == JOBS
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE_S
    while any(alive(helper) for helper in helpers):
        assert time.monotonic() < deadline, "a process outlived the one that fed it"
        time.sleep(0.01)
    assert not (output / "annotations_frames.json").exists()
    done = finished(output)
    assert 6 <= len(done) < FRAMES
    begun = {path.stem for path in (output / "density").glob("[!.]*.npy")}
    assert len(begun) - len(done) <= JOBS
    before = {path: path.stat().st_mtime_ns for path in done}
    result = prepare_visdrone(split, output=output, jobs=JOBS, quiet=True)
    assert result.splits[0].found == len(done)
    assert {path: path.stat().st_mtime_ns for path in done} == before
    prepare_visdrone(split, output=tmp_path / "fresh", jobs=1, quiet=True)
    assert contents(output) == contents(tmp_path / "fresh")


def test_a_process_that_is_killed_is_reported_and_the_next_run_goes_on(split: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(split, output)
    wait_for(output, 4)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "ended with exit code -9" in errors
    assert len(errors.splitlines()) == 1
    assert prepare_visdrone(split, output=output, quiet=True).splits[0].found >= 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_finishes_the_frames_in_work(
    split: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    output = tmp_path / "out"
    process = start(split, output)
    wait_for(output, 4)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert errors in ("tercelet: interrupted\n", "tercelet: terminated\n")
    assert not list(output.rglob(".*.part"))
    assert len(finished(output)) == len(list((output / "density").iterdir())) < FRAMES
