"""Weights stored in half precision: half the file, and the same numbers where the weights were so before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import lively_detector
from torch import nn

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.preprocess import Preprocess
from tercelet.contract.scenes import synthetic_frame
from tercelet.contract.session import SessionOptions, TopCandidates
from tercelet.export import export
from tercelet.export.demonstration.packaged_weights import PackagedWeights
from tercelet.export.onnx_from_detector import onnx_from_detector
from tercelet.export.op_lowering import lower_ops
from tercelet.export.passes.fold_batchnorm import fold_batchnorm, folded_scales
from tercelet.export.passes.store_half import LEAST_NUMBERS, half_weights, rounded_weights, store_half
from tercelet.runtime import open_pipeline
from tercelet.runtime.backends.onnxruntime import open_runner
from tercelet.runtime.command_line import main
from tercelet.runtime.opening import open_session
from tercelet.training import load_checkpoint, round_checkpoint

SIDE = 64
# The scale of a norm is rounded to float32 before it is multiplied, and not after: one bit of each weight.
ROUNDING_PX, ROUNDING_SCORE = 0.05, 1e-4


@pytest.fixture(scope="module")
def half_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half") / "half-checkpoint"
    round_checkpoint(tiny_checkpoint, folder)
    return folder


@pytest.fixture(scope="module")
def bundles(half_checkpoint: Path) -> dict[str, Path]:
    """Of the same checkpoint, stored in both ways."""
    folders = {stored: half_checkpoint.parent / stored for stored in ("fp32", "fp16")}
    for stored, folder in folders.items():
        assert main(["export", str(half_checkpoint), "--stored", stored, "-o", str(folder)]) == 0
    return folders


def rounded(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(parameter.half())
    return module


def numbers_by_type(path: Path) -> dict[int, int]:
    """Numbers in the initializers of a graph, by their ONNX type."""
    found: dict[int, int] = {}
    for tensor in onnx.load(path).graph.initializer:
        found[tensor.data_type] = found.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
    return found


def candidates(folder: Path) -> TopCandidates:
    session = open_session(folder, read_manifest(folder), SessionOptions(threads=1))
    found = session.run(synthetic_frame(3, height=SIDE, width=SIDE)[None])
    session.close()
    return found


def test_a_graph_without_large_weights_is_left_as_it_is() -> None:
    small = nn.Conv2d(3, 2, 1)
    model = _model_with({"small": small.weight.detach().numpy()})
    before = model.SerializeToString()
    assert half_weights(small, small) == {}
    assert store_half(model, {}) == 0
    assert model.SerializeToString() == before
    assert rounded_weights(small) == 0


def _model_with(constants: dict[str, Any]) -> onnx.ModelProto:
    nodes = [onnx.helper.make_node("Identity", [name], [f"{name}_out"]) for name in constants]
    outputs = [
        onnx.helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, value.shape)
        for name, value in constants.items()
    ]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "graph", [], outputs, tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def test_half_precision_weights_come_out_of_the_graph_bit_for_bit() -> None:
    conv = rounded(nn.Conv2d(8, 16, 3))
    weight = conv.weight.detach().numpy()  # type: ignore[union-attr,operator]
    model = _model_with({"weight": weight, "other": weight + 1})
    assert store_half(model, half_weights(conv, conv)) == 1
    onnx.checker.check_model(model, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types == {"weight_half": onnx.TensorProto.FLOAT16, "other": onnx.TensorProto.FLOAT}
    runner = open_runner(model.SerializeToString())
    assert runner.run({})["weight_out"].tobytes() == weight.tobytes()


def test_the_scales_are_those_that_folding_multiplies_by() -> None:
    detector = lively_detector("yolov5n-akconv", classes=2)
    before = {name: value.detach().clone() for name, value in detector.named_parameters()}
    scales = folded_scales(detector)
    assert len(scales) == fold_batchnorm(detector)
    after = dict(detector.named_parameters())
    for name, scale in scales.items():
        wanted = (before[name].flatten(1).double() * scale[:, None]).float()
        assert torch.equal(after[name].flatten(1), wanted), name
    assert folded_scales(detector) == {}


def test_weights_of_a_half_precision_checkpoint_give_the_same_candidates_from_half_the_file(
    bundles: dict[str, Path],
) -> None:
    sizes = {stored: (folder / "model.onnx").stat().st_size for stored, folder in bundles.items()}
    assert sizes["fp16"] < 0.56 * sizes["fp32"]
    assert read_manifest(bundles["fp32"]).stored is None
    manifest = read_manifest(bundles["fp16"])
    assert manifest.stored == "fp16"
    assert manifest.target is not None
    assert manifest.target.precision == "fp32"
    assert manifest.parity is not None
    assert manifest.parity.missing == 0
    wanted, got = (candidates(folder) for folder in bundles.values())
    np.testing.assert_allclose(got.scores, wanted.scores, atol=ROUNDING_SCORE)
    order = np.abs(got.boxes - wanted.boxes).max(2) < ROUNDING_PX
    assert order.mean() > 0.99  # two of equal score may stand in another order


def test_the_engine_opens_the_same_graph_either_way(bundles: dict[str, Path], tmp_path: Path) -> None:
    operators = []
    for stored, folder in bundles.items():
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{stored}.onnx")
        onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        opened = onnx.load(options.optimized_model_filepath)
        operators.append(sorted(node.op_type for node in opened.graph.node))
        assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in opened.graph.initializer}
    assert operators[0] == operators[1]


def test_only_large_weights_are_stored_in_half(half_checkpoint: Path, bundles: dict[str, Path]) -> None:
    detector, _ = load_checkpoint(half_checkpoint)
    counts = numbers_by_type(bundles["fp16"] / "model.onnx")
    large = [p.numel() for p in detector.parameters() if p.ndim >= 2 and p.numel() >= LEAST_NUMBERS]
    assert counts[onnx.TensorProto.FLOAT16] == sum(large)


def test_akconv_is_fused_and_stored_in_half_alike(tmp_path: Path) -> None:
    detector = rounded(lively_detector("yolov5n-akconv", classes=2))
    canvas = synthetic_frame(1, height=SIDE, width=SIDE)[None]
    found = []
    for stored in ("fp32", "fp16"):
        path = tmp_path / f"{stored}.onnx"
        onnx_from_detector(
            detector, path, preprocess=Preprocess(SIDE, SIDE), candidates=50, opset=None, stored=stored
        )
        assert lower_ops(path, canvas, form="row_gather") is not None
        runner = open_runner(path.read_bytes())
        found.append(runner.run({runner.inputs[0]: canvas})["scores"])
    np.testing.assert_allclose(found[1], found[0], atol=ROUNDING_SCORE)
    halves = numbers_by_type(tmp_path / "fp16.onnx")[onnx.TensorProto.FLOAT16]
    assert halves > 0.95 * sum(p.numel() for p in detector.parameters() if p.ndim >= 2)


def test_weights_that_half_precision_cannot_hold_are_rounded_only_as_far_as_the_gates_allow(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    with pytest.raises(CheckFailedError, match="the graph differs from torch"):
        export(tiny_checkpoint, output=tmp_path / "b", stored="fp16", report=said.append)
    assert "hold no numbers of half precision and are rounded" in said[0]
    assert not (tmp_path / "b").exists()


def test_a_weight_beyond_half_precision_is_refused() -> None:
    conv = nn.Conv2d(8, 16, 3)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = 70000.0
    with pytest.raises(CheckFailedError, match=r"weight: expected numbers up to 65504, .* got 70000"):
        half_weights(conv, conv)
    assert rounded_weights(conv) == 1


def test_another_way_of_storing_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stored: expected one of fp32, fp16, got 'int8'"):
        export(tiny_checkpoint, output=tmp_path / "b", stored="int8")  # type: ignore[arg-type]
    assert not (tmp_path / "b").exists()


def test_density_networks_are_stored_in_half_too(weights: PackagedWeights) -> None:
    inner = weights.bundle / "density"
    manifest = read_manifest(inner)
    assert manifest.stored == "fp16"
    assert manifest.density_parity is not None
    assert manifest.density_parity.cells_max <= manifest.density_parity.gate
    counts = numbers_by_type(inner / "model.onnx")
    assert counts[onnx.TensorProto.FLOAT16] > 10 * counts[onnx.TensorProto.FLOAT]


def test_an_aerial_bundle_of_both_asks_both(weights: PackagedWeights) -> None:
    assert read_manifest(weights.bundle).stored == "fp16"
    with open_pipeline(weights.bundle, threads=1) as detect:
        found = detect(synthetic_frame(0, height=300, width=400))
    assert len(found) > 0
    assert found.report is not None
    assert found.report.evidence == ("density",)
    assert found.report.counted is not None
    assert found.report.counted > 0
