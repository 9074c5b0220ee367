"""Cold start and memory of a bundle, measured in processes of their own; the parent's side."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tercelet.contract.errors import CheckFailedError

REPEATS = 3
# What a program that detects objects loads anyhow; a start is compared with importing these alone.
PACKAGES = ("numpy", "onnxruntime", "cv2")
# An entry "" would let a file of the working folder stand in for a package.
_SAFE_PATH = "import sys; sys.path[:] = [entry for entry in sys.path if entry]; "


@dataclass(frozen=True)
class StartCost:
    """From starting the interpreter to the last step, milliseconds: medians, and each run."""

    wall_ms: float
    cpu_ms: float
    wall_runs_ms: tuple[float, ...]
    cpu_runs_ms: tuple[float, ...]


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a fresh process; None where the system does not tell.

    loaded: with the bundle open. model: the part of it that opening it took, the engine's own included.
    peak_above_loaded: what a frame adds while it is worked on.
    """

    loaded_bytes: int | None
    model_bytes: int | None
    peak_above_loaded_bytes: int | None


def installed_packages() -> tuple[str, ...]:
    """Those of PACKAGES that can be imported here."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is not None)


def measure_starts(
    bundles: Sequence[Path],
    *,
    frame: Path,
    options: dict[str, Any],
    repeats: int = REPEATS,
    advance: Callable[[], None] = lambda: None,
) -> tuple[StartCost, list[StartCost]]:
    """Cold start of importing the packages alone, and of each bundle until its first detections.

    frame: an .npy file or a picture, read by the fresh process. options: threads, spinning, device. The
    processes take turns, and every second turn goes backwards. advance: called after each process.
    Raises CheckFailedError where a process fails.
    """
    imports = _SAFE_PATH + "import importlib\nfor name in sys.argv[2:]: importlib.import_module(name)\n"
    imports += "import json, time; print(json.dumps({'at': time.perf_counter(), 'cpu': time.process_time()}))"
    jobs = [(imports, ("imports", *installed_packages()))]
    for bundle in bundles:
        arguments = {"bundle": str(bundle), "frame": str(frame), "options": options}
        jobs.append((_task(), ("first_result", json.dumps(arguments))))
    runs: list[list[tuple[float, float]]] = [[] for _ in jobs]
    for turn in range(repeats):
        numbered = list(enumerate(jobs))
        for index, (program, words) in numbered if turn % 2 == 0 else reversed(numbered):
            started = time.perf_counter()
            answer = _run(program, words)
            runs[index].append(((answer["at"] - started) * 1e3, answer["cpu"] * 1e3))
            advance()
    costs = [_cost(samples) for samples in runs]
    return costs[0], costs[1:]


def measure_memory(bundle: Path, *, frame: Path, options: dict[str, Any]) -> Memory:
    """Memory of a fresh process that opens the bundle and detects; arguments as measure_starts."""
    arguments = {
        "bundle": str(bundle),
        "frame": str(frame),
        "options": options,
        "packages": installed_packages(),
    }
    answer = _run(_task(), ("memory_use", json.dumps(arguments)))
    return Memory(answer["loaded"], answer["model"], answer["peak_above_loaded"])


def _task() -> str:
    return _SAFE_PATH + "from tercelet.runtime.fresh_process import main; main()"


def _run(program: str, words: Sequence[str]) -> Any:
    outcome = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    lines = outcome.stdout.splitlines()
    if outcome.returncode or not lines:
        said = outcome.stderr.strip().splitlines()
        last = said[-1] if said else f"exit code {outcome.returncode}"
        raise CheckFailedError(f"a fresh process for {words[0]!r} failed: {last}; see tercelet doctor")
    return json.loads(lines[-1])


def _cost(samples: Sequence[tuple[float, float]]) -> StartCost:
    wall, cpu = zip(*samples, strict=True)
    return StartCost(median(wall), median(cpu), tuple(wall), tuple(cpu))
