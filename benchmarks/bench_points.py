"""Furthest point sampling, ball query, a whole VoteNet: native kernels, bodies, fpsample, scipy, torch.

    python benchmarks/bench_points.py --peer-python PEER/bin/python [--points 20000] [--centres 2048]
    python benchmarks/bench_points.py --checkpoint CHECKPOINT --bundle BUNDLE [--source FRAME]

PEER: an environment with fpsample and scipy. native: the kernels that tercelet build-ops builds. body: the op
in standard operators, in ONNX Runtime. fpsample: its plain form, from point 0. fpsample buckets: its quickest
exact form (bucket_fps_kdline_sampling, h 5), whose start is random. cKDTree: a tree, everything in each ball
sorted by index, the first 64. Indices of all but fpsample buckets are compared with the numpy reference. All
run in turn within a round, on one thread, so that what else the machine does hits all alike; the native
kernels run five times a round, of which the median counts. What is measured is the CPU's time, which on one
thread is the clock's where the machine does nothing else. Ratios are taken round by round.

CHECKPOINT: a votenet made by tercelet import. BUNDLE: its export. FRAME: what tercelet run takes, else a
drawn room. torch: the checkpoint's network with the point operators of torch_tower.py; its indices are
compared with those of the op kit, its boxes with the graph's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_tower import SEARCHES, TorchTower, padded_share

from tercelet.contract.op_spec import Array, Case
from tercelet.export.op_conformance import feeds_of
from tercelet.export.op_support import model_of
from tercelet.ops import OPS
from tercelet.ops.building import build_library
from tercelet.ops.furthest_point_sample.cases import cloud_of
from tercelet.runtime.backends.onnxruntime import open_runner
from tercelet.runtime.clouds import detector_points
from tercelet.runtime.sources.rgbd import read_rgbd, rgbd_files

WORKER = Path(__file__).with_name("points_worker.py")
NATIVE_RUNS = 5
WARM_UP = 1
EXACT_SEARCHES = ("sort", "topk")
# Metres and radians. Rounding may tip a decision, and then another proposal stands in a place.
SAME_BOX = 1e-3
MOST_OTHER_BOXES = 0.02
Way = Callable[[], tuple[float, Array | None]]


class Peer:
    """The running worker."""

    def __init__(self, python: Path, xyz: Array, centre: Array, folder: Path) -> None:
        np.savez(folder / "cloud.npz", xyz=xyz, centre=centre)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [str(python), str(WORKER), str(folder / "cloud.npz")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one_thread},
        )
        self.versions: dict[str, str] = self._receive()["versions"]

    def run(self, way: str, **request: Any) -> tuple[float, Array | None]:
        """Seconds, and the indices where they can be compared."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"way": way, **request}) + "\n")
        self._process.stdin.flush()
        got = self._receive()
        return got["seconds"], None if got["index"] is None else np.asarray(got["index"], np.int32)

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{WORKER.name} ended with status {self._process.wait()}; see its messages above"
            )
        got: dict[str, Any] = json.loads(line)
        return got


def ours(op: str, case: Case, library: Path | None) -> Way:
    """A form of an op in ONNX Runtime: native with a library, else its body."""
    spec = OPS[op]
    model = model_of(spec, case, form="" if library else "standard")
    runner, feeds = open_runner(model, library=library, threads=1), feeds_of(spec, case)

    def run() -> tuple[float, Array | None]:
        spent, outputs = [], {}
        for _ in range(NATIVE_RUNS if library else 1):
            start = time.process_time()
            outputs = runner.run(feeds)
            spent.append(time.process_time() - start)
        return float(np.median(spent)), outputs["index"][0]

    return run


