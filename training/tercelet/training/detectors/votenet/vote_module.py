"""Votes: every seed says where the centre of its object is.

Paper: Qi et al., "Deep Hough Voting for 3D Object Detection in Point Clouds", ICCV 2019.
Compatible with: VoteModule of mmdetection3d 1.0 (Apache-2.0), whose attribute names these are. Nothing is
copied; written from the facts of the architecture. Deliberate difference: whether the features of a vote are
divided by their length is an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tercelet.training.detectors.point_layers import NORM_EPS, ConvNorm


class Votes(NamedTuple):
    """points: (B, N, 3) metres. features: (B, C, N). offsets: (B, N, 3) metres from the seed to the vote."""

    points: Tensor
    features: Tensor
    offsets: Tensor


class VoteModule(nn.Module):
    """One vote a seed: an offset in space and what its features change by.

    inputs: channels of the seeds' features and of the votes'. channels: after each hidden convolution.
    is_normalised: the features of a vote are divided by their L2 norm, with no safeguard: a vote whose
    features are all 0 becomes NaN, as upstream has it.
    """

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int] = (256, 256),
        *,
        is_normalised: bool = True,
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.is_normalised = is_normalised
        widths = (inputs, *channels)
        self.vote_conv = nn.Sequential(
            *(
                ConvNorm(before, after, dimensions=1, bias=True, norm_eps=norm_eps)
                for before, after in pairwise(widths)
            )
        )
        self.conv_out = nn.Conv1d(widths[-1], 3 + inputs, 1)

    def forward(self, seed_points: Tensor, seed_features: Tensor) -> Votes:
        """seed_points (B, N, 3), seed_features (B, inputs, N)."""
        found = self.conv_out(self.vote_conv(seed_features))
        offsets = found[:, :3].transpose(1, 2)
        features = seed_features + found[:, 3:]
        if self.is_normalised:
            features = features / torch.linalg.vector_norm(features, dim=1, keepdim=True)
        return Votes(seed_points + offsets, features, offsets)
