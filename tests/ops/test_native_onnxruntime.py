"""The native ops in ONNX Runtime: right on every case and instruction set, refused with words where wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tercelet.contract.op_spec import Array, AttributeValue, Case, OpSpec, largest_relative_difference
from tercelet.export.op_conformance import expected_of, feeds_of
from tercelet.export.op_support import Differences, model_of, simd_variants
from tercelet.ops import OPS
from tercelet.ops.akconv_sample.spec import default_taps
from tercelet.ops.bindings.onnx_bytes import bytes_from_op
from tercelet.ops.support_table import BACKENDS
from tercelet.runtime.backends.onnxruntime import Runner, open_runner

# Sums of up to 768 products in float32 against sums in float64; 8e-7 is the most that was seen.
ROUNDING = 5e-6
CASES = [
    pytest.param(spec, case, id=f"{spec.name}, {case.name}") for spec in OPS.values() for case in spec.cases()
]
SPEC = OPS["AKConv"]
# What cpu.h keeps of a map: choose_window.
WINDOW_FLOATS = 160 * 1024


@pytest.fixture(params=["plain", "avx2", "avx512"])
def simd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An instruction set that this CPU has; kernels created from now on use it."""
    if request.param not in simd_variants():
        pytest.skip(f"this CPU lacks {request.param}")
    monkeypatch.setenv("TERCELET_SIMD", request.param)
    return str(request.param)


def constants_of(spec: OpSpec) -> list[str]:
    """The inputs that a layer holds constant: all but the map and the offsets."""
    return [item.name for item in spec.inputs[2:]]


def opened(
    library: Path, spec: OpSpec, case: Case, constants: Collection[str] = (), threads: int | None = None
) -> Runner:
    """A session of one node."""
    return open_runner(model_of(spec, case, constants=constants), library=library, threads=threads)


def ran(runner: Runner, spec: OpSpec, case: Case, constants: Collection[str] = ()) -> list[Array]:
    """The outputs of one run."""
    outputs = runner.run(feeds_of(spec, case, constants))
    return [outputs[item.name] for item in spec.outputs]


