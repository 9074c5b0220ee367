"""The ops in ONNX: schemas, translation from torch, and bodies attached to and taken off a model.

A node of domain `tercelet` with a FunctionProto body runs in any ONNX Runtime; where the native library is
registered, the engine takes the native kernel instead. Several tools inline or drop bodies silently: attach
them last, or again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import DOMAIN, DOMAIN_VERSION, AttributeValue, OpSpec
from tercelet.ops import OPS
from tercelet.ops.body import Body, Reference

_SCHEMA_TYPES = {"int": "INT", "ints": "INTS", "float": "FLOAT", "string": "STRING"}
# From this opset on reductions take their axes as an input.
_AXES_ARE_INPUTS = 18
_PROTO_TYPES = {
    "int": onnx.AttributeProto.INT,
    "ints": onnx.AttributeProto.INTS,
    "float": onnx.AttributeProto.FLOAT,
    "string": onnx.AttributeProto.STRING,
}


def register_schemas() -> None:
    """Tell the onnx package of every op, so that checker, shape inference and exporter know it;
    idempotent."""
    for spec in OPS.values():
        if not onnx.defs.has(spec.name, DOMAIN):
            onnx.defs.register_schema(_schema(spec))


def node_of(
    spec: OpSpec,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, AttributeValue],
    name: str = "",
) -> onnx.NodeProto:
    """A node with every attribute written out, as bodies need it. InputError for attributes that do not
    fit."""
    complete: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in spec.complete(attributes).items()
    }
    return helper.make_node(spec.name, list(inputs), list(outputs), name=name, domain=DOMAIN, **complete)


def attributes_of(node: onnx.NodeProto) -> dict[str, AttributeValue]:
    """The attributes of a node of domain tercelet as its specification has them."""
    found: dict[str, AttributeValue] = {}
    for item in node.attribute:
        value = helper.get_attribute_value(item)
        if isinstance(value, bytes):
            value = value.decode()
        found[item.name] = tuple(value) if isinstance(value, list) else value
    return OPS[node.op_type].complete(found)


def bodies_of(spec: OpSpec) -> dict[str, Body]:
    """The forms that an op's body.py offers, by name."""
    module = import_module(f"tercelet.ops.{spec.folder}.body")
    return {body.form: body for body in module.BODIES}


def attach_bodies(model: onnx.ModelProto, forms: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give every tercelet op of the main graph its body, in place; returns the form that each op got.

    forms: op name to form, for ops not named the first that the model's opset allows. InputError for an
    unknown form, one that needs a newer opset, or nodes of one op that need different variants of it.
    """
    detach_bodies(model)
    used: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.domain == DOMAIN:
            used.setdefault(node.op_type, set()).add(
                _variant_of(node, next(iter(bodies_of(OPS[node.op_type]).values())))
            )
    opset = opset_of(model)
    chosen: dict[str, str] = {}
    for name, variants in sorted(used.items()):
        if len(variants) > 1:
            raise InputError(
                f"{name}: expected one variant in a model, got {' and '.join(sorted(variants))}; "
                "a body cannot tell them apart"
            )
        bodies = bodies_of(OPS[name])
        possible = (form for form, body in bodies.items() if body.minimum_opset <= opset)
        chosen[name] = (forms or {}).get(name) or next(possible, next(iter(bodies)))
        model.functions.append(function_of(OPS[name], chosen[name], opset=opset, variant=variants.pop()))
    if used and not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    return chosen


def detach_bodies(model: onnx.ModelProto) -> None:
    """Take the bodies of tercelet ops off a model, in place; its nodes stay."""
    kept = [function for function in model.functions if function.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend(kept)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that a model uses."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


@cache
def function_of(spec: OpSpec, form: str, *, opset: int, variant: str) -> onnx.FunctionProto:
    """The body of an op as a FunctionProto. InputError for an unknown form or too old an opset."""
    bodies = bodies_of(spec)
    body = bodies.get(form)
    if body is None:
        raise InputError(f"{spec.name}: expected a body among {', '.join(bodies)}, got {form!r}")
    if opset < body.minimum_opset:
        raise InputError(
            f"{spec.name}: the body {form} needs opset {body.minimum_opset}, got {opset}; "
            "take a newer opset or another body"
        )
    graph = _FunctionGraph(spec, opset)
    body.build(graph, variant)
    return helper.make_function(
        DOMAIN,
        spec.name,
        [item.name for item in spec.inputs],
        [item.name for item in spec.outputs],
        _read_nodes(graph.nodes, {item.name for item in spec.outputs}),
        [helper.make_opsetid("", opset)],
        attributes=[item.name for item in spec.attributes],
    )


def _read_nodes(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in order: engines run what nobody reads as well."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(names_read(node))
            kept.append(node)
    return kept[::-1]


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, the nodes of its subgraphs included."""
    yield from node.input
    for item in node.attribute:
        for inner in item.g.node:
            yield from names_read(inner)
        yield from (value.name for value in item.g.output)


def translation_table() -> dict[Any, Any]:
    """For torch.onnx.export(custom_translation_table=...): every torch op of the kit to one node."""
    import onnxscript
    import torch

    from tercelet.ops.bindings.torch import torch_ops

    register_schemas()
    domain = onnxscript.values.Opset(DOMAIN, DOMAIN_VERSION)
    table = {}
    for spec in OPS.values():
        if spec.name not in torch_ops():
            continue  # an op that only a graph pass makes
        overload = getattr(torch.ops.tercelet, spec.folder).default
        table[overload] = _translation(spec, onnxscript.values.Op(domain, spec.name))
    return table


def _translation(spec: OpSpec, op: Any) -> Any:
    inputs = [item.name for item in spec.inputs]

    def translate(*values: Any, **named: Any) -> Any:
        given = dict(zip([*inputs, *(item.name for item in spec.attributes)], values, strict=False)) | named
        attributes = {item.name: given[item.name] for item in spec.attributes if item.name in given}
        complete = spec.complete(attributes)
        return op(
            *(given[name] for name in inputs),
            **{key: list(value) if isinstance(value, tuple) else value for key, value in complete.items()},
        )

    return translate


def _schema(spec: OpSpec) -> Any:
    schema = onnx.defs.OpSchema

    def operand(item: Any) -> Any:
        kind = "tensor(int32)" if item.dtype == "int32" else "tensor(float)"
        return schema.FormalParameter(item.name, "T" if item.is_feature else kind, item.meaning)

    attributes = []
    has_features = any(item.is_feature for item in (*spec.inputs, *spec.outputs))
    for item in spec.attributes:
        kind = getattr(schema.AttrType, _SCHEMA_TYPES[item.kind])
        if item.default is None:
            attributes.append(schema.Attribute(item.name, kind, item.meaning, required=True))
        else:
            attributes.append(
                schema.Attribute(item.name, helper.make_attribute(item.name, item.default), item.meaning)
            )
    return schema(
        spec.name,
        DOMAIN,
        DOMAIN_VERSION,
        spec.summary,
        inputs=[operand(item) for item in spec.inputs],
        outputs=[operand(item) for item in spec.outputs],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "features")] if has_features else [],
        attributes=attributes,
    )


