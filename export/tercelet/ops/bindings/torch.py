"""The ops of `OPS` as torch custom ops `tercelet::<folder>`, derived from their specifications.

An op is known to torch if its folder has a `torch_kernel.py`, which defines

    <folder>(*inputs, **attributes)                     the output, or a tuple of them, contiguous
    <folder>_backward(*grads, *inputs, **attributes)    one gradient an input, contiguous

The second may be absent: the op is then not differentiable. It gives no gradient to inputs of integers.

The schema is the specification's: tensors, then every attribute, none with a default, so that each is spelled
out in an exported graph. Shapes without data come from the shape rule, symbolic ones included.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import (
    DOMAIN,
    AttributeValue,
    Operand,
    OpSpec,
    size_of,
    sizing_attributes,
    split_dimension,
)
from tercelet.ops import OPS

_TYPES = {"int": "int", "ints": "int[]", "float": "float", "string": "str"}
_AUTOCAST = {"cpu": "AutocastCPU", "cuda": "AutocastCUDA"}


def torch_op(name: str) -> Callable[..., Any]:
    """The torch op of the specification `name`: op(*inputs, *attributes), both in its order.

    Differentiable, traceable, and under autocast its coordinates stay float32. Raises InputError for a name
    that has no torch kernel.
    """
    if name not in _TORCH_OPS:
        raise InputError(f"expected an op with a torch kernel, one of {', '.join(_TORCH_OPS)}, got {name!r}")
    return _TORCH_OPS[name]


def torch_ops() -> tuple[str, ...]:
    """The names that `torch_op` takes."""
    return tuple(_TORCH_OPS)


def _kernels(spec: OpSpec) -> ModuleType | None:
    where = f"tercelet.ops.{spec.folder}.torch_kernel"
    return importlib.import_module(where) if importlib.util.find_spec(where) else None


def _registered(spec: OpSpec, kernels: ModuleType) -> Callable[..., Any]:
    """The op, registered unless this process has it already."""
    if not hasattr(getattr(torch.ops, DOMAIN), spec.folder):
        _register(spec, kernels)
    found: Callable[..., Any] = getattr(getattr(torch.ops, DOMAIN), spec.folder).default
    return found


def _register(spec: OpSpec, kernels: ModuleType) -> None:
    forward = _define(spec, spec.folder, getattr(kernels, spec.folder), spec.inputs, spec.outputs)
    forward.register_fake(_fake(spec))
    if hasattr(kernels, f"{spec.folder}_backward"):
        _register_gradient(spec, forward, getattr(kernels, f"{spec.folder}_backward"))
    for device, key in _AUTOCAST.items():
        _register_autocast(spec, device, key)


def _define(
    spec: OpSpec,
    name: str,
    kernel: Callable[..., Any],
    inputs: Sequence[Operand],
    outputs: Sequence[Operand],
) -> Any:
    arity = len(inputs)

    def run(*arguments: Any) -> Any:
        result = kernel(*arguments[:arity], **_attributes(spec, arguments[arity:]))
        return result[0] if isinstance(result, tuple) and len(result) == 1 else result

    operands = [f"Tensor {operand.name}" for operand in inputs]
    operands += [f"{_TYPES[item.kind]} {item.name}" for item in spec.attributes]
    returned = "Tensor" if len(outputs) == 1 else f"({', '.join('Tensor' for _ in outputs)})"
    schema = f"({', '.join(operands)}) -> {returned}"
    return torch.library.custom_op(f"{DOMAIN}::{name}", run, mutates_args=(), schema=schema)


def _attributes(spec: OpSpec, values: Sequence[Any]) -> dict[str, AttributeValue]:
    named = zip(spec.attributes, values, strict=True)
    return {item.name: tuple(value) if item.kind == "ints" else value for item, value in named}


def _fake(spec: OpSpec) -> Callable[..., Any]:
    arity = len(spec.inputs)

    def empty_outputs(*arguments: Any) -> Any:
        tensors: tuple[Tensor, ...] = arguments[:arity]
        shapes = _output_shapes(spec, tensors, _attributes(spec, arguments[arity:]))
        made = tuple(
            tensors[0].new_empty(shape, dtype=_output_dtype(spec, operand, tensors))
            for operand, shape in zip(spec.outputs, shapes, strict=True)
        )
        return made[0] if len(made) == 1 else made

    return empty_outputs


def _output_shapes(
    spec: OpSpec, tensors: Sequence[Tensor], attributes: dict[str, AttributeValue]
) -> list[tuple[int, ...]]:
    """The shape rule; sizes that are still symbols are taken from the operand that shows them first."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if all(isinstance(size, int) for shape in shapes for size in shape):
        return spec.output_shapes(shapes, attributes)
    symbols: dict[str, int] = {name: int(attributes[name]) for name in sizing_attributes(spec)}  # type: ignore[arg-type]
    for operand, shape in zip(spec.inputs, shapes, strict=True):
        for dimension, size in zip(operand.shape, shape, strict=True):
            if isinstance(dimension, str):
                factor, symbol = split_dimension(dimension)
                symbols.setdefault(symbol, size if factor == 1 else size // factor)
    return [tuple(size_of(dimension, symbols) for dimension in operand.shape) for operand in spec.outputs]


def _output_dtype(spec: OpSpec, output: Operand, tensors: Sequence[Tensor]) -> torch.dtype:
    """int32 as specified, or that of the first input of the same kind, feature or coordinate."""
    if output.dtype == "int32":
        return torch.int32
    alike = [
        t.dtype
        for t, item in zip(tensors, spec.inputs, strict=True)
        if item.is_feature == output.is_feature and item.dtype == "float32"
    ]
    return alike[0] if alike else torch.float32


def _register_gradient(spec: OpSpec, forward: Any, kernel: Callable[..., Any]) -> None:
    """The gradient as an op of its own, opaque like the forward one: a training step can then be traced."""
    arity, given = len(spec.inputs), len(spec.outputs)
    grads = tuple(Operand(f"grad_{item.name}", item.shape, "gradient") for item in spec.outputs)
    has_gradient = [item.dtype == "float32" for item in spec.inputs]
    outputs = [item for item in spec.inputs if item.dtype == "float32"]
    backward = _define(spec, f"{spec.folder}_backward", kernel, (*grads, *spec.inputs), outputs)

    def empty_gradients(*arguments: Any) -> Any:
        inputs = zip(arguments[given : given + arity], has_gradient, strict=True)
        made = tuple(tensor.new_empty(tensor.shape) for tensor, wanted in inputs if wanted)
        return made[0] if len(made) == 1 else made

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:arity])
        ctx.attributes = inputs[arity:]

    def gradients(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = backward(*grads, *ctx.saved_tensors, *ctx.attributes)
        rest = iter((found,) if len(outputs) == 1 else found)
        return (*(next(rest) if wanted else None for wanted in has_gradient), *(None for _ in ctx.attributes))

    backward.register_fake(empty_gradients)
    forward.register_autograd(gradients, setup_context=keep)


def _register_autocast(spec: OpSpec, device: str, key: str) -> None:
    library = torch.library.Library(DOMAIN, "FRAGMENT")  # type: ignore[no-untyped-call]

    # The default argument keeps the library alive as long as torch has the rule.
    def with_float32_coordinates(*arguments: Any, _library: torch.library.Library = library) -> Any:
        tensors = [
            tensor
            if item.is_feature or item.dtype == "int32" or tensor.dtype == torch.float64
            else tensor.float()
            for item, tensor in zip(spec.inputs, arguments, strict=False)
        ]
        with torch.autocast(device, enabled=False):
            return torch_op(spec.name)(*tensors, *arguments[len(tensors) :])

    library.impl(spec.folder, with_float32_coordinates, key)  # type: ignore[no-untyped-call]


_TORCH_OPS: dict[str, Callable[..., Any]] = {
    spec.name: _registered(spec, kernels) for spec in OPS.values() if (kernels := _kernels(spec)) is not None
}
