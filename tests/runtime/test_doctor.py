"""doctor: every check finds its fault when the fault is really planted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tercelet.runtime import diagnosis, doctor
from tercelet.runtime.checks import environment as environments
from tercelet.runtime.checks import trials
from tercelet.runtime.checks.environment import Environment, Finding, Outcome
from tercelet.runtime.checks.packages import Requirement, check_extra, requirements_of
from tercelet.runtime.command_line import main

MIB = 1 << 20
CHECKS = dict(diagnosis.CHECKS)
Plant = Callable[[Path], Environment]


def here(folder: Path, **variables: str) -> Environment:
    """This environment with `folder` in front of everything: packages, distributions and variables."""
    return Environment(
        search_path=(str(folder), *sys.path), variables={**os.environ, "PYTHONPATH": str(folder), **variables}
    )


def bare(folder: Path) -> Environment:
    """An environment in which nothing at all is installed."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    return Environment(search_path=(str(empty),), variables={"PATH": str(empty)})


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def package(name: str, text: str) -> Plant:
    """A package of that name and text stands in front of the real one."""

    def plant(folder: Path) -> Environment:
        write(folder / name / "__init__.py", text)
        return here(folder)

    return plant


def distributions(*names: str, version: str = "99.0", verb: str | None = None) -> Plant:
    """Distributions of these names are installed, as far as their metadata go."""

    def plant(folder: Path) -> Environment:
        for name in names:
            info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
            write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            if verb:
                write(info / "entry_points.txt", f"[tercelet.commands]\nplanted = {verb}\n")
        return here(folder)

    return plant


def programs(scripts: dict[str, str], **variables: str) -> Plant:
    """PATH holds these shell scripts and nothing else."""

    def plant(folder: Path) -> Environment:
        for name, text in scripts.items():
            write(folder / "bin" / name, f"#!/bin/sh\n{text}\n").chmod(0o755)
        return here(folder, PATH=str(folder / "bin"), **variables)

    return plant


def files(**texts: str) -> Plant:
    """A root with a /proc and /sys of our own."""

    def plant(folder: Path) -> Environment:
        for name, text in texts.items():
            write(folder / "root" / PLACES[name], text)
        return replace(here(folder), root=folder / "root")

    return plant