def measure(ways: Mapping[str, Way], expected: Array, rounds: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of every round; ends the program where indices differ."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(WARM_UP + rounds):
        for name, way in ways.items():
            seconds, index = way()
            if index is not None and not np.array_equal(index, expected):
                raise SystemExit(
                    f"{name}: {int((index != expected).sum())} indices differ from the reference"
                )
            if number >= WARM_UP:
                spent[name].append(1e3 * seconds)
    return {name: np.asarray(values) for name, values in spent.items()}


def summary(values: NDArray[np.float64]) -> list[float]:
    """Median and quartiles."""
    return [round(float(np.percentile(values, q)), 3) for q in (50, 25, 75)]


def report(title: str, spent: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Print and return one op."""
    print(title)
    result: dict[str, Any] = {}
    for name, values in spent.items():
        ms, ratio = summary(values), summary(values / spent["native"])
        result[name] = {"ms": ms, "native_is_faster": ratio}
        text = f"  {name:<18}{ms[0]:9.3f} ms ({ms[1]:.3f}..{ms[2]:.3f})"
        if name != "native":
            text += f"   native is {ratio[0]:.1f} times as fast ({ratio[1]:.1f}..{ratio[2]:.1f})"
        print(text, flush=True)
    return result


def cloud_from(source: Path | None, points: int) -> Array:
    """(1, points, 4): x, y, z, height of a frame, or of a drawn room."""
    if source is None:
        return detector_points(cloud_of("benchmark", (1, points))[0], points)[None]
    return detector_points(read_rgbd(rgbd_files(source)[0]).cloud.points, points)[None]


def check_indices(tower: TorchTower, cloud: Array) -> None:
    """Print how full the balls are; ends the program where torch's plain search finds other points."""
    expected = tower.indices(cloud)
    balls = [found for found in expected if found.ndim == 3]
    print("slots that repeat the first hit: " + ", ".join(f"{padded_share(ball):.0%}" for ball in balls))
    for search in SEARCHES:
        pairs = zip(tower.indices(cloud, search), expected, strict=True)
        differing = sum(int((got != wanted).sum()) for got, wanted in pairs)
        print(f"torch, {search}: {differing} of {sum(found.size for found in expected)} indices differ")
        if differing and search in EXACT_SEARCHES:
            raise SystemExit("expected the indices of the op kit")


def measure_tower(
    checkpoint: Path, bundle: Path, cloud: Array, library: Path, rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of every round; ends the program where boxes differ."""
    tower = TorchTower(checkpoint, threads=1)
    check_indices(tower, cloud)
    model = (bundle / "model.onnx").read_bytes()
    runners = {
        "native": open_runner(model, library=library, threads=1),
        "bodies": open_runner(model, threads=1),
    }
    outputs: dict[str, Array] = {}

    def graph(name: str) -> float:
        start = time.process_time()
        outputs[name] = next(iter(runners[name].run({runners[name].inputs[0]: cloud}).values()))
        return time.process_time() - start

    def torch_way(search: str) -> float:
        spent, (outputs[f"torch, {search}"], *_) = tower.run(cloud, search)
        return spent

    spent: dict[str, list[float]] = {}
    for number in range(WARM_UP + rounds):
        times = {"native": float(np.median([graph("native") for _ in range(NATIVE_RUNS)]))}
        times["bodies"] = graph("bodies")
        times |= {f"torch, {search}": torch_way(search) for search in SEARCHES}
        if number >= WARM_UP:
            for name, seconds in times.items():
                spent.setdefault(name, []).append(1e3 * seconds)
    for name in ("bodies", *(f"torch, {search}" for search in EXACT_SEARCHES)):
        far = float((np.abs(outputs[name] - outputs["native"]).max(axis=2) > SAME_BOX).mean())
        print(f"{name}: {far:.1%} of the boxes differ by more than {SAME_BOX} from the native graph's")
        if far > MOST_OTHER_BOXES:
            raise SystemExit("expected the same boxes")
    return {name: np.asarray(values) for name, values in spent.items()}


def against_peers(options: argparse.Namespace, library: Path) -> dict[str, Any]:
    """Sampling and ball query."""
    xyz = cloud_of("benchmark", (1, options.points))
    request = {"count": options.centres, "radius": options.radius, "samples": options.samples}
    sampling = Case("", (xyz,), {"count": options.centres, "ties": "lowest"})
    index = OPS["FurthestPointSample"].reference(*sampling.inputs, **sampling.attributes)
    centre = np.take_along_axis(xyz, index.astype(np.int64)[..., None], 1)
    grouping = Case(
        "", (xyz, centre), {"radius": options.radius, "samples": options.samples, "min_radius": 0.0}
    )
    balls = OPS["BallQuery"].reference(*grouping.inputs, **grouping.attributes)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(options.peer_python.absolute(), xyz[0], centre[0], Path(folder))
        results["versions"] = peer.versions
        print(", ".join(f"{name} {number}" for name, number in peer.versions.items()))
        ways = {
            "native": ours("FurthestPointSample", sampling, library),
            "body": ours("FurthestPointSample", sampling, None),
            "fpsample": lambda: peer.run("fpsample", **request),
            "fpsample buckets": lambda: peer.run("fpsample buckets", **request),
        }
        title = f"furthest point sampling, {options.points} to {options.centres}"
        results["sampling"] = report(title, measure(ways, index[0], options.rounds))
        ways = {
            "native": ours("BallQuery", grouping, library),
            "body": ours("BallQuery", grouping, None),
            "cKDTree": lambda: peer.run("cKDTree", **request),
        }
        title = f"ball query, {options.centres} balls of {options.radius} among {options.points}"
        results["balls"] = report(title, measure(ways, balls[0], options.rounds))
        peer.close()
    return results


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--points", type=int, default=20000)
    parser.add_argument("--centres", type=int, default=2048)
    parser.add_argument("--radius", type=float, default=0.2)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.peer_python is None and options.checkpoint is None:
        parser.error("expected --peer-python, or --checkpoint with --bundle")
    if (options.checkpoint is None) != (options.bundle is None):
        parser.error("--checkpoint and --bundle go together")
    library = build_library(report=print).path
    results: dict[str, Any] = {"settings": {key: str(value) for key, value in vars(options).items()}}
    print(f"{options.rounds} rounds, one thread, load average {os.getloadavg()[0]:.1f}")
    if options.checkpoint:
        cloud = cloud_from(options.source, options.points)
        spent = measure_tower(options.checkpoint, options.bundle, cloud, library, options.rounds)
        results["tower"] = report(f"votenet on {options.points} points", spent)
    if options.peer_python:
        results |= against_peers(options, library)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
