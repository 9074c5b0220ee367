"""A detector as one ONNX graph: uint8 canvas in, the K best candidates out.

Cast, scale, channel order and transpose of the input, the decoding of boxes and the choice of candidates
are all inside, so that every engine computes the same thing and the device does as little as possible.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Network, TensorRecord
from tercelet.contract.preprocess import Preprocess
from tercelet.export.passes.fold_batchnorm import fold_batchnorm
from tercelet.export.passes.fuse_akconv import fuse_akconv
from tercelet.export.passes.lower_to_opset_17 import lower_to_opset_17
from tercelet.export.passes.store_half import half_weights, store_half
from tercelet.export.passes.strip_metadata import strip_metadata
from tercelet.export.tracing import INPUT_NAME, onnx_from_module
from tercelet.ops.bindings.onnx import translation_table
from tercelet.training.detectors.akconv import AKConv

IR_VERSION = 10
OPSETS = (17, 18, 19, 20)
DEFAULT_OPSET = 18
# DeformConv, the quickest form of AKConv in standard operators, came with it.
DEFORM_CONV_OPSET = 19
OUTPUT_NAMES = ("boxes", "scores", "class_ids")


class CanvasDetector(nn.Module):
    """uint8 canvases (B, H, W, 3) -> boxes (B, K, 4), scores (B, K), class ids (B, K) of a detector."""

    def __init__(self, detector: Any, *, preprocess: Preprocess, candidates: int) -> None:
        super().__init__()
        self.detector = detector
        self.reverse = preprocess.color == "BGR"
        self.candidates = candidates

    def forward(self, canvases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = canvases.permute(0, 3, 1, 2).to(torch.float32)
        if self.reverse:
            images = torch.cat((images[:, 2:3], images[:, 1:2], images[:, 0:1]), 1)
        boxes, scores, class_ids = self.detector.top_candidates(images / 255.0, self.candidates)
        return boxes, scores, class_ids


def onnx_from_detector(
    detector: Any,
    path: Path,
    *,
    preprocess: Preprocess,
    candidates: int,
    opset: int | None,
    batch: int = 1,
    stored: str = "fp32",
) -> Network:
    """Export an eval-mode detector to `path` for canvases of one fixed size, and describe the graph.

    batch: canvases in one run; above 1 the graph takes any number from 1 to that. candidates: K, cut to the
    number of (anchor, class) pairs. opset: one of OPSETS; None takes 18, or 19 where the detector has AKConv.
    stored: "fp16" keeps large weights in half precision, see store_half.
    Custom ops are nodes without bodies; see op_lowering. Raises InputError for a size or opset that cannot be
    had, CheckFailedError where the exporter or the ONNX checker gives up.
    """
    if opset is None:
        has_akconv = any(isinstance(part, AKConv) for part in detector.modules())
        opset = DEFORM_CONV_OPSET if has_akconv else DEFAULT_OPSET
    if opset not in OPSETS:
        raise InputError(f"opset: expected one of {', '.join(map(str, OPSETS))}, got {opset}")
    height, width = preprocess.height, preprocess.width
    detector.check_size(height, width)
    folded = copy.deepcopy(detector).eval()
    fold_batchnorm(folded)
    count = min(candidates, detector.anchor_count(height, width) * detector.classes)
    wrapper = CanvasDetector(folded, preprocess=preprocess, candidates=count).eval()
    # Traced with two: torch takes a batch of one for a constant.
    canvases = torch.zeros((min(batch, 2), height, width, 3), dtype=torch.uint8)
    # The exporter writes 18 and up; where it is asked for 17 it may silently stay at 18.
    model = onnx_from_module(
        wrapper,
        canvases,
        output_names=OUTPUT_NAMES,
        opset=max(opset, 18),
        batch=batch,
        translations=translation_table(),
    )
    if opset == 17:
        lower_to_opset_17(model)
    model.ir_version = IR_VERSION
    model.producer_name = "tercelet"
    model.producer_version = ""
    strip_metadata(model)
    fuse_akconv(model)
    if stored == "fp16":
        store_half(model, half_weights(detector, folded))
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise CheckFailedError(f"{path}: the exported graph is not valid ONNX: {error}") from error
    onnx.save(model, path)
    return _describe(model, path.name, count=count, size=(height, width), color=preprocess.color, batch=batch)


def _describe(
    model: onnx.ModelProto, name: str, *, count: int, size: tuple[int, int], color: str, batch: int
) -> Network:
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    canvas = TensorRecord(
        INPUT_NAME, "uint8", (batch, *size, 3), f"{color} canvas, batch x height x width x channel"
    )
    outputs = (
        TensorRecord("boxes", "float32", (batch, count, 4), "left, top, right, bottom in canvas pixels"),
        TensorRecord("scores", "float32", (batch, count), "0..1, best first"),
        TensorRecord("class_ids", "int64", (batch, count), "index into labels"),
    )
    custom = sorted({f"{n.domain}::{n.op_type}" for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    return Network(
        name,
        (canvas,),
        outputs,
        count,
        opset,
        model.ir_version,
        tuple(custom),
        batch="up_to" if batch > 1 else "fixed",
    )
