"""density-lite: a density network that costs a small part of a detector's pass.

Own design, no upstream. Three halvings take the image to cells of 8 pixels, a fourth one gathers context,
which is added back (lateral connections as in Lin et al., "Feature Pyramid Networks", CVPR 2017); the last
number of a cell passes a softplus, so that a density is never negative. Channels are multiples of 16, which
ONNX Runtime's blocked convolutions want.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tercelet.contract.errors import InputError
from tercelet.training.detectors.density_net import DensityNet

_CELLS = (4, 8)
# A cell of a typical frame holds a few hundredths of an object; dividing by this keeps the last layer's
# numbers near 1, where a softplus has a slope.
_SOFTNESS = 0.1
_INITIAL_DENSITY = 0.02
# Pixels are shifted and scaled to about -2..2.
_MEAN = 128.0
_DEVIATION = 64.0


@dataclass(frozen=True)
class DensityLiteOptions:
    """widths: channels at a half, a quarter, an eighth and a sixteenth of the size. cell: 4 or 8 pixels."""

    widths: tuple[int, ...] = (16, 16, 32, 64)
    cell: int = 8

    def __post_init__(self) -> None:
        widths = self.widths
        is_listed = isinstance(widths, (tuple, list)) and len(widths) == 4
        if not is_listed or not all(type(width) is int and width > 0 for width in widths):
            raise InputError(f"widths: expected four whole numbers of at least 1, got {widths!r}")
        if type(self.cell) is not int or self.cell not in _CELLS:
            raise InputError(f"cell: expected 4 or 8, got {self.cell!r}")


class DensityLite(DensityNet):
    """density-lite: density at an eighth (or a quarter) of the size."""

    options_type = DensityLiteOptions
    default_canvas = (384, 672)

    def __init__(self, detector: str, scale: str, options: DensityLiteOptions) -> None:
        super().__init__(detector, scale, options)
        half, quarter, eighth, sixteenth = options.widths
        self.stem = nn.Sequential(
            _Conv(3, half, stride=2), _Conv(half, quarter, stride=2), _Conv(quarter, quarter)
        )
        self.down8 = nn.Sequential(_Conv(quarter, eighth, stride=2), _Conv(eighth, eighth))
        self.down16 = nn.Sequential(_Conv(eighth, sixteenth, stride=2), _Conv(sixteenth, sixteenth))
        self.context8 = _Conv(sixteenth, eighth, kernel=1)
        self.up8 = _Conv(eighth, eighth)
        if options.cell == 4:
            self.context4 = _Conv(eighth, quarter, kernel=1)
            self.up4 = _Conv(quarter, quarter)
        self.last = nn.Conv2d(quarter if options.cell == 4 else eighth, 1, 1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, math.log(math.expm1(_INITIAL_DENSITY / _SOFTNESS)))
        self._cell = options.cell

    @property
    def cell(self) -> int:
        return self._cell

    @property
    def size_multiple(self) -> int:
        return 16

    @property
    def minimum_size(self) -> int:
        return 16

    def density(self, images: Tensor) -> Tensor:
        height, width = images.shape[2] // self._cell, images.shape[3] // self._cell
        quarter = self.stem((images - _MEAN) * (1 / _DEVIATION))
        eighth = self.down8(quarter)
        found = self.up8(_added(eighth, self.context8(self.down16(eighth))))
        if self._cell == 4:
            found = self.up4(_added(quarter, self.context4(found)))
        # Odd sizes give one more row or column than there are whole cells.
        return functional.softplus(self.last(found)[:, :, :height, :width]) * _SOFTNESS

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        names = ("stem.0.conv", "stem.1.conv", "down8.0.conv", "down16.0.conv")
        weights = [state.get(f"{name}.weight") for name in names]
        if any(weight is None or weight.ndim != 4 for weight in weights):
            return {}
        widths = [int(weight.shape[0]) for weight in weights if weight is not None]
        return {"widths": tuple(widths), "cell": 4 if "up4.conv.weight" in state else 8}


class _Conv(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


def _added(fine: Tensor, coarse: Tensor) -> Tensor:
    """A map and one of half its size, doubled to its size."""
    doubled = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return fine + doubled[:, :, : fine.shape[2], : fine.shape[3]]
