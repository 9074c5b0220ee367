"""The case table of every op on everything that this machine can run it with, for tests and for docs/ops.md.

python -m tercelet.export.op_support docs/ops.md
"""

from __future__ import annotations

import argparse
import os
import platform
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tercelet.contract.errors import MissingDependencyError
from tercelet.contract.op_spec import Array, Case, OpSpec
from tercelet.export.op_conformance import difference_of, expected_of, feeds_of
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx_bytes import bytes_from_op
from tercelet.ops.building import build_library
from tercelet.ops.support_table import BACKENDS, Backend, Fact, update_page

# onnx.reference takes a tenth of a millisecond for one product of a DeformConv.
MOST_SLOW_PRODUCTS = 9000
_CPU_FLAGS = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512vl", "avx512dq", "avx512bw"}}


def simd_variants() -> tuple[str, ...]:
    """The variants of the native library that this CPU runs, as ops/bindings/simd.h decides."""
    if platform.machine() != "x86_64":
        return ("plain",)
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ("plain",)
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    return ("plain", *(name for name, needed in _CPU_FLAGS.items() if needed <= flags))


def model_of(spec: OpSpec, case: Case, *, form: str = "", constants: Collection[str] = ()) -> bytes:
    """A serialized model of one node. form: of its body, "" for none. constants: inputs that are initializers
    instead."""
    import onnx

    from tercelet.ops.bindings.onnx import attach_bodies

    shapes = [array.shape for array in case.inputs]
    model = onnx.load_from_string(bytes_from_op(spec, shapes, case.attributes))
    if form:
        attach_bodies(model, {spec.name: form})
    for item, array in zip(spec.inputs, case.inputs, strict=True):
        if item.name in constants:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, item.name))
    kept = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return bytes(model.SerializeToString())


def takes(backend: Backend, spec: OpSpec, case: Case) -> bool:
    """Whether a case is run on that backend: onnx.reference is too slow or fails for some of DeformConv, and
    too slow for a network's point clouds."""
    if backend.kind != "onnx.reference" or backend.detail not in ("deform_conv", "standard"):
        return True
    if backend.detail == "standard":
        return not case.layer
    batch, channels, height, width = case.inputs[0].shape
    taps = case.inputs[1].shape[1] // 2
    places = int(np.prod(spec.output_shapes([a.shape for a in case.inputs], case.attributes)[0]))
    return bool(min(batch, height - 1, width - 1) > 0 and places * channels * taps <= MOST_SLOW_PRODUCTS)


def runs_here(backend: Backend, library: Path | None) -> bool:
    """Whether `outputs_of` can run it on this machine."""
    if backend.kind == "native":
        plain = "neon" if platform.machine() == "aarch64" else "plain"
        here = (plain, *simd_variants()[1:])
        return library is not None and backend.detail in here
    return backend.kind in _RUNNERS


def outputs_of(backend: Backend, spec: OpSpec, case: Case, library: Path | None) -> tuple[Array, ...]:
    """The outputs of a case on a backend that runs here. library: of native ops for ONNX Runtime."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        return tuple(_RUNNERS[backend.kind](backend, spec, case, library))


Differences = Callable[[Backend, OpSpec, Case], float]


def measured_facts(differences: Differences, library: Path | None) -> Iterator[Fact]:
    """A fact for every op on every backend that runs here. differences: of one case, such as from a cache."""
    for backend in BACKENDS:
        for spec in OPS.values():
            if not runs_here(backend, library) or not backend.is_offered(spec):
                continue
            cases = spec.cases()
            found = [differences(backend, spec, case) for case in cases if takes(backend, spec, case)]
            yield Fact(spec.name, backend, len(found), len(cases), max(found))


@contextmanager
def simd_variant(name: str) -> Iterator[None]:
    """Sessions opened inside use this variant of the native library, at most; "neon" is plain on aarch64."""
    before = os.environ.get("TERCELET_SIMD")
    os.environ["TERCELET_SIMD"] = "plain" if name == "neon" else name
    try:
        yield
    finally:
        if before is None:
            del os.environ["TERCELET_SIMD"]
        else:
            os.environ["TERCELET_SIMD"] = before


def _run_numpy(backend: Backend, spec: OpSpec, case: Case, library: Path | None) -> Sequence[Array]:
    return expected_of(spec, case)


def _run_torch(backend: Backend, spec: OpSpec, case: Case, library: Path | None) -> Sequence[Array]:
    import torch

    from tercelet.ops.bindings.torch import torch_op

    dtype = getattr(torch, backend.precision)
    inputs = [
        torch.from_numpy(array).to(dtype if item.is_feature else getattr(torch, item.dtype))
        for item, array in zip(spec.inputs, case.inputs, strict=True)
    ]
    with torch.no_grad():
        found = torch_op(spec.name)(*inputs, *spec.complete(case.attributes).values())
    return [value.numpy() for value in (found if isinstance(found, tuple) else (found,))]


def _run_onnxruntime(backend: Backend, spec: OpSpec, case: Case, library: Path | None) -> Sequence[Array]:
    from tercelet.runtime.backends.onnxruntime import open_runner

    if backend.kind == "body":
        runner = open_runner(model_of(spec, case, form=backend.detail))
    else:
        with simd_variant(backend.detail):
            runner = open_runner(model_of(spec, case), library=library)
    outputs = runner.run(feeds_of(spec, case))
    return [outputs[item.name] for item in spec.outputs]


def _run_onnx_reference(backend: Backend, spec: OpSpec, case: Case, library: Path | None) -> Sequence[Array]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_from_string(model_of(spec, case, form=backend.detail))
    return list(ReferenceEvaluator(model).run([item.name for item in spec.outputs], feeds_of(spec, case)))


_RUNNERS: dict[str, Callable[[Backend, OpSpec, Case, Path | None], Sequence[Array]]] = {
    "numpy": _run_numpy,
    "torch": _run_torch,
    "body": _run_onnxruntime,
    "native": _run_onnxruntime,
    "onnx.reference": _run_onnx_reference,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tercelet.export.op_support", description=__doc__)
    parser.add_argument("page", type=Path, help="the page to write, usually docs/ops.md")
    page = parser.parse_args(arguments).page
    try:
        library = build_library(report=print).path
    except MissingDependencyError as error:
        print(f"without the native library: {error}")
        library = None

    def differences(backend: Backend, spec: OpSpec, case: Case) -> float:
        return difference_of(outputs_of(backend, spec, case, library), expected_of(spec, case))

    update_page(page, measured_facts(differences, library))
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
