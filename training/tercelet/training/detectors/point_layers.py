"""PointNet++: layers that gather points around sampled ones, layers that spread features back, a backbone.

Frame: any, metres; points are (B, N, 3) float32, features (B, C, N).

Papers: Qi et al., "PointNet++", NeurIPS 2017; Qi et al., "Deep Hough Voting", ICCV 2019 (the backbone).
Compatible with: PointNet2SASSG of mmdetection3d 1.0 (Apache-2.0), whose attribute names these are. Nothing is
copied; written from the facts of the architecture. Deliberate differences: the order of equal distances in
the sampling and the weights of the interpolation are options, because published weights differ in them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tercelet.training.detectors.point_ops import (
    TieRule,
    Weighting,
    ball_query,
    furthest_point_sample,
    gather_points,
    group,
    largest,
    set_abstraction,
    three_interpolate,
)

NORM_EPS = 1e-5


@dataclass(frozen=True)
class Gathering:
    """One level of a backbone: so many points, what lies in the ball of `radius` metres around each, at most
    `samples` of it, and the channels after each convolution."""

    points: int
    radius: float
    samples: int
    channels: tuple[int, ...]


# The backbone of VoteNet and ImVoteNet.
GATHERINGS: tuple[Gathering, ...] = (
    Gathering(2048, 0.2, 64, (64, 64, 128)),
    Gathering(1024, 0.4, 32, (128, 128, 256)),
    Gathering(512, 0.8, 16, (128, 128, 256)),
    Gathering(256, 1.2, 16, (128, 128, 256)),
)
SPREADINGS: tuple[tuple[int, ...], ...] = ((256, 256), (256, 256))


class Level(NamedTuple):
    """Points of a level. points: (B, M, 3). features: (B, C, M). indices: (B, M) int64 into the cloud."""

    points: Tensor
    features: Tensor
    indices: Tensor


class ConvNorm(nn.Module):
    """A convolution of kernel 1, batch norm, ReLU: (B, inputs, ...) -> (B, outputs, ...).

    dimensions: 1 for (B, C, N), 2 for (B, C, N, S).
    """

    def __init__(
        self, inputs: int, outputs: int, *, dimensions: int, bias: bool, norm_eps: float = NORM_EPS
    ) -> None:
        super().__init__()
        convolution, norm = (nn.Conv1d, nn.BatchNorm1d) if dimensions == 1 else (nn.Conv2d, nn.BatchNorm2d)
        self.conv = convolution(inputs, outputs, 1, bias=bias)
        self.bn = norm(outputs, eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x.relu_() if self.training else torch.relu(x)


def conv_norms(
    inputs: int, channels: Sequence[int], *, dimensions: int, bias: bool, norm_eps: float = NORM_EPS
) -> nn.Sequential:
    """One `ConvNorm` for each of `channels`, named layer0, layer1, ..."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, outputs in enumerate(channels):
        layers[f"layer{number}"] = ConvNorm(
            inputs, outputs, dimensions=dimensions, bias=bias, norm_eps=norm_eps
        )
        inputs = outputs
    return nn.Sequential(layers)


class PointGathering(nn.Module):
    """Features of what lies in a ball around chosen points, the largest of each channel.

    inputs: channels of the features; three more, the place in the ball, are added here. Once its norms are
    folded into the convolutions, as an export has them, all but the balls is one op of the kit.
    """

    def __init__(self, inputs: int, gathering: Gathering, *, norm_eps: float = NORM_EPS) -> None:
        super().__init__()
        self.count = gathering.points
        self.radius = gathering.radius
        self.samples = gathering.samples
        layers = conv_norms(3 + inputs, gathering.channels, dimensions=2, bias=False, norm_eps=norm_eps)
        self.mlps = nn.ModuleList([layers])

    def forward(self, points: Tensor, features: Tensor | None, indices: Tensor) -> tuple[Tensor, Tensor]:
        """points (B, N, 3), features (B, inputs, N), indices (B, M) -> centres (B, M, 3), (B, C, M)."""
        centres = gather_points(points, indices)
        around = ball_query(points, centres, radius=self.radius, samples=self.samples)
        folded = self._folded()
        if folded is not None and features is not None:
            return centres, set_abstraction(points, centres, features, around, folded, radius=self.radius)
        grouped = group(points, centres, features, around, radius=self.radius)
        return centres, largest(self.mlps[0](grouped))

    def _folded(self) -> list[tuple[Tensor, Tensor]] | None:
        """Weights (outputs, inputs) and bias of three layers without a norm; None where they are not that."""
        layers = [layer for layer in self.mlps[0].children() if isinstance(layer, ConvNorm)]
        found = [
            (layer.conv.weight.flatten(1), layer.conv.bias)
            for layer in layers
            if isinstance(layer.bn, nn.Identity) and layer.conv.bias is not None
        ]
        return found if len(found) == len(layers) == 3 and not self.training else None


class PointSpreading(nn.Module):
    """Features of few points at the places of many, by the three nearest, joined with those of the many."""

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int],
        *,
        weighting: Weighting = "distance",
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.weighting: Weighting = weighting
        self.mlps = conv_norms(inputs, channels, dimensions=2, bias=False, norm_eps=norm_eps)

    def forward(self, many: Level, few: Level) -> Tensor:
        """-> (B, C, M) for the M points of `many`."""
        spread = three_interpolate(many.points, few.points, few.features, weighting=self.weighting)
        found: Tensor = self.mlps(torch.cat((spread, many.features), 1)[:, :, :, None])
        return found.squeeze(3)


class PointNet2(nn.Module):
    """The backbone: a cloud (B, N, 3 + inputs) of points and their features -> seeds, a `Level`.

    gatherings: the levels down. spreadings: channels of the convolutions of each step back up; the seeds are
    the points of the level that the last one reaches. ties, weighting: see `point_ops`.
    """

    def __init__(
        self,
        inputs: int = 1,
        *,
        gatherings: Sequence[Gathering] = GATHERINGS,
        spreadings: Sequence[Sequence[int]] = SPREADINGS,
        ties: TieRule = "lowest",
        weighting: Weighting = "distance",
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.ties: TieRule = ties
        widths = [inputs, *(gathering.channels[-1] for gathering in gatherings)]
        self.SA_modules = nn.ModuleList(
            [PointGathering(widths[i], level, norm_eps=norm_eps) for i, level in enumerate(gatherings)]
        )
        self.FP_modules = nn.ModuleList()
        width = widths.pop()
        for channels in spreadings:
            joined = width + widths.pop()
            self.FP_modules.append(PointSpreading(joined, channels, weighting=weighting, norm_eps=norm_eps))
            width = channels[-1]
        self.channels = width

    def forward(self, cloud: Tensor) -> Level:
        return self.levels(cloud)[-1]

    def levels(self, cloud: Tensor) -> list[Level]:
        """Every level on the way down, then every one on the way up; the last holds the seeds."""
        points = cloud[:, :, :3].contiguous()
        features = cloud[:, :, 3:].transpose(1, 2).contiguous() if cloud.shape[2] > 3 else None
        indices: Tensor | None = None
        found: list[Level] = []
        for gathering in self.SA_modules:
            assert isinstance(gathering, PointGathering)
            chosen = furthest_point_sample(points, gathering.count, ties=self.ties)
            points, features = gathering(points, features, chosen)
            indices = chosen if indices is None else indices.gather(1, chosen)
            found.append(Level(points, features, indices))
        few = found[-1]
        for step, spreading in enumerate(self.FP_modules):
            many = found[len(self.SA_modules) - 2 - step]
            few = many._replace(features=spreading(many, few))
            found.append(few)
        return found
