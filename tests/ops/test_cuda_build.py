"""The CUDA launcher: it compiles for the GPUs we name, its arithmetic is right on the CPU, and on a GPU if
one is here."""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_ops import (
    built_library,
    built_program,
    cuda_include,
    numbers,
    require_tools,
    shapes_of,
)
from numpy.typing import NDArray

from tercelet.contract.op_spec import Case, Operand, OpSpec, largest_relative_difference
from tercelet.ops import OPS
from tercelet.ops.bindings.cuda_call import flat_attributes, flat_shapes

Array = NDArray[Any]
# Sums of a thousand products in float, in another order than numpy's.
FLOAT_TOLERANCE = 1e-4
# Outputs are rounded to half once, 2^-11 at worst; the arithmetic itself is float.
HALF_TOLERANCE = 1e-3
FEATURES = {"float": (np.float32, FLOAT_TOLERANCE), "half": (np.float16, HALF_TOLERANCE)}
UNKNOWN_OP, WRONG_ATTRIBUTE, WRONG_SHAPE, WRONG_FEATURE_TYPE, DEVICE_FAILED = range(1, 6)
REPEATS = 100
COPIED_BYTES = 1 << 28


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """tercelet_ops_cuda, built for sm_87 and sm_90 with every warning an error."""
    require_tools("cmake", "nvcc", "g++")
    folder = tmp_path_factory.mktemp("cuda")
    options = {"TERCELET_CUDA": "ON", "TERCELET_CUDA_ARCHITECTURES": "87;90"}
    loaded = ctypes.CDLL(str(built_library(folder, "tercelet_ops_cuda", options)))
    loaded.tercelet_cuda_message.restype = ctypes.c_char_p
    return loaded


@pytest.fixture(scope="module")
def device(library: ctypes.CDLL) -> str:
    """The name of the CUDA device; skips without one."""
    name = ctypes.create_string_buffer(256)
    if library.tercelet_cuda_device_name(name, ctypes.c_int64(len(name))):
        pytest.skip(f"needs a CUDA device: {_message(library)}")
    return name.value.decode()


@pytest.fixture(scope="module", params=FEATURES)
def host_program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """run_kernel.cc for one type of features, and that type."""
    require_tools("g++")
    folder = tmp_path_factory.mktemp("host")
    options: list[object] = ["-pthread"]
    if request.param == "half":
        headers = cuda_include()
        if headers is None:
            pytest.skip("needs cuda_fp16.h, which comes with nvcc")
        options += ["-DTERCELET_HALF", "-isystem", headers]
    return built_program(folder, "run_kernel.cc", options), request.param


@pytest.mark.parametrize("op", OPS)
def test_the_items_of_a_kernel_give_the_reference(
    op: str, host_program: tuple[Path, str], tmp_path: Path
) -> None:
    program, features = host_program
    dtype, tolerance = FEATURES[features]
    misses = {}
    for case in OPS[op].cases():
        inputs, expected = _inputs_and_outputs(OPS[op], case, dtype)
        got = _run_on_host(program, OPS[op], case, inputs, expected, tmp_path)
        difference = max(map(largest_relative_difference, got, expected))
        if not difference <= tolerance:
            misses[case.name] = difference
    assert misses == {}


def test_the_launcher_knows_the_output_shapes_of_every_case(library: ctypes.CDLL) -> None:
    for spec in OPS.values():
        for case in spec.cases():
            expected = flat_shapes(spec.output_shapes(shapes_of(case), case.attributes))
            room = numbers([0] * (7 * len(spec.outputs)))
            status = library.tercelet_cuda_output_shapes(
                *_described(spec, case), room, ctypes.c_int64(len(room))
            )
            assert (status, list(room)[: len(expected)]) == (0, expected), case.name


