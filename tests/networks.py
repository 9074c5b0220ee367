"""Networks for tests: random weights that behave, so that outputs depend on the picture at every depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tercelet.contract.scenes import synthetic_frames
from tercelet.training import build

VARIANCE_FLOOR = 0.05


def lively_detector(name: str, *, seed: int = 0, **options: Any) -> Any:
    """A detector in eval mode with seeded random weights, normalised by one pass over synthetic frames.

    Without that pass random weights die out on the way. Class biases are raised: there are detections.
    """
    torch.manual_seed(seed)
    detector = build(name, **options)
    side = max(2 * detector.minimum_size, 128)
    frames = np.stack(synthetic_frames(2, height=side, width=side)).transpose(0, 3, 1, 2)
    images = torch.from_numpy(np.ascontiguousarray(frames)).float() / 255
    norms = [part for part in detector.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    detector.train()
    with torch.no_grad():
        detector(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        # A channel that hardly moves would amplify rounding, layer after layer.
        norm.running_var.clamp_(min=VARIANCE_FLOOR)
    detector.eval()
    with torch.no_grad():
        for name_, parameter in detector.named_parameters():
            if parameter.ndim == 1 and name_.endswith("bias") and float(parameter.min()) < -3:
                parameter.add_(4.0)
    return detector
