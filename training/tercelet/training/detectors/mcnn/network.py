"""MCNN: three columns of convolutions with receptive fields for small, middle and large objects.

Paper: Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network", CVPR 2016.
Compatible with: the weights of CommissarMa/MCNN-pytorch (no licence; colour, output not rectified), which
DMNet trains on VisDrone, and of svishwa/crowdcount-mcnn (MIT; grey, output rectified, HDF5 with names
`DME.`). Nothing is copied; written from the facts of the architecture. Deliberate differences: the number of
input channels and the rectified output are options of one network; a grey network takes colour and turns it
to grey itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tercelet.contract.errors import InputError
from tercelet.training.detectors.density_net import DensityNet

# Side of the first kernel and channels after it. Later kernels are two smaller; channels double, then halve
# twice.
_COLUMNS = ((9, 16), (7, 20), (5, 24))
# DME.branch1.4.conv.weight is branch1.6.weight here, DME.fuse.0.conv.weight is fuse.0.weight.
_DME = re.compile(r"DME\.(branch[123]|fuse)\.(\d+)\.conv\.(weight|bias)")
_DME_PLACES = {"0": "0", "2": "3", "4": "6", "5": "8"}
_FIRST = ("branch1.0.weight", "DME.branch1.0.conv.weight")
_INITIAL_DEVIATION = 0.01
# BT.601 in 15-bit fixed point, as OpenCV has it; every sum stays a whole number that float32 holds.
_GREY = (9798.0, 19235.0, 3735.0)
_GREY_BITS = 15


@dataclass(frozen=True)
class MCNNOptions:
    """channels: of the input, 3 for colour, 1 for grey. rectified: whether a ReLU ends the network.

    Without it densities may be negative.
    """

    channels: int = 3
    rectified: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.channels, bool) or self.channels not in (1, 3):
            raise InputError(f"channels: expected 3 (colour) or 1 (grey), got {self.channels!r}")
        if not isinstance(self.rectified, bool):
            raise InputError(f"rectified: expected true or false, got {self.rectified!r}")


class MCNN(DensityNet):
    """mcnn: density at a quarter of the size, floor(floor(H / 2) / 2) rows."""

    options_type = MCNNOptions
    learning_rate = 1e-4

    def __init__(self, detector: str, scale: str, options: MCNNOptions) -> None:
        super().__init__(detector, scale, options)
        self.is_grey = options.channels == 1
        self.branch1, self.branch2, self.branch3 = (
            _column(options.channels, kernel, width) for kernel, width in _COLUMNS
        )
        joined = sum(width // 2 for _, width in _COLUMNS)
        self.fuse = nn.Sequential(nn.Conv2d(joined, 1, 1), *([nn.ReLU()] if options.rectified else []))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=_INITIAL_DEVIATION)
                assert part.bias is not None
                nn.init.zeros_(part.bias)

    @property
    def cell(self) -> int:
        return 4

    def density(self, images: Tensor) -> Tensor:
        x = grey_from_rgb(images) if self.is_grey else images
        found: Tensor = self.fuse(torch.cat((self.branch1(x), self.branch2(x), self.branch3(x)), 1))
        return found

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        for name in _FIRST:
            first = state.get(name)
            if first is not None and first.ndim == 4:
                rectified = {"rectified": True} if name.startswith("DME.") else {}
                return {"channels": first.shape[1], **rectified}
        return {}

    @classmethod
    def upstream_state(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        return {_name_here(name): value for name, value in state.items()}


def grey_from_rgb(images: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in 0..255 -> (B, 1, H, W), the grey of BT.601 rounded to whole numbers.

    Of whole numbers it is exactly what OpenCV's conversion to grey gives. It passes no gradient on.
    """
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    scaled = _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue + 2.0 ** (_GREY_BITS - 1)
    return torch.floor(scaled * 2.0**-_GREY_BITS)


def _column(channels: int, kernel: int, width: int) -> nn.Sequential:
    later = kernel - 2
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, later, padding=later // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, width, later, padding=later // 2),
        nn.ReLU(),
        nn.Conv2d(width, width // 2, later, padding=later // 2),
        nn.ReLU(),
    )


def _name_here(name: str) -> str:
    match = _DME.fullmatch(name)
    if match is None or match[2] not in _DME_PLACES:
        return name
    return f"{match[1]}.{_DME_PLACES[match[2]]}.{match[3]}"
