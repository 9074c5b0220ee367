"""The doctor's checks of the op kit: every op is run, once a backend. See tercelet.runtime.diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tercelet.ops.building import Backend, cached_library
from tercelet.runtime.checks.environment import Environment, Finding, Outcome

# benchmarks/bench_akconv.py: DeformConv over native, by layer, one and two threads.
COST = "AKConv layers take 1.1 to 2.6 times as long through standard operators"


def check_bodies(environment: Environment) -> Finding:
    """Ops through standard operators in ONNX Runtime: what every bundle can fall back on."""
    if not environment.is_importable("onnx"):
        return Finding("ok", "not run without the onnx package; every bundle brings its own bodies along")
    if not environment.is_importable("onnxruntime"):
        return Finding("warning", "onnxruntime is not installed", "pip install 'tercelet[cpu]'")
    outcome = _trial(environment, "run_bodies")
    if outcome.code:
        found = f"custom ops do not run through standard operators: {outcome.reason}"
        return Finding("warning", found, "pip install --upgrade onnxruntime onnx")
    return Finding("ok", outcome.output.strip())


def check_native(environment: Environment) -> Finding:
    """The native library for ONNX Runtime, on every small case of the table."""
    if not environment.is_importable("onnxruntime"):
        return Finding("warning", "onnxruntime is not installed", "pip install 'tercelet[cpu]'")
    library = cached_library("onnxruntime")
    if library is None:
        found = f"no native kernels of custom ops were built here: {COST}"
        return Finding("warning", found, "tercelet build-ops, or tercelet build-ops BUNDLE (g++ and CMake)")
    outcome = _trial(environment, "run_native", library)
    if outcome.code:
        found = f"the native kernels do not work, do not use them: {outcome.reason}"
        return Finding("problem", found, f"rm -r {library.parent}; tercelet build-ops")
    return Finding("ok", outcome.output.strip())


def check_torch(environment: Environment) -> Finding:
    """Ops in torch, which export and training need."""
    if not environment.is_importable("torch"):
        return Finding("ok", "torch is not installed; a device does not need it")
    outcome = _trial(environment, "run_torch")
    if outcome.code:
        return Finding(
            "warning", f"custom ops do not run in torch: {outcome.reason}", "pip install 'tercelet[train]'"
        )
    return Finding("ok", outcome.output.strip())


def check_gpu(environment: Environment) -> Finding:
    """Ops on the GPU, where there is one."""
    driver = environment.run_trial("query_cuda")
    if driver.code or driver.output.strip() == "absent":
        return Finding("ok", "no working NVIDIA driver; nothing was run on a GPU")
    return _check_built(environment, "cuda", "run_cuda")


def check_plugin(environment: Environment) -> Finding:
    """The TensorRT plugin, where it was built."""
    if cached_library("tensorrt") is None and not environment.is_importable("tensorrt"):
        return Finding("ok", "TensorRT is not here; no plugin was built")
    return _check_built(environment, "tensorrt", "load_plugin")


def _check_built(environment: Environment, backend: Backend, trial: str) -> Finding:
    library = cached_library(backend)
    remedy = f"tercelet build-ops --backend {backend}"
    if library is None:
        return Finding("warning", f"the ops were not built for {backend} here", remedy)
    outcome = _trial(environment, trial, library)
    if outcome.code:
        return Finding("problem", f"the ops built for {backend} do not work: {outcome.reason}", remedy)
    return Finding("ok", outcome.output.strip())


def _trial(environment: Environment, name: str, *words: Path) -> Outcome:
    program = f"from tercelet.export import op_trials; print(op_trials.{name}(*sys.argv[1:]))"
    return environment.run_python(program, *map(str, words))


CHECKS: tuple[tuple[str, Callable[[Environment], Finding]], ...] = (
    ("ops.onnxruntime.body", check_bodies),
    ("ops.onnxruntime.native", check_native),
    ("ops.torch", check_torch),
    ("ops.cuda", check_gpu),
    ("ops.tensorrt", check_plugin),
)
