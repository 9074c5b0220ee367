"""Native libraries of the op kit, built once a session outside the user's cache, and runs of the case table,
each made once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from native_ops import require_tools, run

from tercelet.contract.op_spec import Case, OpSpec
from tercelet.export.op_conformance import difference_of, expected_of
from tercelet.export.op_support import Differences, outputs_of
from tercelet.ops.bindings.cpp_from_spec import BINDINGS_FOLDER, write_headers
from tercelet.ops.building import build_library
from tercelet.ops.support_table import Backend

NativeBuild = Callable[[Path, Sequence[str], Mapping[str, str]], Path]


@pytest.fixture(scope="session")
def native_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tercelet_ops_onnxruntime for this machine."""
    require_tools("cmake", "g++")
    return build_library(cache=tmp_path_factory.mktemp("cache")).path


@pytest.fixture(scope="session")
def native_build() -> NativeBuild:
    """Builds targets of the op kit with CMake entries; returns the folder that holds them."""

    def build(folder: Path, targets: Sequence[str], entries: Mapping[str, str]) -> Path:
        require_tools("cmake", "g++")
        write_headers(folder / "generated")
        given = {"TERCELET_GENERATED": str(folder / "generated"), **entries}
        configure = ["cmake", "-S", BINDINGS_FOLDER, "-B", folder / "build"]
        run([*configure, *(f"-D{name}={value}" for name, value in given.items())])
        jobs = min(4, os.cpu_count() or 1)
        run(["cmake", "--build", folder / "build", "-j", jobs, "--target", *targets])
        return folder / "build"

    return build


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory, native_build: NativeBuild) -> Path:
    """The library for ONNX Runtime and both fuzzers, with AddressSanitizer and UBSan: the folder."""
    targets = ["tercelet_ops_onnxruntime", "tercelet_ops_fuzz", "tercelet_ops_fuzz_planted"]
    entries = {"TERCELET_SANITIZE": "ON", "TERCELET_FUZZ": "ON"}
    return native_build(tmp_path_factory.mktemp("sanitized"), targets, entries)


@pytest.fixture(scope="session")
def differences(request: pytest.FixtureRequest) -> Differences:
    """How far a backend is from the reference on a case, run at most once a session."""
    known: dict[tuple[Backend, str, str], float] = {}

    def difference(backend: Backend, spec: OpSpec, case: Case) -> float:
        key = (backend, spec.name, case.name)
        if key not in known:
            library = request.getfixturevalue("native_library") if backend.kind == "native" else None
            known[key] = difference_of(outputs_of(backend, spec, case, library), expected_of(spec, case))
        return known[key]

    return difference
