"""What a fresh process does so that its start and its memory can be measured; light, as its imports count.

Started by cold_start.py. Each function returns what is printed as one JSON line. `at` is perf_counter, whose
zero is the machine's and not the process's, so that the parent can subtract the time at which it started us.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

MEMORY_FRAMES = 3


def first_result(bundle: str, frame: str, options: dict[str, Any]) -> dict[str, float]:
    """Open the bundle as users do, golden pair included, read the frame and detect once.

    frame: an .npy file or a picture, for a detector of clouds a cloud or a folder of RGB-D. options: threads,
    spinning and device of open_pipeline. Returns `at` and `cpu` in seconds: when the detections were there,
    and the CPU time of this process until then.
    """
    from tercelet.runtime import vision
    from tercelet.runtime.opening import open_pipeline

    vision.limit_threads(options.get("threads"))
    with open_pipeline(bundle, **options) as detect:
        detect(_taken(bundle, frame))
        return {"at": time.perf_counter(), "cpu": time.process_time()}


def memory_use(
    bundle: str, frame: str, options: dict[str, Any], packages: Sequence[str]
) -> dict[str, int | None]:
    """Bytes resident after importing `packages`, after opening the bundle, and at the peak above that.

    The golden pair is not run: it would raise the memory before the mark is set. peak_above_loaded is None
    where the high-water mark cannot be reset.
    """
    from tercelet.runtime import vision
    from tercelet.runtime.memory_mark import peak_bytes, reset_peak, resident_bytes
    from tercelet.runtime.opening import open_pipeline

    vision.limit_threads(options.get("threads"))
    for name in packages:
        importlib.import_module(name)
    taken = _taken(bundle, frame)
    before = resident_bytes()
    with open_pipeline(bundle, check_golden=False, **options) as detect:
        reset = reset_peak()
        loaded = resident_bytes()
        for _ in range(MEMORY_FRAMES):
            detect(taken)
        peak = peak_bytes()
    return {
        "loaded": loaded,
        "model": _difference(loaded, before),
        "peak_above_loaded": _difference(peak, loaded) if reset else None,
    }


def _taken(bundle: str, frame: str) -> Any:
    """The frame as the bundle's pipeline takes it."""
    from tercelet.contract.artefact import read_manifest
    from tercelet.runtime import vision

    if read_manifest(bundle).pipeline != "rgbd":
        return vision.read_image(frame)
    from tercelet.runtime.sources.rgbd import read_rgbd, rgbd_files

    return read_rgbd(rgbd_files(frame)[0])


def _difference(larger: int | None, smaller: int | None) -> int | None:
    return None if larger is None or smaller is None else max(larger - smaller, 0)


def main() -> None:
    """Run one of the functions above by the name and arguments in sys.argv, and print what it returns."""
    tasks = {"first_result": first_result, "memory_use": memory_use}
    task = tasks[sys.argv[1]]
    print(json.dumps(task(**json.loads(sys.argv[2]))), flush=True)  # type: ignore[operator]
