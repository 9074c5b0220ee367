"""The declarations of ONNX Runtime's C interface that we keep are those of its header, where one is at hand.

ONNXRUNTIME_INCLUDE=<folder of onnxruntime_c_api.h> pytest tests/ops/test_onnxruntime_abi.py
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from native_ops import NATIVE, require_tools

from tercelet.export.op_support import Differences
from tercelet.ops import OPS
from tercelet.ops.bindings.cpp_from_spec import BINDINGS_FOLDER
from tercelet.ops.support_table import BACKENDS

PAGE = (BINDINGS_FOLDER / "onnxruntime_abi.h").read_text()
CHECKS = (NATIVE / "abi_places.cc").read_text()


def compiled(*options: str) -> subprocess.CompletedProcess[str]:
    """abi_places.cc, compiled against the engine's header; skips without one."""
    require_tools("g++")
    include = os.environ.get("ONNXRUNTIME_INCLUDE")
    if not include:
        pytest.skip("needs ONNXRUNTIME_INCLUDE, the folder of onnxruntime_c_api.h")
    if not (Path(include) / "onnxruntime_c_api.h").is_file():
        pytest.skip(f"ONNXRUNTIME_INCLUDE is {include}, which has no onnxruntime_c_api.h")
    command = ["g++", "-std=c++17", "-fsyntax-only", "-isystem", include, f"-I{BINDINGS_FOLDER}", *options]
    return subprocess.run([*command, NATIVE / "abi_places.cc"], capture_output=True, text=True, check=False)


def test_every_place_and_member_is_that_of_the_header() -> None:
    done = compiled("-Wall", "-Wextra", "-Wno-ignored-attributes", "-Werror")
    assert done.returncode == 0, done.stderr


def test_a_wrong_place_does_not_compile() -> None:
    done = compiled("-DTERCELET_PLANTED_FAULT")
    assert done.returncode != 0
    assert "planted" in done.stderr


def test_every_function_and_member_that_we_declare_is_compared() -> None:
    functions = re.findall(r"struct (\w+) \{\s+static constexpr int place", PAGE)
    assert "KernelContext_ParallelFor" in functions
    assert re.findall(r"^TERCELET_FUNCTION\((\w+)\)", CHECKS, re.MULTILINE) == functions
    members = re.findall(
        r"^  .*?(?:\(\*)?(\w+)(?:\)\(.*\))?;$", PAGE.split("struct CustomOp {")[1], re.MULTILINE
    )
    assert members[0] == "version"
    assert re.findall(r"^TERCELET_(?:MEMBER|METHOD)\((\w+),", CHECKS, re.MULTILINE) == members


def test_the_installed_engine_loads_and_runs_the_library(differences: Differences) -> None:
    row = next(row for row in BACKENDS if row.kind == "native" and row.detail == "plain")
    for spec in OPS.values():
        assert differences(row, spec, spec.cases()[0]) <= 1e-5
