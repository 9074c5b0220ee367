"""How the custom ops of a graph run where no native library is at hand: the form of their bodies, chosen by
measurement.

A node of domain tercelet with a body of standard operators runs in every ONNX Runtime; which standard
operators are quickest depends on the engine, and some lack one (ONNX Runtime before 1.25 has no DeformConv).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Lowering
from tercelet.contract.op_spec import DOMAIN, largest_relative_difference
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import attach_bodies, attributes_of, bodies_of, opset_of
from tercelet.runtime.backends.onnxruntime import Runner, open_runner

# A layer on equal inputs; what is wrong is off by orders of magnitude. Whole networks are discontinuous where
# a sample crosses the border, so that a layer is the only place for a narrow gate.
LARGEST_OP_DIFFERENCE = 1e-4
AUTO = "auto"
_ELEMENTS = {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
# What a graph takes: its one input, or all of them by name.
Inputs = NDArray[Any] | Mapping[str, NDArray[Any]]
_ROUNDS = 5
_WARM_UP = 2


def lower_ops(path: Path, inputs: Inputs, *, form: str = AUTO, inline: bool = False) -> Lowering | None:
    """Give the custom ops of the graph at `path` their bodies, in place; None if it has no custom op.

    A form that was asked for, or inline, is then refused.

    inputs: what the graph takes, such as (1, H, W, 3) uint8; forms are timed on it, every node is compared
    with its reference. form: "auto" takes the quickest on this machine's ONNX Runtime, else a form of
    bodies_of. inline: replace the nodes by what is in their bodies, for tools that know no functions; no
    native kernel can then run.
    Raises InputError for a form that no op has or the opset does not allow, CheckFailedError where a node
    differs from its reference by more than LARGEST_OP_DIFFERENCE.
    """
    model = onnx.load(path)
    ops = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
    if not ops:
        if form != AUTO or inline:
            raise InputError("this network has no custom ops: leave out --op-form and --inline-ops")
        return None
    offered = [name for name in _forms(ops) if _is_allowed(ops, name, opset_of(model))]
    if form != AUTO and form not in _forms(ops):
        raise InputError(f"op form: expected {AUTO}, {', '.join(_forms(ops))}, got {form!r}")
    models = {name: _with_bodies(model, ops, name) for name in (offered if form == AUTO else [form])}
    milliseconds, engine = _times(models, inputs)
    chosen = min(milliseconds, key=lambda name: milliseconds[name])
    difference = _largest_difference(models[chosen], inputs)
    if not difference <= LARGEST_OP_DIFFERENCE:
        raise CheckFailedError(
            f"custom ops as {chosen} differ from their reference by {difference:.3g} of the largest value, "
            f"expected at most {LARGEST_OP_DIFFERENCE:g}; nothing was written; take another --op-form"
        )
    written = models[chosen]
    onnx.checker.check_model(written, full_check=True)
    onnx.save(_inlined(written) if inline else written, path)
    reason = "asked" if form != AUTO else "measured" if len(milliseconds) > 1 else "only"
    forms = {name: _form_of(name, chosen) for name in ops}
    return Lowering(forms, reason, engine, milliseconds, difference)  # type: ignore[arg-type]


def _forms(ops: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in ops:
        found.update(dict.fromkeys(bodies_of(OPS[name])))
    return list(found)


def _form_of(op: str, form: str) -> str:
    """The form an op gets: `form`, or its first where it has none of that name."""
    bodies = bodies_of(OPS[op])
    return form if form in bodies else next(iter(bodies))


def _is_allowed(ops: Sequence[str], form: str, opset: int) -> bool:
    return all(bodies_of(OPS[name])[_form_of(name, form)].minimum_opset <= opset for name in ops)


def _with_bodies(model: onnx.ModelProto, ops: Sequence[str], form: str) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    attach_bodies(copy, {name: _form_of(name, form) for name in ops})
    return copy


def _times(models: Mapping[str, onnx.ModelProto], inputs: Inputs) -> tuple[dict[str, float], str]:
    """Median milliseconds of each model that the engine takes, measured in turn, and the engine's name.

    Raises CheckFailedError if it takes none.
    """
    runners: dict[str, Runner] = {}
    refusal: CheckFailedError | None = None
    for name, model in models.items():
        try:
            runners[name] = open_runner(model.SerializeToString())
        except CheckFailedError as error:
            refusal = error
    if not runners:
        raise CheckFailedError(
            f"the custom ops run as none of {', '.join(models)}: {refusal}; "
            "use a newer ONNX Runtime or another --op-form"
        ) from refusal
    engine = next(iter(runners.values())).engine
    spent: dict[str, list[float]] = {name: [] for name in runners}
    for round_number in range(_WARM_UP + _ROUNDS):
        for name, runner in runners.items():
            start = time.perf_counter()
            runner.run(_by_name(runner, inputs))
            if round_number >= _WARM_UP:
                spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: round(statistics.median(values), 3) for name, values in spent.items()}, engine


def _by_name(runner: Runner, inputs: Inputs) -> Mapping[str, NDArray[Any]]:
    return {runner.inputs[0]: inputs} if isinstance(inputs, np.ndarray) else inputs


def run_opened(
    model: onnx.ModelProto, inputs: Inputs
) -> tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]:
    """The custom nodes of a model in their order, and the values in the engine of all that they read and
    write and of the model's outputs, by name."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    nodes = [node for node in opened.graph.node if node.domain == DOMAIN]
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in opened.graph.initializer}
    taken = {value.name for value in opened.graph.input}
    wanted = {
        name: _ELEMENTS[item.dtype]
        for node in nodes
        for names, operands in (
            (node.input, OPS[node.op_type].inputs),
            (node.output, OPS[node.op_type].outputs),
        )
        for name, item in zip(names, operands, strict=True)
        if name not in constants and name not in taken
    }
    have = {value.name for value in opened.graph.output}
    for name, element in wanted.items():
        if name not in have:
            opened.graph.output.append(helper.make_tensor_value_info(name, element, None))
    runner = open_runner(opened.SerializeToString())
    read = {name for node in nodes for name in node.input}
    given = _by_name(runner, inputs)
    kept = {name: array for name, array in {**constants, **given}.items() if name in read}
    return nodes, {**kept, **runner.run(given)}


def _largest_difference(model: onnx.ModelProto, inputs: Inputs) -> float:
    """Every custom node against its reference, on the inputs that it got in the engine."""
    nodes, values = run_opened(model, inputs)
    worst = 0.0
    for node in nodes:
        expected = OPS[node.op_type].reference(*(values[name] for name in node.input), **attributes_of(node))
        outputs = expected if isinstance(expected, tuple) else (expected,)
        for name, output in zip(node.output, outputs, strict=True):
            worst = max(worst, largest_relative_difference(values[name], output))
    return worst


def inline_ops(path: Path) -> None:
    """Replace the custom nodes of a graph that `lower_ops` gave bodies by what is in them, in place."""
    onnx.save(_inlined(onnx.load(path)), path)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnx import inliner

    inlined: onnx.ModelProto = inliner.inline_local_functions(model)
    kept = [entry for entry in inlined.opset_import if entry.domain != DOMAIN]
    del inlined.opset_import[:]
    inlined.opset_import.extend(kept)
    return inlined
