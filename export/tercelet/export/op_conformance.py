"""Run the case table of every op on this machine's ONNX Runtime with a native library, without the onnx
package."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.op_spec import Array, Case, OpSpec, largest_relative_difference
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx_bytes import bytes_from_op
from tercelet.runtime.backends.onnxruntime import open_runner

# Sums in another order; anything wrong is off by orders of magnitude.
LARGEST_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Conformance:
    """What a library was run on: engine and version, ops, number of cases, largest relative difference."""

    engine: str
    ops: tuple[str, ...]
    cases: int
    difference: float


def check_native_library(library: Path) -> Conformance:
    """Every op on every case made for an edge; CheckFailedError for the first beyond LARGEST_DIFFERENCE."""
    worst, count, engine = 0.0, 0, ""
    for spec, case in small_cases():
        engine, difference = run_case(spec, case, library)
        if not difference <= LARGEST_DIFFERENCE:
            raise CheckFailedError(
                f"{library}: {spec.name}, case {case.name!r}: differs from the reference by "
                f"{difference:.3g} of the largest value, expected at most {LARGEST_DIFFERENCE:g}; "
                "do not use this library"
            )
        worst, count = max(worst, difference), count + 1
    return Conformance(engine, tuple(OPS), count, worst)


def small_cases() -> Iterator[tuple[OpSpec, Case]]:
    """Every case but those with the sizes of a detector's layer."""
    for spec in OPS.values():
        for case in spec.cases():
            if not case.layer:
                yield spec, case


def run_case(spec: OpSpec, case: Case, library: Path) -> tuple[str, float]:
    """The engine's name, and how far its native kernel lies from the reference on one case."""
    model = bytes_from_op(spec, [array.shape for array in case.inputs], case.attributes)
    runner = open_runner(model, library=library)
    outputs = runner.run(feeds_of(spec, case))
    got = [outputs[item.name] for item in spec.outputs]
    return runner.engine, difference_of(got, expected_of(spec, case))


def feeds_of(spec: OpSpec, case: Case, constants: Collection[str] = ()) -> dict[str, Array]:
    """The inputs by name, without those that are constant."""
    named = zip(spec.inputs, case.inputs, strict=True)
    return {item.name: array for item, array in named if item.name not in constants}


def expected_of(spec: OpSpec, case: Case) -> tuple[Array, ...]:
    """The reference's outputs."""
    with np.errstate(all="ignore"):
        found = spec.reference(*case.inputs, **case.attributes)
    return found if isinstance(found, tuple) else (found,)


def difference_of(got: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest relative difference of all outputs; 0 only if every bit is the same, signs of zeros and
    which NaN apart."""
    return max(largest_relative_difference(*pair) for pair in zip(got, expected, strict=True))
