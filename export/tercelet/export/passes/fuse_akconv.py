"""Fuse AKConvSample, the 1x1 convolution over its samples and SiLU into one AKConv.

Precondition: AKConvSample nodes whose samples go through one Reshape to (B, C * N, h, w), a 1x1
Conv with constant weights, Sigmoid and Mul, and nowhere else. Postcondition: such chains are one AKConv node
each, the same function to rounding; chains of another form are left alone. The samples, N times as large as
the map, are then never written down by engines that have AKConv, and it is what lowers to one DeformConv.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tercelet.contract.op_spec import DOMAIN
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import attributes_of, node_of


@dataclass(frozen=True)
class _Chain:
    sample: onnx.NodeProto
    flatten: onnx.NodeProto
    conv: onnx.NodeProto
    sigmoid: onnx.NodeProto
    product: onnx.NodeProto

    @property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        return self.sample, self.flatten, self.conv, self.sigmoid, self.product


def fuse_akconv(model: onnx.ModelProto) -> int:
    """Fuse in place; returns how many chains were fused."""
    graph = model.graph
    if any(item.type == onnx.AttributeProto.GRAPH for node in graph.node for item in node.attribute):
        return 0  # names may be read inside; this project's detectors have no branches
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    fused = 0
    for node in [n for n in graph.node if (n.domain, n.op_type) == (DOMAIN, "AKConvSample")]:
        chain = _chain_from(node, readers, results)
        if chain is not None and _is_pointwise(chain, constants, sizes.get(node.output[0], [])):
            _replace(graph, chain, constants)
            fused += 1
    if fused:
        _drop_unread_constants(graph)
    return fused


def _chain_from(
    sample: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], results: set[str]
) -> _Chain | None:
    def only_reader(node: onnx.NodeProto, *kinds: str) -> onnx.NodeProto | None:
        found = readers.get(node.output[0], [])
        fits = len(found) == 1 and found[0].op_type in kinds and node.output[0] not in results
        return found[0] if fits else None

    flatten = only_reader(sample, "Reshape")
    conv = only_reader(flatten, "Conv") if flatten is not None else None
    if flatten is None or conv is None or conv.output[0] in results:
        return None
    after = readers.get(conv.output[0], [])
    sigmoid = next((node for node in after if node.op_type == "Sigmoid"), None)
    product = next((node for node in after if node.op_type == "Mul"), None)
    if sigmoid is None or product is None or len(after) != 2 or only_reader(sigmoid, "Mul") is not product:
        return None
    return _Chain(sample, flatten, conv, sigmoid, product)


def _is_pointwise(chain: _Chain, constants: dict[str, onnx.TensorProto], sampled: list[int]) -> bool:
    """The samples become (B, C * N, h, w), and the convolution over them is a plain one of single pixels.

    sampled: the sizes of the samples (B, C, N, h, w), which the graph has to state.
    """
    weight, target = constants.get(chain.conv.input[1]), constants.get(chain.flatten.input[1])
    if weight is None or target is None or weight.data_type != onnx.TensorProto.FLOAT:
        return False
    settings = {item.name: onnx.helper.get_attribute_value(item) for item in chain.conv.attribute}
    is_plain = (
        set(settings.get("strides", [1])) | set(settings.get("dilations", [1])) == {1}
        and not any(settings.get("pads", []))
        and settings.get("group", 1) == 1
        and settings.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )
    shape = numpy_helper.to_array(target).tolist()
    is_flat = len(sampled) == 5 and shape[1:] == [sampled[1] * sampled[2], *sampled[3:]]
    bias = chain.conv.input[2] if len(chain.conv.input) > 2 else ""
    return is_plain and is_flat and list(weight.dims[2:]) == [1, 1] and (not bias or bias in constants)


def _replace(graph: onnx.GraphProto, chain: _Chain, constants: dict[str, onnx.TensorProto]) -> None:
    weight = numpy_helper.to_array(constants[chain.conv.input[1]])
    attributes = attributes_of(chain.sample)
    taps = attributes["taps"]
    assert isinstance(taps, tuple)
    count = len(taps) // 2
    name = f"{chain.conv.input[1]}_by_tap"
    shaped = weight.reshape(weight.shape[0], weight.shape[1] // count, 1, count)
    _add_constant(graph, name, np.ascontiguousarray(shaped))
    bias = chain.conv.input[2] if len(chain.conv.input) > 2 else ""
    if not bias:
        bias = f"{name}_bias"
        _add_constant(graph, bias, np.zeros(weight.shape[0], np.float32))
    fused = node_of(
        OPS["AKConv"],
        [*chain.sample.input, name, bias],
        list(chain.product.output),
        {
            "strides": (attributes["stride"], attributes["stride"]),  # type: ignore[dict-item]
            "pads": (0, count - 1, 0, count - 1),
            "grid": attributes["grid"],
            "taps": taps,
        },
        name=chain.sample.name,
    )
    place = next(i for i, node in enumerate(graph.node) if node.output[0] == chain.product.output[0])
    graph.node.insert(place, fused)
    for node in chain.nodes:
        graph.node.remove(node)


def _add_constant(graph: onnx.GraphProto, name: str, value: NDArray[np.float32]) -> None:
    """Add an initializer, once where chains share their weights."""
    if not any(tensor.name == name for tensor in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(value, name))


def _drop_unread_constants(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    made = {name for node in graph.node for name in node.output}
    described = [value for value in graph.value_info if value.name in made]
    del graph.value_info[:]
    graph.value_info.extend(described)
