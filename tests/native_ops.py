"""Builds of the op kit's native libraries, and calls of their C functions in plain numbers (flat_call.h)."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tercelet.contract.op_spec import Case
from tercelet.ops.bindings.cpp_from_spec import BINDINGS_FOLDER, OPS_FOLDER, write_headers

NATIVE = Path(__file__).resolve().parent / "ops" / "native"


def require_tools(*tools: str) -> None:
    """Skip the test if one of the programs is not here."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, which is not on the path")


def cuda_include() -> Path | None:
    """The folder of CUDA's headers that belongs to the nvcc on the path."""
    if shutil.which("nvcc") is None:
        return None
    said = subprocess.run(
        ["nvcc", "--dryrun", "-x", "cu", "/dev/null"], capture_output=True, text=True, check=False
    ).stderr
    for line in said.splitlines():
        if line.startswith("#$ INCLUDES="):
            folder = line.partition("-I")[2].split('"')[0].strip()
            return Path(folder) if (Path(folder) / "cuda_runtime_api.h").is_file() else None
    return None


def built_library(folder: Path, target: str, options: Mapping[str, str]) -> Path:
    """The library that CMake builds for `target` below `folder`; fails with the compiler's words."""
    write_headers(folder / "generated")
    given = {"TERCELET_GENERATED": folder / "generated", **options}
    configure = ["cmake", "-S", BINDINGS_FOLDER, "-B", folder / "build"]
    run([*configure, *(f"-D{name}={value}" for name, value in given.items())])
    run(["cmake", "--build", folder / "build", "--target", target])
    return folder / "build" / f"lib{target}.so"


def built_program(folder: Path, source: str, options: Sequence[object] = ()) -> Path:
    """tests/ops/native/<source>, compiled against the generated headers, every warning an error."""
    write_headers(folder / "generated")
    program = folder / Path(source).stem
    includes = [f"-I{path}" for path in (BINDINGS_FOLDER, OPS_FOLDER, folder / "generated")]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    run(
        [
            "g++",
            "-std=c++17",
            "-O2",
            "-ffp-contract=off",
            *warnings,
            *includes,
            NATIVE / source,
            "-o",
            program,
            *options,
        ]
    )
    return program


def run(command: Sequence[object]) -> str:
    """What the command prints; AssertionError with all its words if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shapes_of(case: Case) -> list[tuple[int, ...]]:
    """The shapes of a case's inputs."""
    return [array.shape for array in case.inputs]


def numbers(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """The values as an array of int64_t."""
    return (ctypes.c_int64 * len(values))(*values)
