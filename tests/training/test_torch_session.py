"""Canvases as a detector takes them, and how many candidates there can be."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from tercelet.training import build
from tercelet.training.torch_session import candidate_count, images_from_canvases


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("color", ["BGR", "RGB"])
def test_canvases_become_rgb_images_from_0_to_1(color: Literal["RGB", "BGR"], dtype: torch.dtype) -> None:
    canvases = np.zeros((2, 32, 64, 3), np.uint8)
    canvases[1, 3, 5] = (0, 51, 255) if color == "RGB" else (255, 51, 0)
    images = images_from_canvases(canvases, color, dtype)
    assert (images.shape, images.dtype) == ((2, 3, 32, 64), dtype)
    assert images.is_contiguous()
    assert images[1, :, 3, 5].tolist() == (torch.tensor([0, 51, 255], dtype=dtype) / 255).tolist()
    assert int(images.count_nonzero()) == 2
    assert not images_from_canvases(canvases[:0], color).numel()


def test_candidates_are_counted_without_a_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = build("yolov5n", classes=1)
    monkeypatch.setattr(detector, "forward", None)
    assert candidate_count(detector, 32, 64) == 3 * (4 * 8 + 2 * 4 + 1 * 2)