PLACES = {
    "meminfo": "proc/meminfo",
    "memory_max": "sys/fs/cgroup/memory.max",
    "memory_current": "sys/fs/cgroup/memory.current",
    "cpu_max": "sys/fs/cgroup/cpu.max",
}
RAISES = "raise ImportError('planted')"
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
WRONG_ENGINE = """
import numpy
__version__ = "0.0"
class InferenceSession:
    def __init__(self, *words, **named): pass
    def run(self, *words): return [numpy.zeros(2)]
"""
WRONG_OPENCV = """
INTER_LINEAR = 1
def resize(source, size, dst=None, interpolation=None): return dst
"""
ROOM = "MemAvailable: 9999999 kB"
P, W = "problem", "warning"
FAULTS: list[tuple[str, str, Plant, str, str, str]] = [
    ("python.version", "old", lambda f: replace(bare(f), python=(3, 9, 18)), P, "3.9.18", "3.10"),
    ("numpy.installed", "missing", bare, P, "numpy is not installed", "pip install"),
    ("numpy.installed", "old", distributions("numpy", version="1.20.1"), P, "older than 1.26", "pip"),
    ("numpy.installed", "broken", package("numpy", RAISES), P, "planted", "--force-reinstall"),
    ("onnxruntime.installed", "missing", bare, P, "onnxruntime is not installed", "tercelet[cpu]"),
    (
        "onnxruntime.installed", "old", distributions("onnxruntime", version="1.9rc1"), P,
        "onnxruntime 1.9rc1 is older than 1.23", "tercelet[cpu]",
    ),
    (
        "onnxruntime.conflict", "both", distributions("onnxruntime", "onnxruntime-gpu"), P,
        "onnxruntime 99.0 and onnxruntime-gpu 99.0 are both", "pip uninstall onnxruntime onnxruntime-gpu",
    ),
    ("onnxruntime.runs", "missing", bare, P, "not installed", "tercelet[cpu]"),
    ("onnxruntime.runs", "broken", package("onnxruntime", RAISES), P, "planted", "--force-reinstall"),
    ("onnxruntime.runs", "dies", package("onnxruntime", DIES), P, "killed by SIGILL", "CPU"),
    ("onnxruntime.runs", "wrong", package("onnxruntime", WRONG_ENGINE), P, "gave [0.0, 0.0]", "reinstall"),
    ("vision.installed", "missing", bare, W, "not installed", "tercelet[vision]"),
    (
        "vision.installed", "both", distributions("opencv-python", "opencv-python-headless"), W,
        "overwrite each other", "pip uninstall opencv-python-headless opencv-python,",
    ),
    ("vision.installed", "broken", package("cv2", RAISES), P, "planted", "opencv-python-headless"),
    ("vision.installed", "wrong", package("cv2", WRONG_OPENCV), P, "grey 128 to values [0]", "reinstall"),
    ("vision.codecs", "missing", bare, W, "not installed", "tercelet[vision]"),
    ("vision.codecs", "broken", package("cv2", RAISES), W, "planted", "tercelet[vision]"),
    ("extra.evaluate", "missing", bare, W, "faster-coco-eval is not installed", "'tercelet[evaluate]'"),
    ("extra.evaluate", "broken", package("faster_coco_eval", RAISES), W, "planted", "--force-reinstall"),
    ("extra.train", "missing", bare, W, "torch is not installed", "pip install 'tercelet[train]'"),
    ("extra.train", "old", distributions("torch", version="2.1"), W, "torch 2.1 is older", "tercelet[train]"),
    ("extra.export", "missing", bare, W, "onnxscript is not installed", "pip install 'tercelet[export]'"),
    ("extra.export", "broken", package("onnx", RAISES), W, "planted", "tercelet[export]"),
    ("compiler.cxx", "missing", bare, W, "no C++ compiler (g++, c++, clang++)", "apt install g++"),
    ("compiler.cxx", "CXX", lambda f: here(f, CXX="no-such"), W, "no C++ compiler (CXX=no-such)", "apt"),
    ("compiler.cxx", "fails", programs({"c++": "echo no header >&2; exit 1"}), W, "no header", "libc6-dev"),
    ("compiler.cxx", "foreign", programs({"g++": ": > $4"}), W, "does not run", "another machine"),
    ("compiler.cmake", "missing", bare, W, "no CMake", "apt install cmake"),
    ("compiler.cmake", "fails", programs({"cmake": "exit 3"}), W, "exit code 3", "reinstall"),
    ("memory.free", "none", files(meminfo="MemAvailable: 102400 kB"), P, "100 MiB", "end other programs"),
    ("memory.free", "little", files(meminfo="MemAvailable: 512000 kB"), W, "500 MiB", "larger machine"),
    (
        "memory.free", "container",
        files(meminfo=ROOM, memory_max=str(300 * MIB), memory_current=str(200 * MIB)),
        P, "100 MiB", "end other programs",
    ),
    ("disk.free", "full", lambda f: replace(here(f), disk_free=lambda p: MIB), P, "1 MiB", "make room"),
    ("disk.free", "little", lambda f: replace(here(f), disk_free=lambda p: 99 * MIB), W, "99 MiB", "TMPDIR"),
    ("disk.free", "no folder", lambda f: replace(here(f), scratch=f / "no"), P, "cannot be", "TMPDIR"),
    (
        "threads.oversubscription", "OMP", lambda f: here(f, OMP_NUM_THREADS="4096"), W,
        "OMP_NUM_THREADS=4096", "unset OMP_NUM_THREADS",
    ),
    (
        "threads.oversubscription", "active", lambda f: here(f, OMP_WAIT_POLICY="ACTIVE"), W,
        "OMP_WAIT_POLICY=active", "passive",
    ),
    ("entrypoints.verbs", "none", bare, P, "no verb", "install tercelet anew"),
    (
        "entrypoints.verbs", "missing", distributions("other", verb="no_such_module"), P,
        "planted (no_such_module: ModuleNotFoundError", "anew",
    ),
    (
        "entrypoints.verbs", "none of it", distributions("other", verb="json"), P,
        "planted (json has no SUMMARY)", "anew",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "plant", "status", "found", "remedy"),
    [(row[0], *row[2:]) for row in FAULTS],
    ids=[f"{row[0]}-{row[1]}" for row in FAULTS],
)
def test_a_planted_fault_is_found(
    tmp_path: Path, check: str, plant: Plant, status: str, found: str, remedy: str
) -> None:
    finding = CHECKS[check](plant(tmp_path))
    assert finding.status == status
    assert found in finding.found
    assert remedy in finding.remedy


