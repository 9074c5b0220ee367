"""The verb `doctor`: what of this machine is ready, and what to do about the rest.

The ids are stable; scripts may rely on them:

    python.version             the interpreter is new enough
    numpy.installed            numpy is new enough and multiplies
    onnxruntime.installed      onnxruntime or onnxruntime-gpu is there and new enough
    onnxruntime.conflict       not both of them
    onnxruntime.runs           a graph of one node runs, and its numbers are right
    vision.installed           OpenCV resizes a picture, and is installed once
    vision.codecs              JPEG, PNG and mp4v are written and read back
    extra.evaluate             the packages of each extra are installed, new enough and import together
    extra.train
    extra.export
    compiler.cxx               a C++17 compiler builds a program that runs
    compiler.cmake             CMake runs
    cuda.driver                the CUDA driver, where there is one, starts
    memory.free                enough memory is free
    disk.free                  temporary files can be written, and there is room
    threads.oversubscription   no variable and no quota makes more threads than cores
    entrypoints.verbs          every announced verb of the command line loads

Other packages add theirs through the entry-point group tercelet.checks, each a tuple like CHECKS:

    ops.onnxruntime.body       every custom op runs through standard operators
    ops.onnxruntime.native     the native kernels, where they were built, pass their case table
    ops.torch                  custom ops run in torch, where it is installed
    ops.cuda                   custom ops run on the GPU, where there is one
    ops.tensorrt               the TensorRT plugin, where it was built, loads
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tercelet.runtime.checks import machine, packages, tools
from tercelet.runtime.checks.environment import Environment, Finding, Status
from tercelet.runtime.machine_identity import Machine, identify_machine
from tercelet.runtime.progress import Progress

CHECKS: tuple[tuple[str, Callable[[Environment], Finding]], ...] = (
    ("python.version", packages.check_python),
    ("numpy.installed", packages.check_numpy),
    ("onnxruntime.installed", packages.check_engine_installed),
    ("onnxruntime.conflict", packages.check_engine_conflict),
    ("onnxruntime.runs", packages.check_engine_runs),
    ("vision.installed", packages.check_vision_installed),
    ("vision.codecs", tools.check_codecs),
    ("extra.evaluate", packages.check_extra("evaluate", "tercelet evaluate is")),
    ("extra.train", packages.check_extra("train", "tercelet import is")),
    ("extra.export", packages.check_extra("export", "tercelet export is")),
    ("compiler.cxx", tools.check_compiler),
    ("compiler.cmake", tools.check_cmake),
    ("cuda.driver", machine.check_cuda),
    ("memory.free", machine.check_memory),
    ("disk.free", machine.check_disk),
    ("threads.oversubscription", machine.check_threads),
    ("entrypoints.verbs", tools.check_verbs),
)
MORE_CHECKS = "tercelet.checks"
_RANK: tuple[Status, ...] = ("ok", "warning", "problem")


@dataclass(frozen=True)
class CheckResult:
    """One check: its id of CHECKS, its status, what was found, and what to do ("" if nothing)."""

    id: str
    status: Status
    found: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """status: the worst of all checks. checks: in the order of CHECKS, then those of other packages."""

    status: Status
    machine: Machine
    checks: tuple[CheckResult, ...]


def doctor(*, environment: Environment | None = None, progress: bool = False) -> Diagnosis:
    """Run every check of CHECKS and of the packages above; none of them raises. environment: None for this
    machine as it is. progress: show it on stderr."""
    environment = environment or Environment()
    results = []
    checks = (*CHECKS, *_more_checks(environment))
    with Progress(len(checks), "doctor", silent=not progress) as bar:
        for name, check in checks:
            finding = _finding(check, environment)
            results.append(CheckResult(name, finding.status, finding.found, finding.remedy))
            bar.advance()
    worst = max((result.status for result in results), key=_RANK.index)
    return Diagnosis(worst, identify_machine(), tuple(results))


def _more_checks(environment: Environment) -> list[tuple[str, Callable[[Environment], Finding]]]:
    found: list[tuple[str, Callable[[Environment], Finding]]] = []
    for name, point in sorted(environment.entry_points(MORE_CHECKS).items()):
        try:
            found += point.load()
        except Exception as error:  # a foreign package's module may raise anything when it is imported
            found.append((f"{name}.load", _unloadable(point.value, error)))
    return found


def _unloadable(value: str, error: Exception) -> Callable[[Environment], Finding]:
    said = f"its checks ({value}) cannot be loaded: {type(error).__name__}: {error}"
    return lambda environment: Finding("warning", said, "install the package that they come from anew")


def _finding(check: Callable[[Environment], Finding], environment: Environment) -> Finding:
    try:
        return check(environment)
    except Exception as error:  # a doctor must come to the end of the list, whatever is broken
        return Finding(
            "problem",
            f"the check itself failed: {type(error).__name__}: {error}",
            "look at what it names, run again",
        )