def _variant_of(node: onnx.NodeProto, body: Body) -> str:
    return str(attributes_of(node)[body.variant]) if body.variant else ""


class _FunctionGraph:
    """See ops.body.Graph. Constants are tensor constants: the float16 converter and simplifiers break on
    others."""

    FLOAT = int(onnx.TensorProto.FLOAT)
    INT64 = int(onnx.TensorProto.INT64)
    INT32 = int(onnx.TensorProto.INT32)

    def __init__(self, spec: OpSpec, opset: int) -> None:
        self.spec, self.opset = spec, opset
        self.nodes: list[onnx.NodeProto] = []
        self._written = self.nodes  # the list of the subgraph that is being built
        self._known: dict[Any, str] = {}
        self._count = 0

    def op(self, name: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(name, 1, *inputs, **attributes)[0]

    def ops(self, name: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        outputs = [self._fresh() for _ in range(count)]
        kept = {key: value for key, value in attributes.items() if not isinstance(value, Reference)}
        node = helper.make_node(name, list(inputs), outputs, **kept)
        for key, value in attributes.items():
            if isinstance(value, Reference):
                node.attribute.append(self._referring(key, value.name))
        self._written.append(node)
        return outputs

    def reduced(self, name: str, value: str, axis: int) -> str:
        if self.opset < _AXES_ARE_INPUTS:
            return self.op(name, value, axes=[axis], keepdims=0)
        return self.op(name, value, self.integers([axis]), keepdims=0)

    def loop(
        self,
        count: str,
        carried: Sequence[str],
        body: Callable[..., tuple[Sequence[str], Sequence[str]]],
        *,
        types: Sequence[int],
        collected: Sequence[int],
    ) -> list[str]:
        step, goes_on, *states = (self._fresh() for _ in range(2 + len(carried)))
        outer, self._written = self._written, []
        kept, gathered = body(step, *states)
        names = [self.op("Identity", value) for value in (goes_on, *kept, *gathered)]
        nodes, self._written = self._written, outer
        boolean, integer = onnx.TensorProto.BOOL, onnx.TensorProto.INT64

        def info(name: str, kind: int, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, shape)

        inputs = [info(step, integer, []), info(goes_on, boolean, [])]
        inputs += [info(name, kind) for name, kind in zip(states, types, strict=True)]
        kinds = [boolean, *types, *collected]
        outputs = [info(name, kind) for name, kind in zip(names, kinds, strict=True)]
        graph = helper.make_graph(nodes, f"loop_{step}", inputs, outputs)
        true = self._constant(np.asarray(True))
        return self.ops("Loop", len(carried) + len(collected), count, true, *carried, body=graph)

    def float(self, value: float) -> str:
        return self._constant(np.asarray(value, np.float32))

    def integer(self, value: int) -> str:
        return self._constant(np.asarray(value, np.int64))

    def integers(self, values: Sequence[int]) -> str:
        return self._constant(np.asarray(values, np.int64))

    def vector(self, *scalars: str) -> str:
        parts = [self.op("Reshape", scalar, self.integers([1])) for scalar in scalars]
        return self.op("Concat", *parts, axis=0)

    def attribute(self, name: str) -> str:
        key = ("attribute", name)
        if key not in self._known:
            kind = next(item.kind for item in self.spec.attributes if item.name == name)
            output = self._fresh()
            node = helper.make_node("Constant", [], [output])
            node.attribute.append(self._referring(f"value_{kind}", name))
            self.nodes.append(node)
            self._known[key] = output
        return self._known[key]

    def reference(self, name: str) -> Reference:
        return Reference(name)

    def output(self, name: str, value: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def _constant(self, value: Any) -> str:
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            output = self._fresh()  # outside of all subgraphs, so that every one sees it
            self.nodes.append(
                helper.make_node("Constant", [], [output], value=numpy_helper.from_array(value))
            )
            self._known[key] = output
        return self._known[key]

    def _fresh(self) -> str:
        self._count += 1
        return f"t{self._count - 1}"

    def _referring(self, attribute: str, name: str) -> onnx.AttributeProto:
        kind = next(item.kind for item in self.spec.attributes if item.name == name)
        proto = onnx.AttributeProto(name=attribute, ref_attr_name=name)
        proto.type = _PROTO_TYPES[kind]
        return proto
