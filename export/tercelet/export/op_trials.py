"""What the doctor runs of the op kit, each in a fresh interpreter: one line on success, an exception
otherwise."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.op_spec import Case, OpSpec, largest_relative_difference
from tercelet.export.op_conformance import LARGEST_DIFFERENCE, check_native_library
from tercelet.ops import OPS

# A middling layer of a small detector.
TIMED_OP, TIMED_LAYER = "AKConv", "17"
_RUNS = 7


def run_bodies() -> str:
    """Every op once through each of its bodies in ONNX Runtime; one that runs as none is a failure."""
    from tercelet.ops.bindings.onnx import bodies_of
    from tercelet.runtime.backends.onnxruntime import open_runner

    ran = []
    for spec in OPS.values():
        case, refusals = spec.cases()[0], []
        for form in bodies_of(spec):
            try:
                runner = open_runner(_model_with_body(spec, case, form))
            except CheckFailedError as error:
                refusals.append(f"not as {form} ({error})")
                continue
            _compare(spec, case, runner.run(_feeds(spec, case)))
            ran.append(f"{spec.name} as {form}")
        if len(refusals) == len(bodies_of(spec)):
            raise CheckFailedError(f"{spec.name}: {'; '.join(refusals)}")
        ran += refusals
    return ", ".join(ran)


def run_native(library: str) -> str:
    """Every op on every small case with a native library, and what a layer takes natively and through a
    body."""
    ran = check_native_library(Path(library))
    text = f"{', '.join(ran.ops)}: {ran.cases} cases within {ran.difference:.1g} of the reference"
    spec = OPS[TIMED_OP]
    case = next(case for case in spec.cases() if case.layer == TIMED_LAYER)
    native = _milliseconds(spec, case, library=Path(library))
    text += f"; a layer takes {native:.2f} ms"
    try:
        body = min(_milliseconds(spec, case, form=form) for form in _forms(spec, case))
    except (ImportError, ValueError):  # no onnx package, or an engine that runs no body
        return text
    return f"{text}, through standard operators {body:.2f} ms"


def run_torch() -> str:
    """Every op with a torch kernel once."""
    import torch

    from tercelet.ops.bindings.torch import torch_op, torch_ops

    for name in torch_ops():
        spec = OPS[name]
        case = spec.cases()[0]
        attributes = [case.attributes[item.name] for item in spec.attributes]
        got = torch_op(name)(*(torch.from_numpy(array) for array in case.inputs), *attributes)
        _compare(spec, case, {spec.outputs[0].name: got.numpy()})
    return f"{', '.join(torch_ops())} ran in torch {torch.__version__}"


def run_cuda(library: str) -> str:
    """Every op once on the GPU."""
    from tercelet.ops.bindings.cuda_call import run_on_gpu

    for spec in OPS.values():
        case = spec.cases()[0]
        outputs = run_on_gpu(Path(library), spec, case.inputs, case.attributes)
        _compare(spec, case, {item.name: got for item, got in zip(spec.outputs, outputs, strict=True)})
    return f"{', '.join(OPS)} ran on the GPU"


def load_plugin(library: str) -> str:
    """The TensorRT plugin library loads and offers a creator for every op; no engine is built."""
    import ctypes

    count = ctypes.c_int32()
    functions = ctypes.CDLL(library)
    functions.getCreators.restype = ctypes.c_void_p
    functions.getCreators(ctypes.byref(count))
    if count.value != len(OPS):
        raise CheckFailedError(f"{library}: expected {len(OPS)} plugin creators, got {count.value}")
    return (
        f"the plugin library loads and offers {count.value} creators; run in an engine only when one is built"
    )


def _forms(spec: OpSpec, case: Case) -> list[str]:
    from tercelet.ops.bindings.onnx import bodies_of
    from tercelet.runtime.backends.onnxruntime import open_runner

    possible = []
    for form in bodies_of(spec):
        try:
            open_runner(_model_with_body(spec, case, form))
        except CheckFailedError:
            continue
        possible.append(form)
    return possible


def _model_with_body(spec: OpSpec, case: Case, form: str) -> bytes:
    import onnx

    from tercelet.ops.bindings.onnx import attach_bodies

    model = onnx.load_from_string(_model(spec, case))
    attach_bodies(model, {spec.name: form})
    return bytes(model.SerializeToString())


def _model(spec: OpSpec, case: Case) -> bytes:
    from tercelet.ops.bindings.onnx_bytes import bytes_from_op

    return bytes_from_op(spec, [array.shape for array in case.inputs], case.attributes)


def _milliseconds(spec: OpSpec, case: Case, *, library: Path | None = None, form: str = "") -> float:
    from tercelet.runtime.backends.onnxruntime import open_runner

    runner = open_runner(_model_with_body(spec, case, form) if form else _model(spec, case), library=library)
    spent = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        runner.run(_feeds(spec, case))
        spent.append(1e3 * (time.perf_counter() - start))
    return statistics.median(spent)


def _feeds(spec: OpSpec, case: Case) -> dict[str, Any]:
    return {item.name: array for item, array in zip(spec.inputs, case.inputs, strict=True)}


def _compare(spec: OpSpec, case: Case, got: dict[str, Any]) -> None:
    expected = spec.reference(*case.inputs, **case.attributes)
    outputs = expected if isinstance(expected, tuple) else (expected,)
    for item, wanted in zip(spec.outputs, outputs, strict=True):
        difference = largest_relative_difference(got[item.name], wanted)
        if not difference <= LARGEST_DIFFERENCE:
            raise CheckFailedError(f"{spec.name}: differs from its reference by {difference:.3g}")
