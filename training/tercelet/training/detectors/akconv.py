"""AKConv: a convolution whose N taps lie where a small convolution of the same map says.

Every map is (B, C, H, W).

Paper: Zhang et al., "AKConv: Convolutional Kernel with Arbitrary Sampled Shapes and Arbitrary Number of
Parameters", arXiv 2311.11587 (later renamed LDConv).
Compatible with: the weights of AKConv and LDConv inside YOLOv5, LDConv's table of taps `p_n` included;
attribute names are upstream's.
Upstream's licence: none. Nothing is copied; written from the facts of the architecture.
Deliberate differences: samples come from one op instead of four gathers a tap; the convolution over them is a
1x1 over C * N channels, the same numbers; offsets and positions stay float32 under autocast and in half
precision; no backward hook (upstream's has no effect); a table of taps is an option, not part of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tercelet.contract.errors import InputError
from tercelet.ops.akconv_sample.spec import default_taps
from tercelet.ops.bindings.torch import torch_op
from tercelet.training.detectors.blocks import C3, Conv

BOTTLENECK_TAPS = 3
_LARGEST_TAP = (1 << 20) - 1
_HALF = (torch.float16, torch.bfloat16)
_sample = torch_op("AKConvSample")


class AKConv(nn.Module):
    """Offsets by a 3x3 convolution, N samples at each place, a convolution over them, BatchNorm, SiLU.

    x (B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride)). taps: N. grid: which place reads
    where, "ij", or "xy" for weights trained with that fault (see AKConvSample). table: row and column of each
    tap by turns, in pixels; None or empty for the published one of the grid. InputError for a table that is
    none. At the start the offsets are those of upstream: equal everywhere, at most 1 / sqrt(9 * inputs).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        taps: int,
        *,
        stride: int = 1,
        grid: str = "ij",
        table: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.grid = grid
        self.taps = _checked_table(table, taps) if table else default_taps(taps, grid)
        convolution = nn.Conv2d(inputs, outputs, (taps, 1), (taps, 1), bias=False)
        self.conv = nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())
        self.p_conv = nn.Conv2d(inputs, 2 * taps, 3, stride, 1)
        nn.init.zeros_(self.p_conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        sampled = _sample(x, self.offsets(x), self.stride, self.grid, self.taps)
        activated: Tensor = self.conv[2](self.conv[1](self._convolved(sampled.flatten(1, 2))))
        return activated

    def offsets(self, x: Tensor) -> Tensor:
        """(B, 2N, h, w) rows, then columns, in pixels; float32 at least, whatever x and the autocast are."""
        device = x.device.type
        is_autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        if not is_autocast and x.dtype not in _HALF:
            offset: Tensor = self.p_conv(x)
            return offset
        assert self.p_conv.bias is not None
        with torch.autocast(device, enabled=False):
            weight, bias = self.p_conv.weight.float(), self.p_conv.bias.float()
            return functional.conv2d(x.float(), weight, bias, self.stride, 1)

    @torch.no_grad()
    def fold(self) -> bool:
        """Put BatchNorm into the convolution, in place and in float64: what is left is one 1x1 convolution.

        The same function in eval mode, to rounding. False if there was nothing to fold.
        """
        convolution, norm = self.conv[0], self.conv[1]
        if not isinstance(norm, nn.BatchNorm2d):
            return False
        assert isinstance(convolution, nn.Conv2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = _pointwise(convolution.weight).double() * scale[:, None, None, None]
        bias = norm.bias.double() - norm.running_mean.double() * scale
        pointwise = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device="meta")
        pointwise.weight = nn.Parameter(weight.to(convolution.weight.dtype))
        pointwise.bias = nn.Parameter(bias.to(convolution.weight.dtype))
        self.conv[0], self.conv[1] = pointwise, nn.Identity()
        return True

    def _convolved(self, sampled: Tensor) -> Tensor:
        """sampled (B, C * N, h, w), channel c * N + n."""
        convolution = self.conv[0]
        assert isinstance(convolution, nn.Conv2d)
        if convolution.kernel_size == (1, 1):
            result: Tensor = convolution(sampled)
            return result
        return functional.conv2d(sampled, _pointwise(convolution.weight))


class BottleneckAKConv(nn.Module):
    """A 1x1 convolution, then an AKConv of three taps; adds its input where shortcut is True."""

    def __init__(self, channels: int, *, shortcut: bool, grid: str, table: Sequence[int] | None) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = AKConv(channels, channels, BOTTLENECK_TAPS, grid=grid, table=table)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3AKConv(C3):
    """C3 with AKConv in its bottlenecks. tables: the table of taps of each, see AKConv."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        shortcut: bool,
        grid: str,
        tables: Sequence[Sequence[int] | None],
    ) -> None:
        super().__init__(inputs, outputs, repeats=0, shortcut=shortcut)
        self.m = nn.Sequential(
            *(BottleneckAKConv(outputs // 2, shortcut=shortcut, grid=grid, table=table) for table in tables)
        )


def _pointwise(weight: Tensor) -> Tensor:
    """(O, C, N, 1) as the 1x1 convolution (O, C * N, 1, 1) that it is over samples."""
    return weight.reshape(weight.shape[0], -1, 1, 1)


def _checked_table(table: Sequence[Any], taps: int) -> tuple[int, ...]:
    if len(table) != 2 * taps or any(abs(number) > _LARGEST_TAP for number in table):
        raise InputError(
            f"tables: expected {2 * taps} numbers up to {_LARGEST_TAP} for the {taps} taps of a layer, row "
            f"and column by turns, got {list(table)}"
        )
    return tuple(table)
