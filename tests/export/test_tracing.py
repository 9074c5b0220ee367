"""Torch's exporter and its optimisation: what keeps a divisor from being 0 stays in the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from tercelet.export.tracing import onnx_from_module
from tercelet.runtime.backends.onnxruntime import open_runner


class _Divided(nn.Module):
    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least

    def forward(self, rows: Tensor) -> Tensor:
        return rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + self.least)


class _Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, rows: Tensor) -> Tensor:
        return rows * self.scale + 0


def run_of(module: nn.Module, rows: np.ndarray) -> tuple[onnx.ModelProto, np.ndarray]:
    example = {"rows": torch.zeros(rows.shape)}
    model = onnx_from_module(module.eval(), example, output_names=["out"], opset=18)
    return model, open_runner(model.SerializeToString()).run({"rows": rows})["out"]


@pytest.mark.parametrize("least", [1e-12, 1e-8, 1e-6])
def test_a_small_number_added_to_a_divisor_is_not_left_out(least: float) -> None:
    rows = np.zeros((2, 3), np.float32)
    rows[1] = (3, 0, 4)
    _, found = run_of(_Divided(least), rows)
    assert np.array_equal(found[0], np.zeros(3))
    assert np.allclose(found[1], (0.6, 0, 0.8))


def test_a_factor_next_to_one_is_not_left_out() -> None:
    rows = np.ones((1, 2), np.float32)
    _, found = run_of(_Scaled(1.000003), rows)
    assert (found == np.float32(1.000003)).all()


def test_what_is_exactly_nothing_is_left_out() -> None:
    model, found = run_of(_Scaled(1.0), np.ones((1, 2), np.float32))
    assert (found == 1).all()
    assert {node.op_type for node in model.graph.node} <= {"Identity"}


def test_several_inputs_keep_their_names() -> None:
    class Sum(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first - second

    example = {"b": torch.zeros(2), "a": torch.zeros(2)}
    model = onnx_from_module(Sum().eval(), example, output_names=["out"], opset=18)
    assert [value.name for value in model.graph.input] == ["b", "a"]
    given = {"a": np.array([1, 2], np.float32), "b": np.array([5, 5], np.float32)}
    assert open_runner(model.SerializeToString()).run(given)["out"].tolist() == [4, 3]