@pytest.mark.parametrize("op", OPS)
def test_the_launcher_refuses_what_does_not_fit(op: str, library: ctypes.CDLL) -> None:
    spec = OPS[op]
    case = spec.cases()[0]
    shapes, attributes = flat_shapes(shapes_of(case)), flat_attributes(spec, case.attributes)
    refused: list[tuple[str, int, list[int], list[int], int, str]] = [
        ("NoSuchOp", 0, shapes, attributes, UNKNOWN_OP, "name of an op"),
        (op, 2, shapes, attributes, WRONG_FEATURE_TYPE, "0 for float or 1 for half"),
        (op, 0, shapes, [], WRONG_ATTRIBUTE, spec.attributes[0].name),
        (op, 0, shapes, [*attributes, 1, 7], WRONG_ATTRIBUTE, "no more than the specification"),
        (op, 0, shapes, [1000, *attributes[1:]], WRONG_ATTRIBUTE, spec.attributes[0].name),
        (op, 0, shapes, [-1, *attributes[1:]], WRONG_ATTRIBUTE, spec.attributes[0].name),
        (op, 0, [], attributes, WRONG_SHAPE, spec.inputs[0].name),
        (op, 0, [*shapes, 1, 1], attributes, WRONG_SHAPE, "no more than there are inputs"),
        (op, 0, [shapes[0], -1, *shapes[2:]], attributes, WRONG_SHAPE, spec.inputs[0].name),
        (op, 0, [7, *shapes[1:], *[1] * 9], attributes, WRONG_SHAPE, spec.inputs[0].name),
    ]
    for name, features, its_shapes, its_attributes, status, words in refused:
        got = library.tercelet_cuda_launch(
            name.encode(),
            features,
            *_listed(its_shapes),
            *_listed(its_attributes),
            *([None] * 3),
            1,
            None,
        )
        assert (got, words in _message(library)) == (status, True), (
            its_shapes,
            its_attributes,
            _message(library),
        )


def test_without_a_device_a_launch_fails_with_words(library: ctypes.CDLL) -> None:
    if library.tercelet_cuda_synchronize() == 0:
        pytest.skip("there is a CUDA device")
    spec = next(iter(OPS.values()))
    pointers = (ctypes.c_void_p * len(spec.inputs))(), (ctypes.c_void_p * len(spec.outputs))()
    name, *described = _described(spec, spec.cases()[0])
    status = library.tercelet_cuda_launch(name, 0, *described, *pointers, None, 1, None)
    assert (status, spec.name in _message(library)) == (DEVICE_FAILED, True)


@pytest.mark.gpu
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("op", OPS)
def test_a_gpu_gives_the_reference(op: str, features: str, library: ctypes.CDLL, device: str) -> None:
    spec, (dtype, tolerance) = OPS[op], FEATURES[features]
    copied = _bytes_per_millisecond(library)
    print(f"\n{op}, {features} features, on {device}; its memory copies {copied / 1e6:.0f} GB/s")
    misses = {}
    for case in spec.cases():
        inputs, expected = _inputs_and_outputs(spec, case, dtype)
        got, milliseconds = _run_on_device(library, spec, case, inputs, expected)
        difference = max(map(largest_relative_difference, got, expected))
        if not difference <= tolerance:
            misses[case.name] = difference
        if case.layer:
            least = sum(array.nbytes for array in (*inputs, *got)) / copied
            share = f"{least / milliseconds:6.1%} of the roofline"
            print(f"  {case.name:<10} {1000 * milliseconds:8.1f} us   {share}")
    assert misses == {}


def _inputs_and_outputs(spec: OpSpec, case: Case, dtype: type) -> tuple[list[Array], list[Array]]:
    """The inputs with features of that type, and what the reference makes of them in float."""
    inputs = [_typed(array, item, dtype) for array, item in zip(case.inputs, spec.inputs, strict=True)]
    given = (array.astype(item.dtype) for array, item in zip(inputs, spec.inputs, strict=True))
    found = spec.reference(*given, **case.attributes)
    expected = [found] if len(spec.outputs) == 1 else list(found)
    return inputs, [_typed(array, item, dtype) for array, item in zip(expected, spec.outputs, strict=True)]


def _typed(array: Array, operand: Operand, dtype: type) -> Array:
    return np.ascontiguousarray(array, dtype if operand.is_feature else operand.dtype)


