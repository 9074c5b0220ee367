"""Position-sensitive attention of YOLO11, in plain matrix products. Attribute names are upstream's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tercelet.training.detectors.blocks import Conv


class Attention(nn.Module):
    """Multi-head self-attention over all places of a map, plus a depthwise 3x3 of the values as position.

    Heads of about 64 channels; keys and queries have half the channels of the values. Memory and time grow
    with (H * W) squared.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(channels // 64, 1)
        self.head_channels = channels // self.heads
        self.key_channels = self.head_channels // 2
        self.qkv = Conv(channels, channels + 2 * self.heads * self.key_channels, activation=False)
        self.proj = Conv(channels, channels, activation=False)
        self.pe = Conv(channels, channels, 3, groups=channels, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        parts = (self.key_channels, self.key_channels, self.head_channels)
        qkv = self.qkv(x).view(batch, self.heads, sum(parts), height * width)
        query, key, value = qkv.split(parts, dim=2)
        weights = (query.transpose(-2, -1) @ key * self.key_channels**-0.5).softmax(-1)
        attended = (value @ weights.transpose(-2, -1)).reshape(batch, channels, height, width)
        projected: Tensor = self.proj(attended + self.pe(value.reshape(batch, channels, height, width)))
        return projected


class PSABlock(nn.Module):
    """Attention, then two 1x1 convolutions, each added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn = Attention(channels)
        self.ffn = nn.Sequential(Conv(channels, 2 * channels), Conv(2 * channels, channels, activation=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        fed: Tensor = x + self.ffn(x)
        return fed


class C2PSA(nn.Module):
    """Half of the channels pass through `repeats` PSABlocks, half pass by; a 1x1 convolution merges them."""

    def __init__(self, inputs: int, outputs: int, *, repeats: int) -> None:
        super().__init__()
        hidden = inputs // 2
        self.cv1 = Conv(inputs, 2 * hidden)
        self.cv2 = Conv(2 * hidden, outputs)
        self.m = nn.Sequential(*(PSABlock(hidden) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        passed, attended = self.cv1(x).chunk(2, 1)
        merged: Tensor = self.cv2(torch.cat((passed, self.m(attended)), 1))
        return merged
