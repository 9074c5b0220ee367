"""A detector of clouds as one ONNX graph: a fixed number of points in, proposals out.

The decoding of boxes is inside. Sampling, balls and interpolation are nodes of domain tercelet, and no shape
depends on the data.
"""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import CloudRecord, Network, TensorRecord
from tercelet.export.onnx_from_detector import DEFAULT_OPSET, IR_VERSION, OPSETS
from tercelet.export.passes.fold_batchnorm import fold_batchnorm
from tercelet.export.passes.lower_to_opset_17 import lower_to_opset_17
from tercelet.export.passes.store_half import half_weights, store_half
from tercelet.export.passes.strip_metadata import strip_metadata
from tercelet.export.tracing import onnx_from_module
from tercelet.ops.bindings.onnx import translation_table
from tercelet.training.detectors.votenet.detector import VoteNet

POINTS_NAME = "points"
OUTPUT_NAMES = ("boxes", "objectness", "class_scores")


class CloudDetector(nn.Module):
    """Points (1, N, 4) -> boxes (1, P, 7), objectness (1, P), class scores (1, P, C) of a detector."""

    def __init__(self, detector: VoteNet) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.detector.decoded(self.detector.predictions(points))
        return found.boxes, found.objectness, found.class_scores


def onnx_from_points(
    detector: VoteNet, path: Path, *, cloud: CloudRecord, opset: int | None, stored: str = "fp32"
) -> Network:
    """Export an eval-mode detector to `path` for clouds of `cloud.points` points, and describe the graph.

    opset: one of OPSETS; None takes 18. stored: "fp16" keeps large weights in half precision, see store_half.
    Custom ops are nodes without bodies; see op_lowering. Raises InputError for an opset that cannot be had,
    CheckFailedError where the exporter or the ONNX checker gives up.
    """
    opset = DEFAULT_OPSET if opset is None else opset
    if opset not in OPSETS:
        raise InputError(f"opset: expected one of {', '.join(map(str, OPSETS))}, got {opset}")
    folded = copy.deepcopy(detector).eval()
    fold_batchnorm(folded)
    # The exporter writes 18 and up; where it is asked for 17 it may silently stay at 18.
    model = onnx_from_module(
        CloudDetector(folded).eval(),
        torch.zeros((1, cloud.points, len(cloud.features))),
        output_names=OUTPUT_NAMES,
        opset=max(opset, 18),
        translations=translation_table(),
        input_name=POINTS_NAME,
    )
    if opset == 17:
        lower_to_opset_17(model)
    model.ir_version = IR_VERSION
    model.producer_name = "tercelet"
    model.producer_version = ""
    strip_metadata(model)
    if stored == "fp16":
        store_half(model, half_weights(detector, folded))
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise CheckFailedError(f"{path}: the exported graph is not valid ONNX: {error}") from error
    onnx.save(model, path)
    return _describe(model, path.name, detector=detector, cloud=cloud)


def _describe(model: onnx.ModelProto, name: str, *, detector: VoteNet, cloud: CloudRecord) -> Network:
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    sizes = {
        value.name: tuple(item.dim_value for item in value.type.tensor_type.shape.dim)
        for value in model.graph.output
    }
    count = sizes[OUTPUT_NAMES[0]][1]
    columns = ", ".join(cloud.features)
    points = TensorRecord(
        POINTS_NAME, "float32", (1, cloud.points, len(cloud.features)), f"{columns} in metres, upright"
    )
    outputs = (
        TensorRecord("boxes", "float32", (1, count, 7), "centre x, y, z, sizes in metres, yaw in radians"),
        TensorRecord("objectness", "float32", (1, count), "0..1"),
        TensorRecord("class_scores", "float32", (1, count, detector.classes), "0..1, their sum is 1"),
    )
    custom = sorted({f"{n.domain}::{n.op_type}" for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    return Network(name, (points,), outputs, count, opset, model.ir_version, tuple(custom))
