"""From nothing to the first box: what `tercelet run` costs on one picture, beside others, in fresh processes.

    python benchmarks/bench_cold_start.py BUNDLE PICTURE
    python benchmarks/bench_cold_start.py BUNDLE PICTURE --peer-python PYTHON --peer-model MODEL.onnx

Runs in turn, ABAB: `tercelet --help`, an interpreter that imports numpy, onnxruntime and cv2 and nothing
more, `tercelet run`, and with the last two options ultralytics' own prediction on an ONNX file it exported,
from Python and by its command, in an environment of its own. Prints medians and quartiles of wall time, CPU
time and peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

IMPORTS = "import numpy, onnxruntime, cv2"
PEER = """
import sys
from ultralytics import YOLO
print(len(YOLO(sys.argv[1], task="detect")(sys.argv[2], verbose=False)[0]))
"""


def measured(command: list[str]) -> dict[str, float]:
    """Wall and CPU milliseconds and peak resident MB of one process, children included."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed with {process.returncode}: {' '.join(command)}")
    return {
        "wall_ms": wall * 1e3,
        "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = statistics.quantiles(values, n=4)
    return {"median": statistics.median(values), "q1": low, "q3": high}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with ultralytics")
    parser.add_argument("--peer-model", type=Path, help="ONNX file that ultralytics exported")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    program = str(Path(sys.executable).with_name("tercelet"))
    ways = {
        "tercelet --help": [program, "--help"],
        "imports alone": [sys.executable, "-c", IMPORTS],
        "tercelet run": [program, "run", str(arguments.bundle), str(arguments.picture)],
    }
    if arguments.peer_python:
        peer = [str(arguments.peer_python), "-c", PEER]
        ways["ultralytics"] = [*peer, str(arguments.peer_model), str(arguments.picture)]
        command = [str(arguments.peer_python.with_name("yolo")), "predict", "task=detect", "save=False"]
        ways["yolo predict"] = [*command, f"model={arguments.peer_model}", f"source={arguments.picture}"]
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for index in range(arguments.rounds + 1):
        for name, command in ways.items():
            result = measured(command)
            if index:  # the first round fills the file cache
                samples[name].append(result)
    report = {
        name: {key: summary([run[key] for run in runs]) for key in ("wall_ms", "cpu_ms", "peak_mb")}
        for name, runs in samples.items()
    }
    print(f"{arguments.rounds} rounds, median (quartiles)")
    print(f"{'':<16}{'wall ms':>20}{'CPU ms':>20}{'peak MB':>10}")
    for name, row in report.items():
        cells = [
            f"{row[k]['median']:.0f} ({row[k]['q1']:.0f}..{row[k]['q3']:.0f})" for k in ("wall_ms", "cpu_ms")
        ]
        print(f"{name:<16}{cells[0]:>20}{cells[1]:>20}{row['peak_mb']['median']:>10.0f}")
    extra = [
        a["cpu_ms"] - b["cpu_ms"]
        for a, b in zip(samples["tercelet run"], samples["imports alone"], strict=True)
    ]
    print(f"CPU time above the imports: {statistics.median(extra):.0f} ms")
    for peer_name in [name for name in ("ultralytics", "yolo predict") if name in samples]:
        for key in ("wall_ms", "cpu_ms", "peak_mb"):
            ratios = [
                p[key] / o[key] for p, o in zip(samples[peer_name], samples["tercelet run"], strict=True)
            ]
            spread = summary(ratios)
            quartiles = f"({spread['q1']:.1f}..{spread['q3']:.1f})"
            print(f"{peer_name} / tercelet run, {key}: {spread['median']:.1f} {quartiles}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
