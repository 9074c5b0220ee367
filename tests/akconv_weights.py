"""Real weights for AKConv: those of YOLOv5, whose 3x3 convolutions of stride 2 fit an AKConv of nine taps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

REPLACED = (1, 3, 5, 7, 18, 21)
TAPS = 9


def akconv_state_from_yolov5(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The state of yolov5*-akconv-official with nine taps that computes the same, but for the border.

    Every offset is -1 pixel, so that taps anchored at their top-left lie where those of a padded 3x3
    convolution do. At the border AKConv counts pixels twice where the convolution pads with zeros.
    """
    converted = {}
    for name, value in state.items():
        tensor = torch.as_tensor(value)
        parts = name.split(".")
        if len(parts) > 2 and parts[0] == "model" and int(parts[1]) in REPLACED:
            stem = f"model.{parts[1]}"
            if parts[2] == "conv":
                outputs, inputs = tensor.shape[:2]
                converted[f"{stem}.conv.0.weight"] = tensor.reshape(outputs, inputs, TAPS, 1)
                converted[f"{stem}.p_conv.weight"] = torch.zeros(2 * TAPS, inputs, 3, 3)
                converted[f"{stem}.p_conv.bias"] = torch.full((2 * TAPS,), -1.0)
            else:
                converted[f"{stem}.conv.1.{parts[3]}"] = tensor
        else:
            converted[name] = tensor
    return converted