def _run_on_host(
    program: Path, spec: OpSpec, case: Case, inputs: Sequence[Array], expected: Sequence[Array], folder: Path
) -> list[Array]:
    lists = (flat_shapes(shapes_of(case)), flat_attributes(spec, case.attributes))
    described = b"".join(np.array([len(values), *values], np.int64).tobytes() for values in lists)
    (folder / "case").write_bytes(described + b"".join(array.tobytes() for array in inputs))
    done = subprocess.run(
        [program, spec.name, folder / "case", folder / "outputs"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{case.name}: {done.returncode} {done.stderr}"
    data = (folder / "outputs").read_bytes()
    assert len(data) == sum(array.nbytes for array in expected)
    got, start = [], 0
    for array in expected:
        values = np.frombuffer(data, array.dtype, array.size, start)
        got.append(values.reshape(array.shape))
        start += array.nbytes
    return got


def _run_on_device(
    library: ctypes.CDLL, spec: OpSpec, case: Case, inputs: Sequence[Array], expected: Sequence[Array]
) -> tuple[list[Array], float]:
    """The outputs, and the milliseconds of one launch."""
    outputs = [
        np.frombuffer(b"\xff" * array.nbytes, array.dtype).reshape(array.shape).copy() for array in expected
    ]
    allocated = [*_on_device(library, [*inputs, *outputs])]
    pointers = (ctypes.c_void_p * len(inputs))(*allocated[: len(inputs)])
    targets = (ctypes.c_void_p * len(outputs))(*allocated[len(inputs) :])
    name, *described = _described(spec, case)
    is_half = int(any(array.dtype == np.float16 for array in inputs))
    milliseconds = ctypes.c_float()
    try:
        for repeats in (1, REPEATS):  # the first one loads the kernel
            _call(
                library,
                "launch",
                *(name, is_half, *described, pointers, targets, None, repeats, ctypes.byref(milliseconds)),
            )
        for pointer, array in zip(targets, outputs, strict=True):
            _call(library, "copy", _pointer(array), ctypes.c_void_p(pointer), ctypes.c_int64(array.nbytes))
    finally:
        for pointer in allocated:
            _call(library, "free", ctypes.c_void_p(pointer))
    return outputs, milliseconds.value


def _on_device(library: ctypes.CDLL, arrays: Sequence[Array]) -> Iterator[int | None]:
    for array in arrays:
        pointer = ctypes.c_void_p()
        _call(library, "allocate", ctypes.c_int64(array.nbytes), ctypes.byref(pointer))
        _call(library, "copy", pointer, _pointer(array), ctypes.c_int64(array.nbytes))
        yield pointer.value


def _bytes_per_millisecond(library: ctypes.CDLL) -> float:
    """What the device's memory moves while it copies, read and written bytes together: the roofline."""
    pointers = [ctypes.c_void_p(), ctypes.c_void_p()]
    for pointer in pointers:
        _call(library, "allocate", ctypes.c_int64(COPIED_BYTES), ctypes.byref(pointer))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(20):
            _call(library, "copy", *pointers, ctypes.c_int64(COPIED_BYTES))
        best = min(best, time.perf_counter() - start)
    for pointer in pointers:
        _call(library, "free", pointer)
    return 20 * 2 * COPIED_BYTES / (1000 * best)


def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    status = getattr(library, f"tercelet_cuda_{name}")(*arguments)
    assert status == 0, f"{name}: {status} {_message(library)}"


def _described(spec: OpSpec, case: Case) -> tuple[Any, ...]:
    """Name, shapes and attributes as the C functions take them."""
    shapes, attributes = flat_shapes(shapes_of(case)), flat_attributes(spec, case.attributes)
    return (spec.name.encode(), *_listed(shapes), *_listed(attributes))


def _listed(values: Sequence[int]) -> tuple[Any, Any]:
    return numbers(values), ctypes.c_int64(len(values))


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _message(library: ctypes.CDLL) -> str:
    return str(library.tercelet_cuda_message().decode())
