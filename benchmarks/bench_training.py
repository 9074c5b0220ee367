"""One training step against ultralytics: the same network, size, batch and boxes, in turn, in one run.

    python benchmarks/bench_training.py --peer-python VENV/bin/python [--rounds 5] [--steps 6] [--threads 2]
        [--size 320] [--batch 8] [--json FILE]

A step is forward, loss, backward, clipping, SGD with momentum and the running average of the weights, in
float32, from a batch in memory. The peer is no dependency: it runs in a process of its own, from an
environment of its own (pip install ultralytics). Both processes live through the whole run and take turns;
the one that waits does not spin. Ratios are those of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BOXES = 20
WARM_UP = 2
CLASSES = 80


def boxes_of(batch: int) -> np.ndarray[Any, Any]:
    """(batch * BOXES, 6): image, class, centre x, centre y, width, height, the last four from 0 to 1."""
    generator = np.random.default_rng(0)
    rows = np.arange(batch * BOXES)
    sides = generator.uniform(0.05, 0.3, (len(rows), 2))
    centres = generator.uniform(0, 1, (len(rows), 2)) * (1 - sides) + sides / 2
    classes = generator.integers(0, CLASSES, len(rows))
    return np.column_stack([rows // BOXES, classes, centres, sides])


def our_step(size: int, batch: int) -> Callable[[], None]:
    """A step of `tercelet train`."""
    import torch

    from tercelet.contract.geometry import xyxy_from_cxcywh
    from tercelet.training import build
    from tercelet.training.detector_training.fitting import Fitting
    from tercelet.training.detector_training.processes import Processes
    from tercelet.training.detector_training.recipe import Recipe
    from tercelet.training.detector_training.targets import Batch, Targets

    recipe = Recipe(epochs=1000, batch=batch, nominal_batch=batch, height=size, width=size, optimizer="sgd")
    fitting = Fitting(
        build("yolov8n", classes=CLASSES), recipe, Processes(0, 1, torch.device("cpu")), steps_per_epoch=100
    )
    table = torch.from_numpy(boxes_of(batch))
    nothing = torch.zeros(0, dtype=torch.int64)
    targets = Targets(
        boxes=xyxy_from_cxcywh(table[:, 2:]).mul(size).float(),
        class_ids=table[:, 1].long(),
        rows=table[:, 0].long(),
        ignored=torch.zeros(0, 4),
        ignored_rows=nothing,
    )
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)

    def step() -> None:
        fitting.epoch([Batch(images, targets)], 0, lambda count, sums: None)

    return step


def peer_step(size: int, batch: int) -> Callable[[], None]:
    """The same made of ultralytics' own parts."""
    import torch
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.torch_utils import ModelEMA

    model = DetectionModel("yolov8n.yaml", nc=CLASSES, verbose=False)
    model.args = get_cfg()
    model.train()
    average = ModelEMA(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.937, nesterov=True)
    table = torch.from_numpy(boxes_of(batch)).float()
    pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)

    def step() -> None:
        optimizer.zero_grad()
        images = {
            "img": pixels.float() / 255,
            "batch_idx": table[:, 0],
            "cls": table[:, 1:2],
            "bboxes": table[:, 2:],
        }
        loss, _ = model(images)
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
        optimizer.step()
        average.update(model)

    return step


def serve(step: Callable[[], None], steps: int) -> None:
    """Time `steps` steps whenever a line comes in; the median of their seconds goes out."""
    for _ in range(WARM_UP):
        step()
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(statistics.median(seconds)), flush=True)


class Worker:
    """One contestant's process."""

    def __init__(self, python: str, side: str, options: argparse.Namespace) -> None:
        threads = str(options.threads)
        limits = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
        arguments = ["--side", side, "--size", str(options.size), "--batch", str(options.batch)]
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), *arguments, "--steps", str(options.steps)],
            env={**os.environ, **limits, "YOLO_VERBOSE": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def seconds(self) -> float:
        """Of a step, the median of a round."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            try:
                return json.loads(line)
            except ValueError:
                print(line, end="", file=sys.stderr)
        raise SystemExit("the process ended; what it said is above")


def main() -> None:
    """Take turns and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", help="of an environment with ultralytics")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        make = our_step if options.side == "ours" else peer_step
        serve(make(options.size, options.batch), options.steps)
        return
    if not options.peer_python:
        parser.error("--peer-python: expected the interpreter of an environment with ultralytics")
    workers = {
        "ours": Worker(sys.executable, "ours", options),
        "peer": Worker(options.peer_python, "peer", options),
    }
    rounds: list[dict[str, float]] = []
    for number in range(options.rounds):
        order = ("ours", "peer") if number % 2 == 0 else ("peer", "ours")
        rounds.append({side: workers[side].seconds() for side in order})
    for worker in workers.values():
        worker.close()
    report(rounds, options)


def report(rounds: list[dict[str, float]], options: argparse.Namespace) -> None:
    """The table, and JSON where asked."""
    ratios = sorted(found["peer"] / found["ours"] for found in rounds)
    speeds = {side: options.batch / statistics.median(found[side] for found in rounds) for side in rounds[0]}
    print(
        f"yolov8n, {options.size} px, batch {options.batch}, {options.threads} threads, {len(rounds)} rounds"
    )
    print(f"tercelet     {speeds['ours']:.1f} images/s")
    print(f"ultralytics  {speeds['peer']:.1f} images/s")
    print(f"ratio        {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    if options.json:
        record = {"rounds": rounds, "ratios": ratios, "images_per_second": speeds}
        Path(options.json).write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
