"""Runs the case table, then random nodes, on a native library inside ONNX Runtime; under AddressSanitizer.

    python random_runs.py LIBRARY SEED COUNT

Shapes and attributes are partly wrong on purpose: the engine must refuse those in words. What runs must give
the reference. Prints "ran N refused M"; exit status 1 otherwise.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import OpSpec, largest_relative_difference, size_of
from tercelet.export.op_conformance import LARGEST_DIFFERENCE, check_native_library
from tercelet.ops import OPS

Generator = np.random.Generator
ELEMENTS = {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
ROWS = {
    spec.name: [case for case in spec.cases() if not case.layer and case.inputs[0].size]
    for spec in OPS.values()
}


def drawn(spec: OpSpec, generator: Generator) -> tuple[list[list[int]], dict[str, Any]]:
    """Shapes and attributes that fit, taken from a small row of the table and resized."""
    rows = ROWS[spec.name]
    case = rows[int(generator.integers(len(rows)))]
    symbols = spec.bind([array.shape for array in case.inputs], case.attributes)
    if {"H", "W", "h", "w"} <= set(symbols):  # maps that are convolved: another size of the same layer
        free = [name for name in ("C", "O", "H", "W") if name in symbols]
        symbols.update(
            {name: int(generator.integers(1, 40)) for name in free}, B=int(generator.integers(1, 4))
        )
        stride = case.attributes["stride"] if "stride" in case.attributes else case.attributes["strides"][0]
        symbols.update(h=-(-symbols["H"] // stride), w=-(-symbols["W"] // stride))
    shapes = [[size_of(dimension, symbols) for dimension in item.shape] for item in spec.inputs]
    return shapes, {name: list(v) if isinstance(v, tuple) else v for name, v in case.attributes.items()}


def spoil(spec: OpSpec, shapes: list[list[int]], attributes: dict[str, Any], generator: Generator) -> None:
    """Change one thing, in place."""
    kind, which = int(generator.integers(4)), int(generator.integers(len(shapes)))
    name = list(attributes)[int(generator.integers(len(attributes)))]
    if kind == 0:
        axis = int(generator.integers(len(shapes[which])))
        shapes[which][axis] = int(generator.integers(0, 30))
    elif kind == 1:
        shapes[which].append(int(generator.integers(1, 3)))
    elif kind == 2:
        del attributes[name]
    elif isinstance(attributes[name], list):
        attributes[name][int(generator.integers(len(attributes[name])))] = int(
            generator.integers(-(1 << 40), 1 << 40)
        )
    elif isinstance(attributes[name], float):
        attributes[name] = float(generator.choice([0.0, -1.0, 0.3, 5.0, np.inf, np.nan]))
    elif isinstance(attributes[name], int):
        attributes[name] = int(generator.integers(-3, 60))
    else:
        attributes[name] = "nothing"


def run(
    spec: OpSpec, inputs: dict[str, Any], attributes: dict[str, Any], library: str, held: list[str]
) -> Any:
    """The first output of one node; `held` inputs are constants."""
    output = spec.outputs[0].name
    names = [item.name for item in spec.outputs]
    node = onnx.helper.make_node(spec.name, list(inputs), names, domain="tercelet", **attributes)
    infos = [
        onnx.helper.make_tensor_value_info(name, ELEMENTS[array.dtype.name], array.shape)
        for name, array in inputs.items()
        if name not in held
    ]
    element = ELEMENTS[spec.outputs[0].dtype]
    outputs = [onnx.helper.make_tensor_value_info(output, element, None)]
    constants = [onnx.numpy_helper.from_array(inputs[name], name) for name in held]
    graph = onnx.helper.make_graph([node], "random", infos, outputs, constants)
    opsets = [onnx.helper.make_opsetid("", 19), onnx.helper.make_opsetid("tercelet", 1)]
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.register_custom_ops_library(library)
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    return session.run(None, {name: array for name, array in inputs.items() if name not in held})[0]


def main(library: str, seed: str, count: str) -> None:
    conformance = check_native_library(Path(library))
    generator = np.random.default_rng(int(seed))
    ran = refused = 0
    for number in range(int(count)):
        spec = list(OPS.values())[number % len(OPS)]
        shapes, attributes = drawn(spec, generator)
        if generator.random() < 0.5:
            spoil(spec, shapes, attributes, generator)
        spread = float(generator.choice([1.0, 30.0, 1e6]))
        inputs = {
            item.name: (
                generator.standard_normal(shape, np.float32) * np.float32(1 if item.is_feature else spread)
            ).astype(item.dtype)
            for item, shape in zip(spec.inputs, shapes, strict=True)
        }
        held = [item.name for item in spec.inputs[2:]] if generator.random() < 0.5 else []
        try:
            spec.bind(shapes, attributes)
            fits = True
        except InputError:
            fits = False
        try:
            got = run(spec, inputs, attributes, library, held)
        except Exception as error:  # the engine's errors share no base class
            if fits or spec.name not in str(error):
                sys.exit(f"{spec.name} {shapes} {attributes}: {error}")
            refused += 1
            continue
        if not fits:
            sys.exit(f"{spec.name} {shapes} {attributes}: expected to be refused, it ran")
        expected = spec.reference(*inputs.values(), **attributes)
        expected = expected[0] if isinstance(expected, tuple) else expected
        if not largest_relative_difference(got, expected) <= LARGEST_DIFFERENCE:
            sys.exit(f"{spec.name} {shapes} {attributes}: differs from the reference")
        ran += 1
    print(f"{conformance.cases} cases, ran {ran} refused {refused}")


if __name__ == "__main__":
    main(*sys.argv[1:])
