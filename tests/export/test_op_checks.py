"""The doctor on custom ops: each is run, what is missing has its cost named, what is broken is a problem."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tercelet.export import op_trials
from tercelet.export.op_checks import CHECKS, COST
from tercelet.ops.building import build_library, cached_library
from tercelet.runtime.checks.environment import Environment

BY_NAME = dict(CHECKS)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """This machine with an empty cache of native libraries."""
    monkeypatch.setenv("TERCELET_CACHE", str(tmp_path / "cache"))
    return Environment()


@pytest.fixture
def library(here: Environment) -> Path:
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("needs cmake and g++ to build the native ops")
    assert cached_library() is None
    return build_library().path


def test_ids_are_stable() -> None:
    assert list(BY_NAME) == [
        "ops.onnxruntime.body", "ops.onnxruntime.native", "ops.torch", "ops.cuda", "ops.tensorrt",
    ]  # fmt: skip


def test_every_op_runs_through_every_body_and_in_torch(here: Environment) -> None:
    bodies = BY_NAME["ops.onnxruntime.body"](here)
    assert bodies.status == "ok", bodies.found
    for words in ("AKConvSample as row_gather", "AKConv as row_gather", "AKConv as deform_conv"):
        assert words in bodies.found
    torch = BY_NAME["ops.torch"](here)
    assert torch.status == "ok"
    in_torch = torch.found.split(" ran in torch")[0].split(", ")
    assert {"AKConvSample", "FurthestPointSample", "BallQuery"} <= set(in_torch), torch.found


def test_native_kernels_that_were_not_built_are_named_with_their_cost(here: Environment) -> None:
    finding = BY_NAME["ops.onnxruntime.native"](here)
    assert finding.status == "warning"
    assert COST in finding.found
    assert "tercelet build-ops" in finding.remedy


def test_native_kernels_are_run_and_timed(here: Environment, library: Path) -> None:
    finding = BY_NAME["ops.onnxruntime.native"](here)
    assert finding.status == "ok", finding.found
    assert "cases within" in finding.found
    assert "a layer takes" in finding.found
    assert "through standard operators" in finding.found


def test_native_kernels_that_do_not_load_are_a_problem(here: Environment, library: Path) -> None:
    library.write_bytes(b"\x7fELF and nothing more")
    finding = BY_NAME["ops.onnxruntime.native"](here)
    assert finding.status == "problem"
    assert "do not use them" in finding.found
    assert "tercelet build-ops" in finding.remedy


def test_what_is_not_here_is_said_to_be_not_run(here: Environment, tmp_path: Path) -> None:
    bare = replace(here, search_path=(str(tmp_path),))
    for name in ("ops.onnxruntime.body", "ops.torch", "ops.tensorrt"):
        finding = BY_NAME[name](bare)
        assert finding.status == "ok"
        assert "not" in finding.found


def test_an_op_that_runs_in_no_form_fails_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    from tercelet.contract.errors import CheckFailedError
    from tercelet.runtime.backends import onnxruntime as backend

    def refuse(model: bytes, **options: object) -> None:
        raise CheckFailedError("onnxruntime 0.1: refuses the graph: planted")

    monkeypatch.setattr(backend, "open_runner", refuse)
    with pytest.raises(CheckFailedError, match=r"AKConvSample: not as row_gather \(.*planted"):
        op_trials.run_bodies()
