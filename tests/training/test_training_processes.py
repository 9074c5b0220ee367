"""Trainings that are killed and go on, and those of several processes: both end as if nothing happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from square_frames import write_squares

# Sums over processes are taken in another order than sums over a batch.
DISTRIBUTED_TOLERANCE = 1e-5
PATIENCE_S = 240


def arguments(data: Path, output: Path, *, epochs: int, batch: int, options: list[str]) -> list[str]:
    """A short training on one thread, such that two runs do the same."""
    return [
        *("train", "yolo11n", "--data", str(data), "--val", str(data), "-o", str(output)),
        *("--epochs", str(epochs), "--size", "64", "--batch", str(batch), "--nominal-batch", str(batch)),
        *("--threads", "1", "--workers", "0", "--validate-every", str(epochs), *options),
    ]


def environment() -> dict[str, str]:
    """One thread, and no leftovers of another distributed run."""
    unwanted = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run(command: list[str]) -> None:
    """Run it to its end; its messages are in the failure."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


TERCELET = [
    sys.executable,
    "-c",
    "from tercelet.runtime.command_line import main; raise SystemExit(main())",
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares") / "made", 8)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_training_goes_on_to_the_very_same_weights(
    squares: Path, tmp_path: Path, optimizer: str
) -> None:
    options = ["--optimizer", optimizer, "--close-mosaic", "1", "--warmup", "1"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run([*TERCELET, *arguments(squares, whole, epochs=4, batch=4, options=options)])
    command = [*TERCELET, *arguments(squares, broken, epochs=4, batch=4, options=options)]
    state = tmp_path / "broken.training" / "state.json"
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + PATIENCE_S
        while not state.is_file() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    assert not broken.exists()
    run([*command, "--resume"])
    assert (broken / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    rows = (broken / "results.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in rows] == ["epoch", "1", "2", "3", "4"]


def test_two_processes_with_half_the_batch_each_do_what_one_does(squares: Path, tmp_path: Path) -> None:
    # Twenty steps: eight frames, batches of eight.
    options = ["--optimizer", "sgd", "--lr", "0.01", "--close-mosaic", "10"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    run([*TERCELET, *arguments(squares, alone, epochs=20, batch=8, options=options)])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launcher, "--no-python", *TERCELET]
    command += arguments(squares, shared, epochs=20, batch=8, options=options)
    run(command)
    first, second = load_file(alone / "weights.safetensors"), load_file(shared / "weights.safetensors")
    assert first.keys() == second.keys()
    worst = max(float(abs(first[name] - second[name]).max(initial=0)) for name in first)
    assert worst <= DISTRIBUTED_TOLERANCE
    assert "| processes | 2 |" in (shared / "CARD.md").read_text()
