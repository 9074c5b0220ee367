"""A detector of clouds as one ONNX graph: a fixed number of points in, proposals out.

A network with image votes takes besides them what the picture says, for a fixed number of boxes in it. The
decoding of 3D boxes is inside, a Faster R-CNN is not. Sampling, balls, interpolation and votes of the picture
are nodes of domain tercelet, and no shape depends on the data.
"""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import CloudRecord, Network, PictureVotesRecord, TensorRecord
from tercelet.export.onnx_from_detector import DEFAULT_OPSET, IR_VERSION, OPSETS
from tercelet.export.passes.fold_batchnorm import fold_batchnorm
from tercelet.export.passes.lower_to_opset_17 import lower_to_opset_17
from tercelet.export.passes.store_half import half_weights, store_half
from tercelet.export.passes.strip_metadata import strip_metadata
from tercelet.export.tracing import onnx_from_module
from tercelet.ops.bindings.onnx import translation_table
from tercelet.training.detectors.imvotenet.detector import IMAGE_PARTS, ImVoteNet
from tercelet.training.detectors.imvotenet.options import ImVoteNetOptions
from tercelet.training.detectors.point_detector import PointDetector

POINTS_NAME = "points"
_SCORES = ("objectness", "class_scores")


class CloudDetector(nn.Module):
    """Points (1, N, 4), with image votes also what the picture says -> boxes (1, P, 7), objectness (1, P),
    class scores (1, P, C) of a detector in eval mode."""

    def __init__(self, detector: PointDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.detector(*inputs)
        return found.boxes, found.objectness, found.class_scores


def point_tower(detector: PointDetector) -> PointDetector:
    """The detector with what a graph holds of it, sharing its weights: without a Faster R-CNN."""
    if not isinstance(detector, ImVoteNet) or not detector.options["image_branch"]:
        return detector
    options = ImVoteNetOptions(**{**detector.options, "image_branch": False})
    with torch.device("meta"):
        tower = ImVoteNet(detector.detector, "", options)
    state = {name: value for name, value in detector.state_dict().items() if not name.startswith(IMAGE_PARTS)}
    tower.load_state_dict(state, strict=True, assign=True)
    return tower.train(detector.training)


def output_names(detector: PointDetector) -> tuple[str, ...]:
    """Names of the graph's outputs: a network with image votes has an input `boxes`."""
    return ("boxes3d" if isinstance(detector, ImVoteNet) else "boxes", *_SCORES)


def input_records(
    detector: PointDetector, cloud: CloudRecord, votes: PictureVotesRecord | None
) -> tuple[TensorRecord, ...]:
    """What the graph takes, in the order in which the detector does."""
    columns = ", ".join(cloud.features)
    shape = (1, cloud.points, len(cloud.features))
    points = TensorRecord(POINTS_NAME, "float32", shape, f"{columns} in metres, upright")
    if not isinstance(detector, ImVoteNet):
        return (points,)
    assert votes is not None
    corners = "x1, y1, x2, y2 in pixels as the 2D detector saw them, confidence, class; zeros are no box"
    view = "for columns, then rows: scale and offset from original pixels to those seen, and the size seen"
    return (
        points,
        TensorRecord("texture", "float32", (1, cloud.points, 3), "the pixel of each point"),
        TensorRecord("boxes", "float32", (1, votes.boxes, 6), corners),
        TensorRecord("depth2img", "float32", (1, 3, 4), "from metres to pixels counted from 1, times depth"),
        TensorRecord("picture", "float32", (1, 2, 3), view),
    )


def onnx_from_points(
    detector: PointDetector,
    path: Path,
    *,
    cloud: CloudRecord,
    votes: PictureVotesRecord | None = None,
    opset: int | None,
    stored: str = "fp32",
) -> Network:
    """Export an eval-mode detector to `path` for clouds of `cloud.points` points, and describe the graph.

    votes: of a detector with image votes. opset: one of OPSETS; None takes 18. stored: "fp16" keeps large
    weights in half precision, see store_half.
    Custom ops are nodes without bodies; see op_lowering. Raises InputError for an opset that cannot be had,
    CheckFailedError where the exporter or the ONNX checker gives up.
    """
    opset = DEFAULT_OPSET if opset is None else opset
    if opset not in OPSETS:
        raise InputError(f"opset: expected one of {', '.join(map(str, OPSETS))}, got {opset}")
    detector = point_tower(detector)
    folded = copy.deepcopy(detector).eval()
    fold_batchnorm(folded)
    inputs = input_records(detector, cloud, votes)
    # The exporter writes 18 and up; where it is asked for 17 it may silently stay at 18.
    model = onnx_from_module(
        CloudDetector(folded).eval(),
        {item.name: torch.zeros(item.shape) for item in inputs},
        output_names=output_names(detector),
        opset=max(opset, 18),
        translations=translation_table(),
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
    return _describe(model, path.name, detector=detector, inputs=inputs)


def _describe(
    model: onnx.ModelProto, name: str, *, detector: PointDetector, inputs: tuple[TensorRecord, ...]
) -> Network:
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    sizes = {
        value.name: tuple(item.dim_value for item in value.type.tensor_type.shape.dim)
        for value in model.graph.output
    }
    boxes, objectness, class_scores = output_names(detector)
    count = sizes[boxes][1]
    outputs = (
        TensorRecord(boxes, "float32", (1, count, 7), "centre x, y, z, sizes in metres, yaw in radians"),
        TensorRecord(objectness, "float32", (1, count), "0..1"),
        TensorRecord(class_scores, "float32", (1, count, detector.classes), "0..1, their sum is 1"),
    )
    custom = sorted({f"{n.domain}::{n.op_type}" for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    return Network(name, inputs, outputs, count, opset, model.ir_version, tuple(custom))
