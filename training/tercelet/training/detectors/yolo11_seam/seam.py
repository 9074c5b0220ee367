"""SEAM and MultiSEAM: channel gates that raise what occlusion has lowered.

Paper: Yu et al., "YOLO-FaceV2: A Scale and Occlusion Aware Face Detector", arXiv:2208.02019.
Attribute names (DCovN, DCovN0 to DCovN2, fc, fn) are those of the upstream state dicts.
"""

from __future__ import annotations

from torch import Tensor, nn

REDUCTION = 16
PATCHES = (3, 5, 7)


class Residual(nn.Module):
    """fn(x) + x."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.fn(x) + x
        return added


class SEAM(nn.Module):
    """Multiplies each channel of (B, C, H, W) by exp(gate), gate in 0..1 from the mean over the whole map.

    The activation stands before the BatchNorm. The gate depends on the size of the map through its mean.
    """

    def __init__(self, channels: int, *, depth: int = 1, reduction: int = REDUCTION) -> None:
        super().__init__()
        self.DCovN = nn.Sequential(*(_stage(channels, nn.GELU) for _ in range(depth)))
        self.fc = _gate(channels, reduction)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_uniform_(part.weight)

    def forward(self, x: Tensor) -> Tensor:
        return _gated(x, self.fc(self.DCovN(x).mean((2, 3))))


class MultiSEAM(nn.Module):
    """As `SEAM`, with the mean of three branches that see patches of 3, 5 and 7 cells, and of the map itself.

    The map needs at least 7 cells a side; cells that do not fill a patch are left out of that branch.
    """

    def __init__(self, channels: int, *, depth: int = 1, reduction: int = REDUCTION) -> None:
        super().__init__()
        self.DCovN0, self.DCovN1, self.DCovN2 = (_patches(channels, size, depth) for size in PATCHES)
        self.fc = _gate(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.DCovN0(x), self.DCovN1(x), self.DCovN2(x), x)
        return _gated(x, self.fc(sum(branch.mean((2, 3)) for branch in branches) / 4))


def _stage(channels: int, activation: type[nn.Module]) -> nn.Sequential:
    depthwise = nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels), activation(), nn.BatchNorm2d(channels)
    )
    pointwise = (nn.Conv2d(channels, channels, 1), activation(), nn.BatchNorm2d(channels))
    return nn.Sequential(Residual(depthwise), *pointwise)


def _patches(channels: int, size: int, depth: int) -> nn.Sequential:
    cut = (nn.Conv2d(channels, channels, size, stride=size), nn.SiLU(), nn.BatchNorm2d(channels))
    return nn.Sequential(*cut, *(_stage(channels, nn.SiLU) for _ in range(depth)))


def _gate(channels: int, reduction: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, channels // reduction, bias=False),
        nn.ReLU(),
        nn.Linear(channels // reduction, channels, bias=False),
        nn.Sigmoid(),
    )


def _gated(x: Tensor, gate: Tensor) -> Tensor:
    """(B, C, H, W) and (B, C) -> (B, C, H, W)."""
    return x * gate.exp()[:, :, None, None]
