"""What the doctor runs of the op kit, each in a fresh interpreter: one line on success, an exception
otherwise."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.op_spec import Array, Case, OpSpec
from tercelet.export.op_conformance import (
    LARGEST_DIFFERENCE,
    check_native_library,
    difference_of,
    expected_of,
    feeds_of,
)
from tercelet.export.op_support import model_of
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx_bytes import bytes_from_op

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
                runner = open_runner(model_of(spec, case, form=form))
            except CheckFailedError as error:
                refusals.append(f"not as {form} ({error})")
                continue
            outputs = runner.run(feeds_of(spec, case))
            _compare(spec, case, [outputs[item.name] for item in spec.outputs])
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
        attributes = spec.complete(case.attributes).values()
        got = torch_op(name)(*(torch.from_numpy(array) for array in case.inputs), *attributes)
        _compare(spec, case, [value.numpy() for value in (got if isinstance(got, tuple) else (got,))])
    return f"{', '.join(torch_ops())} ran in torch {torch.__version__}"


def run_cuda(library: str) -> str:
    """Every op once on the GPU."""
    from tercelet.ops.bindings.cuda_call import run_on_gpu

    for spec in OPS.values():
        case = spec.cases()[0]
        _compare(spec, case, run_on_gpu(Path(library), spec, case.inputs, case.attributes))
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
            open_runner(model_of(spec, case, form=form))
        except CheckFailedError:
            continue
        possible.append(form)
    return possible


def _milliseconds(spec: OpSpec, case: Case, *, library: Path | None = None, form: str = "") -> float:
    from tercelet.runtime.backends.onnxruntime import open_runner

    model = (
        model_of(spec, case, form=form)
        if form
        else bytes_from_op(spec, [a.shape for a in case.inputs], case.attributes)
    )
    runner = open_runner(model, library=library)
    spent = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        runner.run(feeds_of(spec, case))
        spent.append(1e3 * (time.perf_counter() - start))
    return statistics.median(spent)


def _compare(spec: OpSpec, case: Case, got: Sequence[Array]) -> None:
    difference = difference_of(got, expected_of(spec, case))
    if not difference <= LARGEST_DIFFERENCE:
        raise CheckFailedError(f"{spec.name}: differs from its reference by {difference:.3g}")