HEALTHY: list[tuple[str, Plant]] = [
    ("python.version", here),
    ("numpy.installed", here),
    ("onnxruntime.installed", here),
    ("onnxruntime.conflict", here),
    ("onnxruntime.conflict", bare),
    ("onnxruntime.runs", here),
    ("vision.installed", here),
    ("vision.codecs", here),
    ("extra.evaluate", here),
    ("memory.free", files(meminfo=ROOM)),
    ("memory.free", files(meminfo="")),
    ("memory.free", files(meminfo=ROOM, memory_max="max", memory_current="1")),
    ("disk.free", lambda folder: replace(here(folder), disk_free=lambda path: 1 << 40)),
    (
        "threads.oversubscription",
        lambda f: here(f, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", MKL_NUM_THREADS="x"),
    ),
]


@pytest.mark.parametrize(("check", "plant"), HEALTHY)
def test_a_sound_environment_has_nothing_to_remedy(tmp_path: Path, check: str, plant: Plant) -> None:
    finding = CHECKS[check](plant(tmp_path))
    assert (finding.status, finding.remedy) == ("ok", ""), finding
    assert finding.found


def test_every_check_has_a_planted_fault_and_a_line_in_the_documentation() -> None:
    elsewhere = {"cuda.driver"}
    assert {row[0] for row in FAULTS} | elsewhere == set(CHECKS)
    assert len(CHECKS) == len(diagnosis.CHECKS)
    for name in CHECKS:
        assert f"\n    {name}" in (diagnosis.__doc__ or "")


def test_a_quota_below_the_cores_is_found(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core cannot be more than a quota allows")
    finding = CHECKS["threads.oversubscription"](files(cpu_max="100000 100000")(tmp_path))
    assert finding.status == "warning"
    assert "a quota allows 1 cores" in finding.found
    assert "--threads 1" in finding.remedy


def test_a_compiler_and_cmake_that_work_are_named(tmp_path: Path) -> None:
    if not shutil.which("g++") or not shutil.which("cmake"):
        pytest.skip("needs g++ and cmake")
    assert CHECKS["compiler.cxx"](here(tmp_path)).status == "ok"
    assert "cmake version" in CHECKS["compiler.cmake"](here(tmp_path)).found


DRIVER = """
int cuInit(unsigned flags) { return %d; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetName(char *name, int length, int device) { name[0] = 'G'; name[1] = 0; return 0; }
"""


def driver(folder: Path, code: int) -> Path:
    """A library with the functions of the CUDA driver that doctor calls."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler to make a driver")
    source = write(folder / "driver.c", DRIVER % code)
    library = folder / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library


def test_a_driver_that_does_not_start_is_found(tmp_path: Path) -> None:
    library = driver(tmp_path, 999)
    finding = CHECKS["cuda.driver"](here(tmp_path, LD_LIBRARY_PATH=str(tmp_path)))
    assert finding.status == "warning"
    assert "cuInit failed with error 999" in finding.found
    assert "nvidia-smi" in finding.remedy
    with pytest.raises(RuntimeError, match="cuInit failed with error 999"):
        trials.query_cuda(str(library))


def test_a_driver_that_starts_names_its_device(tmp_path: Path) -> None:
    library = driver(tmp_path, 0)
    finding = CHECKS["cuda.driver"](here(tmp_path, LD_LIBRARY_PATH=str(tmp_path)))
    assert finding == Finding("ok", "1 x G, CUDA 12.6")
    assert trials.query_cuda("no-such-library.so", str(library)) == "1 x G, CUDA 12.6"


def test_without_a_driver_only_the_gpu_engine_is_a_warning(tmp_path: Path) -> None:
    if trials.query_cuda() != "absent":
        pytest.skip("this machine has a CUDA driver")
    assert CHECKS["cuda.driver"](here(tmp_path)).status == "ok"
    finding = CHECKS["cuda.driver"](distributions("onnxruntime-gpu")(tmp_path))
    assert finding.status == "warning"
    assert "onnxruntime-gpu is installed" in finding.found


def test_the_embedded_graph_is_what_its_comment_says() -> None:
    model = onnx.load_from_string(trials.TINY_GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (10, 18)
    session = onnxruntime.InferenceSession(trials.TINY_GRAPH, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([3, 4], np.float32)})[0].tolist() == [6.0, 8.0]


def test_every_trial_runs_in_this_process_too(tmp_path: Path) -> None:
    assert trials.multiply_matrices() == f"numpy {np.__version__}"
    assert "ran a graph" in trials.run_tiny_graph()
    assert "resized" in trials.resize_picture()
    assert "mp4v" in trials.round_trip_files(str(tmp_path))
    assert trials.import_packages("json", "math") == "json, math"


def test_a_picture_that_comes_back_changed_is_an_error() -> None:
    frame = np.full((4, 4, 3), trials.GREY, np.uint8)
    trials._compare(frame + trials.GREY_TOLERANCE, frame, "near")
    for other in (frame + trials.GREY_TOLERANCE + 1, frame[:2]):
        with pytest.raises(ValueError, match="far: came back as another picture"):
            trials._compare(other, frame, "far")


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome(1, "", ""), "exit code 1"),
        (Outcome(1, "said\nlast", ""), "last"),
        (Outcome(1, "said", "warned\nbroke\n"), "broke"),
        (Outcome(-9, "", "x"), "killed by SIGKILL"),
        (Outcome(-200, "", ""), "killed by signal 200"),
    ],
)
def test_the_reason_is_the_last_thing_a_program_said(outcome: Outcome, reason: str) -> None:
    assert outcome.reason == reason


def test_a_program_that_is_missing_or_does_not_end_is_an_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here(tmp_path).run([str(tmp_path / "none")]).code == 127
    monkeypatch.setattr(environments, "TIMEOUT_S", 0.2)
    outcome = here(tmp_path).run_python("import time; time.sleep(60)")
    assert (outcome.code, outcome.reason) == (124, "no end within 0.2 s")


def test_requirements_come_from_the_installed_metadata() -> None:
    assert requirements_of("cpu") == (Requirement("onnxruntime", "1.23"),)
    assert requirements_of("") == (Requirement("numpy", "1.26"),)
    assert Requirement("opencv-python-headless", "4.8").module == "cv2"
    assert Requirement("faster-coco-eval", "").module == "faster_coco_eval"
    assert requirements_of("no-such-extra") == ()


def test_an_extra_that_the_metadata_do_not_know_is_a_warning(tmp_path: Path) -> None:
    finding = check_extra("no-such-extra", "nothing is")(here(tmp_path))
    assert finding.status == "warning"
    assert "knows no extra 'no-such-extra'" in finding.found


def test_where_everything_is_missing_every_check_still_answers(tmp_path: Path) -> None:
    def fail(folder: Path) -> int:
        raise ValueError("planted")

    found = doctor(environment=replace(bare(tmp_path), disk_free=fail))
    assert [check.id for check in found.checks] == [name for name, _ in diagnosis.CHECKS]
    assert found.status == "problem"
    by_id = {check.id: check for check in found.checks}
    assert by_id["disk.free"].status == "problem"
    assert "the check itself failed: ValueError: planted" in by_id["disk.free"].found
    assert by_id["python.version"].status == "ok"
    assert all(check.remedy for check in found.checks if check.status != "ok")


def test_both_engines_installed_end_with_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    distributions("onnxruntime-gpu")(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    target = tmp_path / "found.json"
    assert main(["doctor", "--json", str(target)]) == 3
    out, err = capsys.readouterr()
    assert "problem  onnxruntime.conflict" in out
    assert "-> pip uninstall onnxruntime onnxruntime-gpu" in out
    assert "doctor" in err
    found = json.loads(target.read_text())
    assert set(found) == {"status", "machine", "checks"}
    assert found["status"] == "problem"
    assert {frozenset(check) for check in found["checks"]} == {frozenset(("id", "status", "found", "remedy"))}
    ids = [check["id"] for check in found["checks"]]
    assert ids[: len(CHECKS)] == list(CHECKS)
    assert all(name.startswith("ops.") for name in ids[len(CHECKS) :])


def test_warnings_alone_end_with_code_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lightweight = tuple(
        row for row in diagnosis.CHECKS if row[0] in ("python.version", "threads.oversubscription")
    )
    monkeypatch.setattr(diagnosis, "CHECKS", lightweight)
    monkeypatch.setattr(diagnosis, "MORE_CHECKS", "nobody.announces.this")
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert main(["doctor", "--json", "-", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert [check["status"] for check in json.loads(out)["checks"]] == ["ok", "warning"]
    assert err == ""
