"""The TensorRT plugins build against the headers that TENSORRT_INCLUDE names, need none of its libraries, and
keep the interface's contract.

With TENSORRT_LEAN (libnvinfer_lean.so of the headers' version) TensorRT's own registry loads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from native_ops import (
    built_library,
    built_program,
    cuda_include,
    require_tools,
    run,
    shapes_of,
)

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import Case, OpSpec, largest_relative_difference
from tercelet.ops import OPS
from tercelet.ops.bindings.cpp_from_spec import BINDINGS_FOLDER

# As in test_cuda_build.py: sums in another order; one rounding to half.
TOLERANCES = {np.dtype(np.float32): 1e-4, np.dtype(np.float16): 1e-3}
# Interfaces of TensorRT are tables of functions; a name of its namespace in need means a call of its library.
FORBIDDEN = ("nvinfer", "getPluginRegistry", "getLogger", "getInferLib", "createInfer")


@pytest.fixture(scope="module")
def headers() -> Path:
    """The folder of TensorRT's headers."""
    named = os.environ.get("TENSORRT_INCLUDE")
    if not named:
        pytest.skip("needs TENSORRT_INCLUDE, the folder of TensorRT's headers (10.3 or newer)")
    assert (Path(named) / "NvInferRuntime.h").is_file(), f"TENSORRT_INCLUDE: no NvInferRuntime.h in {named}"
    require_tools("cmake", "nvcc", "g++", "nm")
    return Path(named)


@pytest.fixture(scope="module")
def cuda_headers() -> Path:
    """The folder of CUDA's headers."""
    folder = cuda_include()
    if folder is None:
        pytest.skip("needs CUDA's headers beside nvcc")
    return folder


