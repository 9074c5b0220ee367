"""Rewrite a graph of opset 18 with the operators of opset 17.

Precondition: a checked model of opset 18 without functions or subgraphs. Postcondition: the same numbers at
opset 17. Between the two the reductions took their axes from an attribute into an input, Split learned to
divide by a count, and Resize got attributes whose defaults mean what it did before; everything else that
changed is not written by this project's detectors, and the ONNX checker refuses it after the pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from tercelet.contract.errors import CheckFailedError

# ReduceSum reads its axes from an input since opset 13, so it stays as it is.
_REDUCTIONS = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod")
)
# Attributes that came with opset 18, with the values that mean what was done before.
_NEW_ATTRIBUTES = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch", "noop_with_empty_axes": 0}


def lower_to_opset_17(model: onnx.ModelProto) -> None:
    """Rewrite in place; CheckFailedError naming the node that has no form in opset 17."""
    inferred = shape_inference.infer_shapes(model).graph
    lengths = {
        value.name: _shape(value) for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _REDUCTIONS:
            _drop_default_attributes(node)
            _move_axes_to_attribute(node, constants)
        elif node.op_type == "Split":
            _spell_out_split(node, lengths, model.graph)
        elif node.op_type == "Resize":
            _drop_default_attributes(node)
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = 17


def _move_axes_to_attribute(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    if len(node.input) < 2:
        return
    axes = constants.get(node.input[1])
    if axes is None:
        raise CheckFailedError(f"opset 17: {node.op_type} {node.name}: its axes are computed, not constant")
    del node.input[1:]
    node.attribute.append(helper.make_attribute("axes", numpy_helper.to_array(axes).tolist()))


def _spell_out_split(
    node: onnx.NodeProto, lengths: Mapping[str, Sequence[int]], graph: onnx.GraphProto
) -> None:
    counted = [item for item in node.attribute if item.name == "num_outputs"]
    if not counted:
        return
    axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
    pieces = [lengths.get(name, ()) for name in node.output]
    if not all(pieces):
        raise CheckFailedError(f"opset 17: Split {node.name}: the lengths of its outputs are not known")
    name = f"{node.output[0]}_split"
    values = np.asarray([shape[axis] for shape in pieces], np.int64)
    graph.initializer.append(numpy_helper.from_array(values, name))
    node.input.append(name)
    node.attribute.remove(counted[0])


def _drop_default_attributes(node: onnx.NodeProto) -> None:
    for item in list(node.attribute):
        if item.name in _NEW_ATTRIBUTES and helper.get_attribute_value(item) == _NEW_ATTRIBUTES[item.name]:
            node.attribute.remove(item)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(item.dim_value for item in value.type.tensor_type.shape.dim)
