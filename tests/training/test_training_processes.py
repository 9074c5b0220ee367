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

from tercelet.evaluation import synth_aerial
from tercelet.export.demonstration.packaged_weights import packaged_weights
from tercelet.training.detector_training.records.epoch_rows import read_results

# Sums over processes are taken in another order than sums over a batch.
DISTRIBUTED_TOLERANCE = 1e-5
STATISTICS_TOLERANCE = 1e-4
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


@pytest.mark.parametrize(("batch", "nominal", "epochs"), [(8, 8, 20), (4, 12, 3)])
def test_two_processes_with_half_the_batch_each_do_what_one_does(
    tmp_path: Path, batch: int, nominal: int, epochs: int
) -> None:
    # Twenty steps from the weights of the demo: from weights drawn at random every rounding grows tenfold in
    # a few steps. With batches of 4, gradients are summed over three steps, and an epoch ends after two.
    scenes = synth_aerial(tmp_path / "scenes", count=8, size=(160, 160), quiet=True).output
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    detector = packaged_weights().detector
    classes = str(detector / "class_map.json")
    options = f"--optimizer sgd --lr 0.0003 --close-mosaic {epochs} --warmup 0 --class-map {classes}"
    options += f" --init {detector}"

    def command(output: Path) -> list[str]:
        chosen = arguments(scenes, output, epochs=epochs, batch=batch, options=options.split())
        chosen[chosen.index("--nominal-batch") + 1] = str(nominal)
        chosen[chosen.index("--size") + 1] = "160"
        return [*TERCELET, *chosen]

    run(command(alone))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    run([*launcher, "--no-python", *command(shared)])
    first, second = load_file(alone / "weights.safetensors"), load_file(shared / "weights.safetensors")
    before = load_file(detector / "weights.safetensors")
    assert first.keys() == second.keys()
    differences = {name: float(abs(first[name] - second[name]).max(initial=0)) for name in first}
    # Statistics of norms are squares of activations, up to 100 here: what counts is their share.
    statistics = {name for name in first if "running_" in name}
    assert max(differences[name] for name in first.keys() - statistics) <= DISTRIBUTED_TOLERANCE
    for name in statistics:
        assert differences[name] <= STATISTICS_TOLERANCE * max(float(abs(first[name]).max()), 1)
    moved = max(float(abs(first[name] - before[name]).max(initial=0)) for name in first.keys() - statistics)
    assert moved > 50 * DISTRIBUTED_TOLERANCE
    assert "| processes | 2 |" in (shared / "CARD.md").read_text()
    rows = [read_results(output / "results.csv")[-1] for output in (alone, shared)]
    assert rows[0].loss == pytest.approx(rows[1].loss, rel=1e-3)
    assert rows[0].objects == rows[1].objects
