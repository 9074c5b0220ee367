"""The best candidates as an ONNX graph: traced whole, static, and equal to torch."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from networks import lively_detector

COUNT = 100
# Two engines sum in another order; random weights amplify it more than trained ones do.
SCORE_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 0.05


class Best(torch.nn.Module):
    """What an exporter wraps."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.detector.top_candidates(images, COUNT))


@pytest.mark.parametrize(("name", "height", "width"), [("yolov5n", 64, 96), ("yolo11n-multiseam", 256, 224)])
def test_top_candidates_trace_to_onnx_and_onnx_runtime_agrees(name: str, height: int, width: int) -> None:
    detector = lively_detector(name, classes=4)
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Best(detector), (images,), dynamo=True, opset_version=18, verbose=False, optimize=True
        )
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    boxes, scores, class_ids = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        want, full = detector.top_candidates(images, COUNT), detector(images)
    assert (boxes.dtype, scores.dtype, class_ids.dtype) == (np.float32, np.float32, np.int64)
    assert np.abs(scores - want.scores.numpy()).max() <= SCORE_TOLERANCE
    for image in range(2):
        # Pairs of nearly equal score may change places, so each is looked up in torch's full result.
        apart = np.abs(boxes[image][:, None] - full.boxes[image].numpy()[None]).max(2)
        differ = np.abs(scores[image][:, None] - full.scores[image].numpy()[:, class_ids[image]].T)
        assert ((apart <= PIXEL_TOLERANCE) & (differ <= SCORE_TOLERANCE)).any(1).all()
