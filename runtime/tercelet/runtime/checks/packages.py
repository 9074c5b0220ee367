"""Python and the packages: installed, new enough, not over each other, and importable."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from dataclasses import dataclass

from tercelet.runtime.checks.environment import Environment, Finding

OLDEST_PYTHON = (3, 10)
ENGINES = ("onnxruntime", "onnxruntime-gpu")
OPENCVS = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
# Distributions that serve instead of the one required: they hold the same package.
_ALTERNATIVES = {"onnxruntime": ENGINES, "opencv-python-headless": OPENCVS}
_MODULES = dict.fromkeys(OPENCVS, "cv2") | {"onnxruntime-gpu": "onnxruntime"}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*(?:>=\s*([0-9.]+))?[^;]*(?:;(.*))?$")


@dataclass(frozen=True)
class Requirement:
    """A distribution, the oldest version that will do ("" for any), and the module that it brings."""

    distribution: str
    oldest: str

    @property
    def module(self) -> str:
        return _MODULES.get(self.distribution, self.distribution.replace("-", "_"))


def requirements_of(extra: str) -> tuple[Requirement, ...]:
    """What tercelet's own metadata require for an extra, "" for always; empty if it is not installed."""
    try:
        lines = importlib.metadata.requires("tercelet") or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    wanted = []
    for line in lines:
        found = _REQUIREMENT.match(line)
        named = re.search(r"extra\s*==\s*['\"]([^'\"]+)", (found[3] or "") if found else "")
        if found and (named[1] if named else "") == extra:
            wanted.append(Requirement(found[1], found[2] or ""))
    return tuple(wanted)


def check_python(environment: Environment) -> Finding:
    """The interpreter is new enough."""
    found = ".".join(map(str, environment.python))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if environment.python < OLDEST_PYTHON:
        return Finding("problem", f"Python {found}", f"install Python {oldest} or newer")
    return Finding("ok", f"Python {found}")


def check_numpy(environment: Environment) -> Finding:
    """numpy is new enough and multiplies."""
    remedy = "pip install --force-reinstall numpy"
    lack = _lack(environment, "numpy", "")
    if lack:
        return Finding("problem", lack, remedy)
    outcome = environment.run_trial("multiply_matrices")
    if outcome.code:
        return Finding("problem", f"numpy does not work: {outcome.reason}", remedy)
    return Finding("ok", outcome.output.strip())


def check_engine_installed(environment: Environment) -> Finding:
    """One of the two distributions of ONNX Runtime is there and new enough."""
    lack = _lack(environment, "onnxruntime", "cpu")
    if lack:
        return Finding(
            "problem", lack, "pip install 'tercelet[cpu]', or 'tercelet[gpu]' for an NVIDIA GPU: one of them"
        )
    return Finding("ok", _listed(environment, ENGINES) or "onnxruntime, not installed by pip")


def check_engine_conflict(environment: Environment) -> Finding:
    """Not both distributions, which write the same folder, so that one spoils the other silently."""
    there = _listed(environment, ENGINES)
    if all(environment.distribution_version(name) for name in ENGINES):
        return Finding(
            "problem",
            f"{there} are both installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then install 'tercelet[cpu]' or 'tercelet[gpu]'",
        )
    return Finding("ok", f"only {there}" if there else "neither is installed")


def check_engine_runs(environment: Environment) -> Finding:
    """ONNX Runtime loads and runs a graph of one node."""
    if not environment.is_importable("onnxruntime"):
        return Finding("problem", "onnxruntime is not installed", "pip install 'tercelet[cpu]'")
    outcome = environment.run_trial("run_tiny_graph")
    if outcome.code:
        return Finding(
            "problem",
            f"onnxruntime does not run a graph: {outcome.reason}",
            "pip install --force-reinstall onnxruntime; if it is killed, this CPU needs another build of it",
        )
    return Finding("ok", outcome.output.strip())


def check_vision_installed(environment: Environment) -> Finding:
    """OpenCV, which is optional, works, and is there once."""
    if not environment.is_importable("cv2"):
        return Finding(
            "warning",
            "OpenCV is not installed: no pictures or videos can be read, and resizing is slower",
            "pip install 'tercelet[vision]'",
        )
    there = [name for name in OPENCVS if environment.distribution_version(name)]
    if len(there) > 1:
        return Finding(
            "warning",
            f"{_listed(environment, OPENCVS)} are all installed and overwrite each other",
            f"pip uninstall {' '.join(there)}, then pip install 'tercelet[vision]'",
        )
    outcome = environment.run_trial("resize_picture")
    if outcome.code:
        return Finding(
            "problem",
            f"OpenCV does not work: {outcome.reason}",
            "pip install --force-reinstall opencv-python-headless",
        )
    return Finding(
        "ok", f"{outcome.output.strip()} ({_listed(environment, OPENCVS) or 'not installed by pip'})"
    )


def check_extra(extra: str, purpose: str) -> Callable[[Environment], Finding]:
    """A check that the packages of an extra are installed, new enough and import together."""

    def check(environment: Environment) -> Finding:
        remedy = f"pip install 'tercelet[{extra}]'"
        wanted = requirements_of(extra)
        if not wanted:
            return Finding(
                "warning", f"the installed tercelet knows no extra {extra!r}", "install tercelet anew"
            )
        lacks = [lack for item in wanted if (lack := _lack(environment, item.distribution, extra))]
        if lacks:
            return Finding("warning", f"{purpose} not possible: {'; '.join(lacks)}", remedy)
        outcome = environment.run_trial("import_packages", *(item.module for item in wanted))
        if outcome.code:
            found = f"{purpose} not possible, importing its packages failed: {outcome.reason}"
            return Finding("warning", found, remedy.replace("install", "install --force-reinstall"))
        return Finding("ok", f"{outcome.output.strip()} can be imported")

    return check


def _lack(environment: Environment, distribution: str, extra: str) -> str | None:
    """What is wrong with a required distribution: missing or too old; None if nothing."""
    required = next((r for r in requirements_of(extra) if r.distribution == distribution), None)
    required = required or Requirement(distribution, "")
    names = _ALTERNATIVES.get(distribution, (distribution,))
    versions = [v for name in names if (v := environment.distribution_version(name))]
    if not versions:
        # A system package (JetPack's OpenCV) has no metadata.
        return None if environment.is_importable(required.module) else f"{distribution} is not installed"
    if any(_numbers(version) >= _numbers(required.oldest) for version in versions):
        return None
    return f"{distribution} {versions[0]} is older than {required.oldest}"


def _listed(environment: Environment, names: tuple[str, ...]) -> str:
    versions = [(name, environment.distribution_version(name)) for name in names]
    return " and ".join(f"{name} {version}" for name, version in versions if version)


def _numbers(version: str) -> tuple[int, ...]:
    """(1, 23) of "1.23.0rc1": the release without its trailing zeros, to compare with a lower bound."""
    found = re.match(r"[0-9.]*", version)
    parts = [int(part) for part in found[0].split(".") if part] if found else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
