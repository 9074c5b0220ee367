"""Convolution blocks of the YOLO families.

Attribute names (conv, bn, cv1, cv2, cv3, m) are those of the upstream state dicts. Every map is (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Conv(nn.Module):
    """Convolution without bias, BatchNorm, SiLU (or nothing); pads so that stride 1 keeps the size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act: nn.Module = nn.SiLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.bn(self.conv(x)))
        return activated


class Bottleneck(nn.Module):
    """Two convolutions, `expansion` of the outputs between them; adds its input where shortcut is True."""

    def __init__(
        self, channels: int, *, shortcut: bool, kernels: tuple[int, int] = (3, 3), expansion: float = 1.0
    ) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.cv1 = Conv(channels, hidden, kernels[0])
        self.cv2 = Conv(hidden, channels, kernels[1])
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Cross-stage block with three 1x1 convolutions: cv3(cat(m(cv1 x), cv2 x)), half the outputs inside."""

    def __init__(
        self, inputs: int, outputs: int, *, repeats: int, shortcut: bool, kernels: tuple[int, int] = (1, 3)
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.cv1 = Conv(inputs, hidden)
        self.cv2 = Conv(inputs, hidden)
        self.cv3 = Conv(2 * hidden, outputs)
        self.m = nn.Sequential(
            *(Bottleneck(hidden, shortcut=shortcut, kernels=kernels) for _ in range(repeats))
        )

    def forward(self, x: Tensor) -> Tensor:
        merged: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return merged


class C2f(nn.Module):
    """cv1 gives two halves; each inner block works on the last map; cv2 reads all (2 + repeats) of them."""

    def __init__(
        self, inputs: int, outputs: int, *, repeats: int, shortcut: bool, expansion: float = 0.5
    ) -> None:
        super().__init__()
        self.hidden = int(outputs * expansion)
        self.cv1 = Conv(inputs, 2 * self.hidden)
        self.cv2 = Conv((2 + repeats) * self.hidden, outputs)
        self.m = nn.ModuleList(self.inner(shortcut=shortcut) for _ in range(repeats))

    def inner(self, *, shortcut: bool) -> nn.Module:
        """One inner block, `hidden` channels in and out."""
        return Bottleneck(self.hidden, shortcut=shortcut)

    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            maps.append(block(maps[-1]))
        merged: Tensor = self.cv2(torch.cat(maps, 1))
        return merged


class C3k2(C2f):
    """C2f whose inner blocks are narrow bottlenecks, or with c3k a C3 of two 3x3 bottlenecks each."""

    def __init__(self, inputs: int, outputs: int, *, repeats: int, c3k: bool, expansion: float = 0.5) -> None:
        self.c3k = c3k  # read by inner(), which C2f calls while it is being built
        super().__init__(inputs, outputs, repeats=repeats, shortcut=True, expansion=expansion)

    def inner(self, *, shortcut: bool) -> nn.Module:
        if self.c3k:
            return C3(self.hidden, self.hidden, repeats=2, shortcut=shortcut, kernels=(3, 3))
        return Bottleneck(self.hidden, shortcut=shortcut, expansion=0.5)


class SPPF(nn.Module):
    """Spatial pyramid pooling, fast: three chained 5x5 max-pools beside the input, merged by a 1x1 conv."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cv1 = Conv(inputs, inputs // 2)
        self.cv2 = Conv(inputs // 2 * 4, outputs)
        self.m = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        merged: Tensor = self.cv2(torch.cat(maps, 1))
        return merged


class Concat(nn.Module):
    """Maps of one size, stacked along the channels."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(maps), 1)
