"""The rules of the house are enforced, not hoped for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]
ROOTS = ("runtime", "export", "training")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    code = "import os, sys; sys.path[:0] = sys.argv[2:]; os.execv(sys.argv[1], sys.argv[1:2])"
    environment = {"PYTHONPATH": ":".join(str(folder / root) for root in ROOTS), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", code, str(program)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources whose imports can be spoilt."""
    for root in ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_sources_keep_their_contracts(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("runtime/tercelet/runtime/nms.py", "import torch"),
        ("runtime/tercelet/contract/labels.py", "import onnx"),
        ("runtime/tercelet/contract/labels.py", "import cv2"),
        ("runtime/tercelet/runtime/nms.py", "import onnxruntime"),
        ("runtime/tercelet/runtime/nms.py", "import tercelet.evaluation"),
        ("training/tercelet/evaluation/parity.py", "import torch"),
        ("training/tercelet/training/candidates.py", "import tercelet.runtime.nms"),
        ("training/tercelet/training/candidates.py", "import tercelet.export"),
    ],
)
def test_a_planted_import_breaks_the_check(copy: Path, file: str, line: str) -> None:
    path = copy / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_holds_its_package_and_a_readme_and_nothing_else(root: str) -> None:
    names = {p.name for p in (ROOT / root).iterdir() if p.name != "__pycache__"}
    assert names == {"tercelet", "README.md"}
    assert not (ROOT / root / "tercelet" / "__init__.py").exists()
    for package in (ROOT / root / "tercelet").iterdir():
        if package.is_dir() and package.name != "__pycache__":
            assert (package / "py.typed").is_file()


def test_every_pinned_requirement_is_exact_and_torch_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line for line in pins)
    assert "torch==2.13.0" in pins


def test_every_verb_of_the_project_loads() -> None:
    from importlib import import_module

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    verbs = project["project"]["entry-points"]["tercelet.commands"]
    assert set(verbs) == {
        "import", "export", "build-ops", "run", "evaluate", "benchmark", "compare", "inspect", "doctor",
        "demo", "prepare", "train", "synth", "bundle-aerial", "bundle-rgbd",
    }  # fmt: skip
    for module in verbs.values():
        loaded = import_module(module)
        assert loaded.SUMMARY
        assert callable(loaded.execute)
