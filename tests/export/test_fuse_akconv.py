"""The pass that makes one AKConv of a chain, and the chains that it must leave alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tercelet.export.passes.fuse_akconv import fuse_akconv
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import attach_bodies, node_of, register_schemas
from tercelet.runtime.backends.onnxruntime import open_runner

TAPS = (0, 0, 0, 1, 1, 0)
Change = Callable[[onnx.ModelProto], None]


def chain(*, twice: bool = False) -> onnx.ModelProto:
    """AKConvSample of 6 channels at 6x6, Reshape to 18, 1x1 Conv, SiLU; twice with shared weights."""
    register_schemas()
    generator = np.random.default_rng(0)
    weight = numpy_helper.from_array(generator.standard_normal((6, 18, 1, 1)).astype(np.float32), "w")
    bias = numpy_helper.from_array(generator.standard_normal(6).astype(np.float32), "b")
    target = numpy_helper.from_array(np.array([1, 18, 6, 6]), "flat_shape")
    nodes, source = [], "x"
    for tag in ("", "2") if twice else ("",):
        nodes += [
            node_of(OPS["AKConvSample"], [source, "offset"], [f"s{tag}"], {"taps": TAPS}),
            helper.make_node("Reshape", [f"s{tag}", "flat_shape"], [f"f{tag}"]),
            helper.make_node("Conv", [f"f{tag}", "w", "b"], [f"c{tag}"], kernel_shape=[1, 1]),
            helper.make_node("Sigmoid", [f"c{tag}"], [f"g{tag}"]),
            helper.make_node("Mul", [f"c{tag}", f"g{tag}"], [f"y{tag}"]),
        ]
        source = f"y{tag}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chain",
        [value("x", TensorProto.FLOAT, [1, 6, 6, 6]), value("offset", TensorProto.FLOAT, [1, 6, 6, 6])],
        [value(source, TensorProto.FLOAT, None)],
        [weight, bias, target],
        value_info=[value(f"s{tag}", TensorProto.FLOAT, [1, 6, 3, 6, 6]) for tag in ("", "2")],
    )
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("tercelet", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def result(model: onnx.ModelProto) -> np.ndarray:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    attach_bodies(copy)
    generator = np.random.default_rng(1)
    feeds = {name: generator.standard_normal((1, 6, 6, 6)).astype(np.float32) for name in ("x", "offset")}
    return next(iter(open_runner(copy.SerializeToString()).run(feeds).values()))


@pytest.mark.parametrize("twice", [False, True])
def test_a_chain_becomes_one_node_and_computes_the_same(twice: bool) -> None:
    model = chain(twice=twice)
    before = result(model)
    assert fuse_akconv(model) == 1 + twice
    assert [node.op_type for node in model.graph.node] == ["AKConv"] * (1 + twice)
    assert {tensor.name for tensor in model.graph.initializer} == {"w_by_tap", "b"}
    assert np.allclose(result(model), before, atol=1e-5)


def node(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(item for item in model.graph.node if item.op_type == kind)


def with_attribute(kind: str, **attributes: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node(model, kind).attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())

    return change


def with_shape(*shape: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(item for item in model.graph.initializer if item.name == "flat_shape")
        tensor.CopyFrom(numpy_helper.from_array(np.array(shape), "flat_shape"))

    return change


def with_weight(*shape: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(item for item in model.graph.initializer if item.name == "w")
        tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, np.float32), "w"))

    return change


def read_samples_elsewhere(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, None))


def multiply_by_something_else(model: onnx.ModelProto) -> None:
    node(model, "Mul").input[0] = "x"


def come_from_another_domain(model: onnx.ModelProto) -> None:
    node(model, "AKConvSample").domain = "somebody.else"


def forget_the_sizes(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(with_attribute("Conv", strides=[2, 2]), id="strides"),
        pytest.param(with_attribute("Conv", pads=[1, 1, 1, 1]), id="pads"),
        pytest.param(with_attribute("Conv", group=3), id="groups"),
        pytest.param(with_attribute("Conv", auto_pad="SAME_UPPER"), id="auto_pad"),
        pytest.param(with_weight(6, 18, 3, 3), id="3x3"),
        pytest.param(with_shape(1, 18, 4, 9), id="other height and width"),
        pytest.param(with_shape(1, 6, 18, 6), id="taps among the rows"),
        read_samples_elsewhere,
        multiply_by_something_else,
        come_from_another_domain,
        forget_the_sizes,
    ],
)
def test_a_chain_of_another_form_is_left_alone(change: Change) -> None:
    model = chain()
    change(model)
    before = model.SerializeToString()
    assert fuse_akconv(model) == 0
    assert model.SerializeToString() == before
