"""Furthest point sampling and ball query: native kernels, the bodies in standard operators, fpsample, scipy.

    python benchmarks/bench_points.py --peer-python PEER/bin/python [--points 20000] [--centres 2048]

PEER: an environment with fpsample and scipy. native: the kernels that tercelet build-ops builds. body: the op
in standard operators, in ONNX Runtime. fpsample: its plain form, from point 0. fpsample buckets: its quickest
exact form (bucket_fps_kdline_sampling, h 5), whose start is random. cKDTree: a tree, everything in each ball
sorted by index, the first 64. Indices of all but fpsample buckets are compared with the numpy reference. All
run in turn within a round, on one thread, so that what else the machine does hits all alike; the native
kernels run five times a round, of which the median counts. Ratios are taken round by round.
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

from tercelet.contract.op_spec import Array, Case
from tercelet.export.op_conformance import feeds_of
from tercelet.export.op_support import model_of
from tercelet.ops import OPS
from tercelet.ops.building import build_library
from tercelet.ops.furthest_point_sample.cases import cloud_of
from tercelet.runtime.backends.onnxruntime import open_runner

WORKER = Path(__file__).with_name("points_worker.py")
NATIVE_RUNS = 5
WARM_UP = 1
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
            start = time.perf_counter()
            outputs = runner.run(feeds)
            spent.append(time.perf_counter() - start)
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


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--points", type=int, default=20000)
    parser.add_argument("--centres", type=int, default=2048)
    parser.add_argument("--radius", type=float, default=0.2)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    library = build_library(report=print).path
    xyz = cloud_of("benchmark", (1, options.points))
    request = {"count": options.centres, "radius": options.radius, "samples": options.samples}
    sampling = Case("", (xyz,), {"count": options.centres, "ties": "lowest"})
    index = OPS["FurthestPointSample"].reference(*sampling.inputs, **sampling.attributes)
    centre = np.take_along_axis(xyz, index.astype(np.int64)[..., None], 1)
    grouping = Case(
        "", (xyz, centre), {"radius": options.radius, "samples": options.samples, "min_radius": 0.0}
    )
    balls = OPS["BallQuery"].reference(*grouping.inputs, **grouping.attributes)
    results: dict[str, Any] = {"settings": {key: str(value) for key, value in vars(options).items()}}
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(options.peer_python.absolute(), xyz[0], centre[0], Path(folder))
        results["versions"] = peer.versions
        print(", ".join(f"{name} {number}" for name, number in peer.versions.items()), end="; ")
        print(f"{options.rounds} rounds, one thread, load average {os.getloadavg()[0]:.1f}")
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
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