def akconv_case(
    size: tuple[int, int, int, int],
    *,
    outputs: int = 8,
    count: int = 3,
    stride: int = 1,
    spread: float = 1.5,
    seed: int = 0,
) -> Case:
    """An AKConv of a random map with offsets spread evenly up to `spread` pixels."""
    generator = np.random.default_rng(seed)
    batch, channels, height, width = size
    x = generator.standard_normal(size, np.float32)
    offset = generator.uniform(-spread, spread, (batch, 2 * count, -(-height // stride), -(-width // stride)))
    weight = generator.standard_normal((outputs, channels, 1, count), np.float32) / np.sqrt(count * channels)
    inputs = (x, offset, weight, generator.standard_normal(outputs))
    attributes: dict[str, AttributeValue] = {
        "strides": (stride, stride),
        "pads": (0, count - 1, 0, count - 1),
        "grid": "ij",
        "taps": default_taps(count),
    }
    return Case("random", tuple(np.asarray(array, np.float32) for array in inputs), attributes)


@pytest.mark.parametrize(("spec", "case"), CASES)
def test_every_case_gives_the_reference_whatever_is_constant_and_however_many_threads(
    spec: OpSpec, case: Case, simd: str, native_library: Path
) -> None:
    expected = expected_of(spec, case)
    for constants in ([], constants_of(spec)):
        bytes_seen = set()
        for threads in (1, 2):
            runner = opened(native_library, spec, case, constants, threads)
            for _ in range(2):
                got = ran(runner, spec, case, constants)
                assert max(map(largest_relative_difference, got, expected)) <= ROUNDING
                bytes_seen.add(tuple(array.tobytes() for array in got))
        assert len(bytes_seen) == 1, "runs differ"


def test_the_variable_chooses_the_instruction_set(
    native_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "avx2" not in simd_variants():
        pytest.skip("this CPU has one instruction set")
    case = akconv_case((1, 32, 20, 20))
    got = {}
    for name in ("plain", "avx2"):
        monkeypatch.setenv("TERCELET_SIMD", name)
        got[name] = ran(opened(native_library, SPEC, case), SPEC, case)[0]
    # Only AVX2 multiplies and adds in one rounding.
    assert got["plain"].tobytes() != got["avx2"].tobytes()


@pytest.mark.parametrize("constants", [[], ["weight"], ["bias"], ["weight", "bias"]], ids=str)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches_and_any_choice_of_constant_weights_are_right(
    batch: int, constants: list[str], simd: str, native_library: Path
) -> None:
    case = akconv_case((batch, 19, 11, 13), outputs=37, count=5, stride=2)
    runner = opened(native_library, SPEC, case, constants)
    for seed in (0, 1):  # new numbers for what is not constant
        other = akconv_case((batch, 19, 11, 13), outputs=37, count=5, stride=2, seed=seed)
        kept = [item.name in constants for item in SPEC.inputs]
        both = zip(case.inputs, other.inputs, kept, strict=True)
        mixed = Case("mixed", tuple(a if keep else b for a, b, keep in both), case.attributes)
        got = ran(runner, SPEC, mixed, constants)
        assert largest_relative_difference(got[0], expected_of(SPEC, mixed)[0]) <= ROUNDING


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spread", [40.0, 200.0])
def test_offsets_that_leave_the_window_of_rows_are_exact(
    spread: float, stride: int, simd: str, native_library: Path
) -> None:
    size = (1, 16, 160, 160)
    rows = WINDOW_FLOATS // (size[1] * size[3])
    assert rows < size[2] - 1, "the window would hold the whole map"
    assert 2 * spread > rows, "the window would hold all samples of a row"
    case = akconv_case(size, spread=spread, stride=stride)
    for constants in ([], constants_of(SPEC)):
        got = ran(opened(native_library, SPEC, case, constants), SPEC, case, constants)
        assert largest_relative_difference(got[0], expected_of(SPEC, case)[0]) <= ROUNDING


@pytest.mark.parametrize("value", [-np.inf, -1e38, -200.0, -89.0, -87.5, 0.0, 89.0, 1e38, np.inf, np.nan])
def test_sums_of_any_size_have_the_silu_of_the_reference(
    value: float, simd: str, native_library: Path
) -> None:
    case = akconv_case((1, 3, 4, 5), outputs=5)
    x, offset, weight, bias = case.inputs
    case = Case("bias", (x, offset, 0 * weight, np.full_like(bias, value)), case.attributes)
    got, expected = ran(opened(native_library, SPEC, case), SPEC, case)[0], expected_of(SPEC, case)[0]
    assert np.allclose(got, expected, rtol=ROUNDING, atol=1e-30, equal_nan=True)


def dynamic(model: bytes) -> bytes:
    """The model without fixed sizes."""
    proto = onnx.load_from_string(model)
    for value in (*proto.graph.input, *proto.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.dim_param = f"{value.name}_{axis}"
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("is_dynamic", [False, True], ids=["one size", "many sizes"])
def test_threads_that_share_a_session_do_not_disturb_each_other(
    is_dynamic: bool, native_library: Path
) -> None:
    sizes = [(1, 24, 40 + 7 * index * is_dynamic, 64 - 5 * index * is_dynamic) for index in range(8)]
    cases = [akconv_case(size, outputs=40, spread=9.0, seed=seed) for seed, size in enumerate(sizes)]
    cases = [Case(c.name, (*c.inputs[:2], *cases[0].inputs[2:]), c.attributes) for c in cases]
    expected = [expected_of(SPEC, case)[0] for case in cases]
    constants = constants_of(SPEC)
    model = model_of(SPEC, cases[0], constants=constants)
    runner = open_runner(dynamic(model) if is_dynamic else model, library=native_library, threads=2)

    def difference(index: int) -> float:
        got = ran(runner, SPEC, cases[index % 8], constants)
        return largest_relative_difference(got[0], expected[index % 8])

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(difference, range(80))) <= ROUNDING


def test_two_sessions_with_different_weights_keep_them_apart(native_library: Path) -> None:
    cases = [akconv_case((1, 8, 9, 9), seed=seed) for seed in (1, 2)]
    constants = constants_of(SPEC)
    runners = [opened(native_library, SPEC, case, constants) for case in cases]
    for _ in range(2):
        for runner, case in zip(runners, cases, strict=True):
            got = ran(runner, SPEC, case, constants)
            assert largest_relative_difference(got[0], expected_of(SPEC, case)[0]) <= ROUNDING


SAMPLE_ATTRIBUTES: dict[str, Any] = {"stride": 1, "grid": "ij", "taps": [0, 0, 0, 1, 1, 0]}
SAMPLE_SHAPES = {"x": [1, 4, 6, 7], "offset": [1, 6, 6, 7]}
FUSED_ATTRIBUTES: dict[str, Any] = {
    "strides": [1, 1],
    "pads": [0, 2, 0, 2],
    "grid": "ij",
    "taps": [0, 0, 0, 1, 1, 0],
}
FUSED_SHAPES = {**SAMPLE_SHAPES, "weight": [8, 4, 1, 3], "bias": [8]}
SOUND: dict[str, tuple[dict[str, list[int]], dict[str, Any]]] = {
    "AKConvSample": (SAMPLE_SHAPES, SAMPLE_ATTRIBUTES),
    "AKConv": (FUSED_SHAPES, FUSED_ATTRIBUTES),
    "FurthestPointSample": ({"xyz": [1, 9, 3]}, {"count": 4, "ties": "mmcv"}),
    "BallQuery": ({"xyz": [1, 9, 3], "centre": [1, 5, 3]}, {"radius": 0.5, "samples": 4, "min_radius": 0.0}),
}
ELEMENTS = {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}


def run_wrong(
    library: Path,
    op: str,
    shapes: dict[str, list[int]],
    attributes: dict[str, Any],
    constants: Sequence[str] = (),
) -> None:
    """Open and run a sound node with shapes and attributes changed; an attribute None is left out."""
    sound_shapes, sound_attributes = SOUND[op]
    arrays = {name: np.zeros(size, np.float32) for name, size in {**sound_shapes, **shapes}.items()}
    given = {name: value for name, value in {**sound_attributes, **attributes}.items() if value is not None}
    output = OPS[op].outputs[0].name
    node = onnx.helper.make_node(op, list(arrays), [output], domain="tercelet", **given)
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape)
        for name, array in arrays.items()
        if name not in constants
    ]
    element = ELEMENTS[OPS[op].outputs[0].dtype]
    outputs = [onnx.helper.make_tensor_value_info(output, element, None)]
    held = [onnx.numpy_helper.from_array(arrays[name], name) for name in constants]
    graph = onnx.helper.make_graph([node], "wrong", infos, outputs, held)
    opsets = [onnx.helper.make_opsetid("", 19), onnx.helper.make_opsetid("tercelet", 1)]
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.register_custom_ops_library(str(library))
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    session.run(None, {name: array for name, array in arrays.items() if name not in constants})


@pytest.mark.parametrize("op", SOUND)
def test_the_node_that_is_spoilt_below_is_sound(op: str, native_library: Path) -> None:
    run_wrong(native_library, op, {}, {})


WRONG_ATTRIBUTES = [
    ("AKConvSample", {"taps": None}, r"AKConvSample: taps: expected a list of integers"),
    ("AKConvSample", {"taps": 3}, r"AKConvSample: taps: expected"),
    ("AKConvSample", {"taps": [0, 0, 0, 1]}, r"AKConvSample: taps: expected two numbers for each tap"),
    ("AKConvSample", {"taps": [0, 0, 0, 1, 1, 1 << 20]}, r"AKConvSample: taps: expected numbers below"),
    ("AKConvSample", {"taps": [0, 0, 0, 1, 1, 1 << 40]}, r"AKConvSample: taps: expected integers of 32 bits"),
    ("AKConvSample", {"taps": [0.5] * 6}, r"AKConvSample: taps: expected"),
    ("AKConvSample", {"taps": [0] * 130}, r"AKConvSample: taps: expected at most 128 integers"),
    ("AKConvSample", {"grid": "yx"}, r"AKConvSample: grid: expected one of its choices"),
    ("AKConvSample", {"grid": ""}, r"AKConvSample: grid: expected one of its choices"),
    ("AKConvSample", {"grid": "xy\0"}, r"AKConvSample: grid: expected one of its choices"),
    ("AKConvSample", {"grid": 1}, r"AKConvSample: grid: expected a string"),
    ("AKConvSample", {"stride": 0}, r"AKConvSample: stride: expected 1 to 1048576"),
    ("AKConvSample", {"stride": -(1 << 62)}, r"AKConvSample: stride: expected 1 to 1048576"),
    ("AKConvSample", {"stride": 1.0}, r"AKConvSample: stride: expected an integer"),
    ("AKConvSample", {"stride": "1"}, r"AKConvSample: stride: expected an integer"),
    ("AKConvSample", {"stride": [1, 1]}, r"AKConvSample: stride: expected an integer"),
    ("AKConv", {"strides": None}, r"AKConv: strides: expected a list of integers"),
    ("AKConv", {"strides": [1]}, r"AKConv: strides: expected one number twice"),
    ("AKConv", {"strides": [1, 2]}, r"AKConv: strides: expected one number twice"),
    ("AKConv", {"strides": [0, 0]}, r"AKConv: stride: expected 1 to 1048576"),
    ("AKConv", {"pads": [0, 0, 0, 0]}, r"AKConv: pads: expected 0, N-1, 0, N-1"),
    ("AKConv", {"pads": None}, r"AKConv: pads: expected a list of integers"),
    ("AKConv", {"grid": "yx"}, r"AKConv: grid: expected one of its choices"),
    ("AKConv", {"taps": [0, 0]}, r"AKConv: taps: expected two numbers for each tap"),
    ("FurthestPointSample", {"count": None}, r"FurthestPointSample: count: expected an integer"),
    ("FurthestPointSample", {"count": 0}, r"FurthestPointSample: count: expected 1 to"),
    ("FurthestPointSample", {"count": 1 << 40}, r"FurthestPointSample: count: expected 1 to"),
    ("BallQuery", {"radius": None}, r"BallQuery: radius: expected a number"),
    ("BallQuery", {"radius": 1}, r"BallQuery: radius: expected a number"),
    ("BallQuery", {"radius": "1"}, r"BallQuery: radius: expected a number"),
    ("BallQuery", {"radius": [0.5]}, r"BallQuery: radius: expected a number"),
    ("BallQuery", {"radius": -0.5}, r"BallQuery: radius: expected more than 0"),
    ("BallQuery", {"radius": float("nan")}, r"BallQuery: radius: expected more than 0"),
    ("BallQuery", {"radius": float("inf")}, r"BallQuery: radius: expected more than 0"),
    ("BallQuery", {"min_radius": 0.6}, r"BallQuery: min_radius: expected 0 to the radius"),
    ("BallQuery", {"min_radius": 1}, r"BallQuery: min_radius: expected a number"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes", "message"), WRONG_ATTRIBUTES, ids=lambda value: str(value)[:40])
def test_a_wrong_attribute_is_refused_by_name(
    op: str, attributes: dict[str, Any], message: str, native_library: Path
) -> None:
    with pytest.raises(Exception, match=message):  # the engine's errors share no base class
        run_wrong(native_library, op, {}, attributes)


WRONG_SHAPES = [
    ("AKConvSample", {"x": [4, 6, 7]}, r"AKConvSample: x: its shape does not fit"),
    ("AKConvSample", {"x": [1, 1, 1, 1, 4, 6, 7]}, r"AKConvSample: x: expected at most 6 dimensions"),
    ("AKConvSample", {"offset": [1, 5, 6, 7]}, r"AKConvSample: offset: its shape does not fit"),
    ("AKConvSample", {"offset": [2, 6, 6, 7]}, r"AKConvSample: offset: its shape does not fit"),
    ("AKConvSample", {"offset": [6]}, r"AKConvSample: offset: its shape does not fit"),
    ("AKConvSample", {"offset": []}, r"AKConvSample: offset: its shape does not fit"),
    ("AKConvSample", {"offset": [1, 6, 7, 6]}, r"AKConvSample: offset: expected the height and width of x"),
    ("AKConvSample", {"offset": [1, 6, 6, 0]}, r"AKConvSample: offset: expected the height and width of x"),
    ("AKConvSample", {"offset": [1, 0, 6, 7]}, r"AKConvSample: offset: expected 1 to 64 taps"),
    ("AKConvSample", {"offset": [1, 130, 6, 7]}, r"AKConvSample: offset: expected 1 to 64 taps"),
    ("AKConvSample", {"x": [1, 1, 1, 1 << 20], "offset": [1, 6, 1, 1 << 20]}, r"x: expected sides below"),
    ("AKConv", {"weight": [8, 5, 1, 3]}, r"AKConv: weight: its shape does not fit"),
    ("AKConv", {"weight": [8, 4, 3, 1]}, r"AKConv: weight: its shape does not fit"),
    ("AKConv", {"weight": [8, 4, 3]}, r"AKConv: weight: its shape does not fit"),
    ("AKConv", {"weight": [8, 4, 1, 4]}, r"AKConv: weight: its shape does not fit"),
    ("AKConv", {"bias": [9]}, r"AKConv: bias: its shape does not fit"),
    ("AKConv", {"bias": [8, 1]}, r"AKConv: bias: its shape does not fit"),
    ("AKConv", {"bias": []}, r"AKConv: bias: its shape does not fit"),
    ("FurthestPointSample", {"xyz": [1, 0, 3]}, r"FurthestPointSample: xyz: expected 1 to 2147483647 points"),
    ("FurthestPointSample", {"xyz": [1, 9, 4]}, r"FurthestPointSample: xyz: its shape does not fit"),
    ("BallQuery", {"centre": [2, 5, 3]}, r"BallQuery: centre: its shape does not fit"),
]  # fmt: skip


@pytest.mark.parametrize("is_constant", [False, True], ids=["inputs", "constants"])
@pytest.mark.parametrize(("op", "shapes", "message"), WRONG_SHAPES, ids=lambda value: str(value)[:40])
def test_a_wrong_shape_is_refused_with_the_operands_name(
    op: str, shapes: dict[str, list[int]], message: str, is_constant: bool, native_library: Path
) -> None:
    constants = constants_of(OPS[op]) if is_constant else []
    with pytest.raises(Exception, match=message):  # the engine's errors share no base class
        run_wrong(native_library, op, shapes, {}, constants)


def test_a_model_that_declares_another_type_is_refused(native_library: Path) -> None:
    case = SPEC.cases()[0]
    proto = onnx.load_from_string(bytes_from_op(SPEC, [a.shape for a in case.inputs], case.attributes))
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(Exception, match=r"refuses the graph.*tensor\(double\).*parameter \(x\)"):
        open_runner(proto.SerializeToString(), library=native_library)


def test_the_session_still_runs_after_it_refused_an_input(native_library: Path) -> None:
    case = akconv_case((1, 4, 6, 7))
    runner = open_runner(dynamic(model_of(SPEC, case)), library=native_library)
    feeds = feeds_of(SPEC, case)
    with pytest.raises(Exception, match=r"AKConv: bias: its shape does not fit"):
        runner.run({**feeds, "bias": np.zeros(3, np.float32)})
    assert largest_relative_difference(runner.run(feeds)["y"], expected_of(SPEC, case)[0]) <= ROUNDING


def test_the_rows_of_the_support_table_are_what_these_tests_run(differences: Differences) -> None:
    case = SPEC.cases()[0]
    rows = [row for row in BACKENDS if row.kind == "native" and row.detail in simd_variants()]
    assert rows
    assert max(differences(row, SPEC, case) for row in rows) <= ROUNDING
