"""ResNet-50 as caffe has it, and the feature pyramid on it.

Papers: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; Lin et al., "Feature Pyramid
Networks for Object Detection", CVPR 2017. Compatible with: weights of mmdetection (Apache-2.0) with a ResNet
of style "caffe". Nothing is copied; written from the facts of the architecture. Deliberate differences: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

STRIDES = (4, 8, 16, 32, 64)
"""Pixels of the image a cell, of each level of the pyramid."""
PYRAMID_CHANNELS = 256
_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; in caffe's style the first convolution carries the stride."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * _EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * _EXPANSION)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(channels, width * _EXPANSION, 1, stride, bias=False),
                nn.BatchNorm2d(width * _EXPANSION),
            )
            if stride > 1 or channels != width * _EXPANSION
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet50(nn.Module):
    """images (B, 3, H, W) -> maps of 256, 512, 1024, 2048 channels at strides 4, 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, blocks in enumerate(_BLOCKS):
            width = 64 << stage
            rows = []
            for block in range(blocks):
                rows.append(Bottleneck(channels, width, stride=2 if stage and not block else 1))
                channels = width * _EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*rows))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images))), 3, 2, padding=1)
        maps = []
        for stage in range(len(_BLOCKS)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            maps.append(x)
        return tuple(maps)


class Convolution(nn.Module):
    """A convolution with bias under the name `conv`."""

    def __init__(self, channels: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class FeaturePyramid(nn.Module):
    """Four maps of a trunk -> five of 256 channels at `STRIDES`.

    A coarser map is brought to exactly the size of the finer one by repeating its nearest cells. The fifth
    is every second cell of the fourth. No ReLU, no normalisation.
    """

    def __init__(self, channels: Sequence[int] = (256, 512, 1024, 2048)) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Convolution(count, PYRAMID_CHANNELS, 1) for count in channels)
        self.fpn_convs = nn.ModuleList(Convolution(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        sideways = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for level in range(len(sideways) - 1, 0, -1):
            size = sideways[level - 1].shape[2:]
            coarser = functional.interpolate(sideways[level], size=size, mode="nearest")
            sideways[level - 1] = sideways[level - 1] + coarser
        levels = [conv(x) for conv, x in zip(self.fpn_convs, sideways, strict=True)]
        return (*levels, functional.max_pool2d(levels[-1], 1, stride=2))