@pytest.fixture(scope="module")
def plugin(headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tercelet_ops_tensorrt, as CMake builds it on a robot."""
    options = {
        "TERCELET_TENSORRT": "ON",
        "TENSORRT_INCLUDE": str(headers),
        "TERCELET_CUDA_ARCHITECTURES": "87",
    }
    return built_library(tmp_path_factory.mktemp("plugin"), "tercelet_ops_tensorrt", options)


@pytest.fixture(scope="module")
def system_includes(headers: Path, cuda_headers: Path) -> list[object]:
    return ["-isystem", headers, "-isystem", cuda_headers]


def test_the_plugin_library_needs_nothing_of_tensorrt(plugin: Path) -> None:
    undefined = run(["nm", "-D", "-u", plugin])
    assert [line for line in undefined.splitlines() if any(name in line for name in FORBIDDEN)] == []
    exported = {line.split()[-1] for line in run(["nm", "-D", "--defined-only", plugin]).splitlines()}
    assert {"getCreators", "setLoggerFinder", "tercelet_cuda_launch"} <= exported


def test_the_plugins_keep_the_contract_of_the_interface(
    plugin: Path, system_includes: list[object], tmp_path: Path
) -> None:
    program = built_program(tmp_path, "plugin_check.cc", [*system_includes, "-ldl"])
    cases = [(spec, case) for spec in OPS.values() for case in spec.cases() if not case.layer]
    (tmp_path / "cases").write_text(_text_of(cases), encoding="utf-8")
    arguments: list[object] = [program, plugin, tmp_path / "cases"]
    assert run(arguments).endswith(f"{len(cases)} cases, 0 failures\n")


def test_the_registry_of_tensorrt_loads_the_library(
    plugin: Path, system_includes: list[object], tmp_path: Path
) -> None:
    lean = os.environ.get("TENSORRT_LEAN")
    if not lean:
        pytest.skip("needs TENSORRT_LEAN, the path of libnvinfer_lean.so of the version of the headers")
    program = built_program(tmp_path, "plugin_check.cc", [*system_includes, "-ldl"])
    cases = [(spec, spec.cases()[0]) for spec in OPS.values()]
    (tmp_path / "cases").write_text(_text_of(cases), encoding="utf-8")
    assert run([program, plugin, tmp_path / "cases", lean]).endswith(f"{len(cases)} cases, 0 failures\n")


@pytest.mark.parametrize("features", [np.float32, np.float16])
def test_a_plugin_enqueued_on_host_memory_gives_the_reference(
    features: type, system_includes: list[object], tmp_path: Path
) -> None:
    program = built_program(tmp_path, "plugin_enqueue.cc", [*system_includes, "-ldl"])
    library = tmp_path / "plugin_on_host.so"
    sources = [BINDINGS_FOLDER / "tensorrt.cc", "-shared", "-fPIC", "-fvisibility=hidden"]
    built = built_program(tmp_path, "launch_on_host.cc", [*sources, *system_includes])
    built.rename(library)
    cases = [(spec, case) for spec in OPS.values() for case in spec.cases() if not case.layer]
    (tmp_path / "cases").write_text(_text_of(cases), encoding="utf-8")
    inputs = [_typed(spec, case, features) for spec, case in cases]
    (tmp_path / "inputs").write_bytes(b"".join(array.tobytes() for arrays in inputs for array in arrays))
    is_half = int(features is np.float16)
    run([program, library, tmp_path / "cases", is_half, tmp_path / "inputs", tmp_path / "outputs"])
    assert _misses(cases, inputs, features, (tmp_path / "outputs").read_bytes()) == {}


def _misses(
    cases: Iterable[tuple[OpSpec, Case]], inputs: list[list[np.ndarray]], features: type, data: bytes
) -> dict[str, float]:
    """The cases whose outputs, one after the other in `data`, are not those of the reference."""
    misses, start = {}, 0
    for (spec, case), arrays in zip(cases, inputs, strict=True):
        given = (array.astype(item.dtype) for array, item in zip(arrays, spec.inputs, strict=True))
        found = spec.reference(*given, **case.attributes)
        expected = [found] if len(spec.outputs) == 1 else list(found)
        for array, operand in zip(expected, spec.outputs, strict=True):
            dtype = np.dtype(features if operand.is_feature else operand.dtype)
            got = np.frombuffer(data, dtype, array.size, start).reshape(array.shape)
            start += got.nbytes
            difference = largest_relative_difference(got, array)
            if not difference <= TOLERANCES.get(dtype, 0.0):
                misses[f"{spec.name}: {case.name}: {operand.name}"] = difference
    assert start == len(data)
    return misses


def _typed(spec: OpSpec, case: Case, features: type) -> list[np.ndarray]:
    pairs = zip(case.inputs, spec.inputs, strict=True)
    return [np.ascontiguousarray(array, features if item.is_feature else item.dtype) for array, item in pairs]


def _text_of(cases: Iterable[tuple[OpSpec, Case]]) -> str:
    """The cases in the words that plugin_case.h reads."""
    lines: list[str] = []
    for spec, case in cases:
        shapes, attributes = shapes_of(case), spec.complete(case.attributes)
        lines.append(f"case {spec.name}")
        for item in spec.attributes:
            value = attributes[item.name]
            values = value if isinstance(value, tuple) else (value,)
            choice = item.choices.index(str(value)) if item.choices else -1
            described = (item.name, item.kind, int(item.default is not None), choice)
            lines.append(_words("attribute", *described, len(values), *values))
        outputs = spec.output_shapes(shapes, case.attributes)
        for word, operands, its in (("input", spec.inputs, shapes), ("output", spec.outputs, outputs)):
            for operand, shape in zip(operands, its, strict=True):
                kind = 1 if operand.is_feature else 2 if operand.dtype == "int32" else 0
                lines.append(_words(word, kind, len(shape), *shape))
        for index, shape in _wrong_shapes(spec, case):
            lines.append(_words("wrong", index, len(shape), *shape))
        lines.append("end")
    return "\n".join(lines)


def _wrong_shapes(spec: OpSpec, case: Case) -> list[tuple[int, tuple[int, ...]]]:
    """Inputs with a dimension more, or one larger in one dimension, as far as the specification refuses
    them."""
    shapes = shapes_of(case)
    wrong = []
    for index, shape in enumerate(shapes):
        larger = [(*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]) for axis in range(len(shape))]
        for changed in (shape[:-1], (*shape, 1), *larger):
            try:
                spec.bind([*shapes[:index], changed, *shapes[index + 1 :]], case.attributes)
            except InputError:
                wrong.append((index, changed))
    return wrong


def _words(*values: object) -> str:
    return " ".join(map(str, values))
