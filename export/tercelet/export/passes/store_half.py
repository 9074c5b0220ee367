"""Store weights in half precision: the file is half as large, the arithmetic stays float32.

Precondition: a model of opset 13 or later whose weights are float32 initializers. Postcondition: each of
those that `half_weights` knows lies in the graph as float16, and a Cast, where BatchNorm was folded into it
also a Mul with the float32 scale of that norm, makes of it what it was; engines do that once, when they open
the graph. Where the network's own weights are half-precision numbers the graph computes the same function (to
rounding of float32), because they are stored as they were before the fold; others are rounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from tercelet.contract.errors import CheckFailedError
from tercelet.export.passes.fold_batchnorm import folded_scales

# In smaller ones the two nodes take what the numbers save.
LEAST_NUMBERS = 256


@dataclass(frozen=True)
class HalfWeight:
    """values: (outputs, ...). scale: (outputs,), None where nothing was folded."""

    values: NDArray[np.float16]
    scale: NDArray[np.float32] | None


def half_weights(module: nn.Module, folded: nn.Module) -> dict[str, HalfWeight]:
    """The parameters of two or more dimensions, by the digest of their float32 bytes in `folded`.

    module: in eval mode. folded: a copy of it after `fold_batchnorm`. CheckFailedError for a weight beyond
    the range of half precision.
    """
    scales, of_folded = folded_scales(module), dict(folded.named_parameters())
    found = {}
    for name, weight in _large_weights(module):
        with np.errstate(over="ignore"):  # told below
            values = weight.astype(np.float16)
        if not np.isfinite(values).all():
            raise CheckFailedError(
                f"{name}: expected numbers up to 65504, which half precision can hold, got "
                f"{np.abs(weight).max():g}; export with --stored fp32. Nothing was written"
            )
        scale = scales.get(name)
        found[_digest(of_folded[name].detach().numpy())] = HalfWeight(
            values, None if scale is None else scale.numpy().astype(np.float32)
        )
    return found


def rounded_weights(module: nn.Module) -> int:
    """How many of the weights that would be stored hold numbers that half precision cannot."""
    with np.errstate(over="ignore"):
        return sum(
            not np.array_equal(weight.astype(np.float16).astype(np.float32), weight)
            for _, weight in _large_weights(module)
        )


def store_half(model: onnx.ModelProto, weights: Mapping[str, HalfWeight]) -> int:
    """Rewrite in place; returns how many initializers are stored in half precision now."""
    graph, nodes, kept = model.graph, [], []
    for tensor in graph.initializer:
        half = None
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= LEAST_NUMBERS:
            half = weights.get(_digest(numpy_helper.to_array(tensor)))
        if half is None:
            kept.append(tensor)
            continue
        name, shape = tensor.name, tuple(tensor.dims)
        stored = f"{name}_half"
        kept.append(numpy_helper.from_array(half.values.reshape(shape), stored))
        cast = name if half.scale is None else f"{name}_float"
        nodes.append(helper.make_node("Cast", [stored], [cast], f"{name}_cast", to=onnx.TensorProto.FLOAT))
        if half.scale is not None:
            scale = half.scale.reshape(-1, *[1] * (len(shape) - 1))
            kept.append(numpy_helper.from_array(scale, f"{name}_scale"))
            nodes.append(helper.make_node("Mul", [cast, f"{name}_scale"], [name], f"{name}_scaled"))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    return sum(node.op_type == "Cast" for node in nodes)


def _large_weights(module: nn.Module) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2 and parameter.numel() >= LEAST_NUMBERS:
            yield name, parameter.detach().numpy()


def _digest(values: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
