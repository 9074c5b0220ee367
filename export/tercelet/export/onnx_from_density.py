"""A density network as one ONNX graph: uint8 canvas in, objects a cell out.

Cast, channel order and transpose of the input are inside, so that every engine computes the same thing.
"""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Network, TensorRecord
from tercelet.contract.preprocess import Preprocess
from tercelet.export.onnx_from_detector import DEFAULT_OPSET, IR_VERSION, OPSETS
from tercelet.export.passes.fold_batchnorm import fold_batchnorm
from tercelet.export.passes.lower_to_opset_17 import lower_to_opset_17
from tercelet.export.passes.store_half import half_weights, store_half
from tercelet.export.passes.strip_metadata import strip_metadata
from tercelet.export.tracing import INPUT_NAME, onnx_from_module
from tercelet.training.detectors.density_net import DensityNet

OUTPUT_NAME = "density"


class CanvasDensity(nn.Module):
    """uint8 canvases (B, H, W, 3) -> (B, h, w) objects a cell of a density network."""

    def __init__(self, network: DensityNet, *, preprocess: Preprocess) -> None:
        super().__init__()
        self.network = network
        self.reverse = preprocess.color == "BGR"

    def forward(self, canvases: Tensor) -> Tensor:
        images = canvases.permute(0, 3, 1, 2).to(torch.float32)
        if self.reverse:
            images = torch.cat((images[:, 2:3], images[:, 1:2], images[:, 0:1]), 1)
        found: Tensor = self.network(images)[:, 0]
        return found


def onnx_from_density(
    network: DensityNet, path: Path, *, preprocess: Preprocess, opset: int | None, stored: str = "fp32"
) -> Network:
    """Export an eval-mode density network to `path` for one fixed canvas, and describe the graph.

    opset: one of OPSETS; None takes 18. stored: "fp16" keeps large weights in half precision, see store_half.
    Raises InputError for a size or opset that cannot be had, CheckFailedError where the exporter or the ONNX
    checker gives up.
    """
    opset = DEFAULT_OPSET if opset is None else opset
    if opset not in OPSETS:
        raise InputError(f"opset: expected one of {', '.join(map(str, OPSETS))}, got {opset}")
    height, width = preprocess.height, preprocess.width
    network.check_size(height, width)
    folded = copy.deepcopy(network).eval()
    fold_batchnorm(folded)
    wrapper = CanvasDensity(folded, preprocess=preprocess).eval()
    canvas = torch.zeros((1, height, width, 3), dtype=torch.uint8)
    # The exporter writes 18 and up; where it is asked for 17 it may silently stay at 18.
    model = onnx_from_module(wrapper, canvas, output_names=(OUTPUT_NAME,), opset=max(opset, 18))
    if opset == 17:
        lower_to_opset_17(model)
    model.ir_version = IR_VERSION
    model.producer_name = "tercelet"
    model.producer_version = ""
    strip_metadata(model)
    if stored == "fp16":
        store_half(model, half_weights(network, folded))
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise CheckFailedError(f"{path}: the exported graph is not valid ONNX: {error}") from error
    onnx.save(model, path)
    return _describe(model, path.name, network=network, preprocess=preprocess)


def _describe(model: onnx.ModelProto, name: str, *, network: DensityNet, preprocess: Preprocess) -> Network:
    height, width, cell = preprocess.height, preprocess.width, network.cell
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    canvas = TensorRecord(
        INPUT_NAME,
        "uint8",
        (1, height, width, 3),
        f"{preprocess.color} canvas, batch x height x width x channel",
    )
    density = TensorRecord(
        OUTPUT_NAME, "float32", (1, height // cell, width // cell), f"objects in each cell of {cell} px"
    )
    return Network(name, (canvas,), (density,), 0, opset, model.ir_version)
