"""The demo where numpy, an engine and OpenCV are all that is installed: the finished bundle is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tercelet.export.demonstration.packaged_weights import PackagedWeights

BLOCKED = ("torch", "onnx", "onnxscript", "safetensors", "faster_coco_eval", "matplotlib", "h5py")
# Refuses the packages as an environment does that lacks them, and remembers who asked for one of them.
PROGRAM = f"""
import importlib.abc, pathlib, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from tercelet.export.demonstration import demonstrating
from tercelet.export.demonstration.packaged_weights import PackagedWeights
from tercelet.runtime.command_line import main

nowhere, bundle = pathlib.Path("nowhere"), pathlib.Path(sys.argv[1])
demonstrating.packaged_weights = lambda: PackagedWeights(nowhere, nowhere, bundle)
code = main(["demo", *sys.argv[2:]])
print("loaded:", sorted(set({BLOCKED!r}) & set(sys.modules)))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def shown(
    weights: PackagedWeights, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder that a quick demo of the bundle alone filled, and how it ended."""
    folder = tmp_path_factory.mktemp("bare")
    done = subprocess.run(
        [
            sys.executable, "-c", PROGRAM, str(weights.bundle),
            "--quick", "-o", str(folder / "demo"), "--json", str(folder / "figures.json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return folder, done


def test_the_finished_bundle_is_shown_and_the_reason_is_one_line(
    shown: tuple[Path, subprocess.CompletedProcess[str]], weights: PackagedWeights
) -> None:
    done = shown[1]
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("2/5")]
    assert "the finished one of the package; torch, onnx, onnxscript, safetensors not installed" in line
    assert "pip install 'tercelet[export]'" in line
    assert "the finished one of the package" in done.stdout
    assert f"tercelet run {weights.bundle} VIDEO" in done.stdout


def test_nothing_that_is_absent_is_imported(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert "loaded: []" in shown[1].stdout


def test_there_are_pictures_and_times_and_what_is_missing_is_named(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = shown
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["exported"] is False
    assert figures["comparison"] is None
    assert figures["evaluation"] is None
    assert "not measured, pip install 'tercelet[evaluate]' for them" in done.stdout
    assert len(figures["pictures"]) == 8
    assert all(Path(path).is_file() for path in figures["pictures"])
    for plan in ("full", "canvas"):
        assert figures["plans"][plan]["scenes"]["detections"] > 0
        assert figures["plans"][plan]["benchmark"]["bundles"][0]["total_ms"]["p50"] > 0
