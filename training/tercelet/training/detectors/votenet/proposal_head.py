"""The head of VoteNet and of each tower of ImVoteNet: seeds vote, votes gather, every heap is a proposal.

Paper: Qi et al., "Deep Hough Voting for 3D Object Detection in Point Clouds", ICCV 2019.
Compatible with: VoteHead of mmdetection3d 1.0 (Apache-2.0), whose attribute names these are. Nothing is
copied; written from the facts of the architecture. Deliberate differences: the published variants are
options, and how proposals are sampled does not change between training and use unless it is asked to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tercelet.training.detectors.point_layers import NORM_EPS, Gathering, Level, PointGathering, conv_norms
from tercelet.training.detectors.point_ops import TieRule, furthest_point_sample
from tercelet.training.detectors.votenet.predictions import Predictions
from tercelet.training.detectors.votenet.vote_module import VoteModule

Sampling = Literal["seed", "vote"]
SAMPLINGS: tuple[Sampling, ...] = ("seed", "vote")
_WIDTHS = (128, 128, 128)
_SHARED = (128, 128)


@dataclass(frozen=True)
class ProposalRules:
    """How votes become proposals.

    proposals: how many there are. radius: of the ball in metres in which votes are gathered. samples: at most
    so many of them. sampling: "seed" takes the votes of seeds that are far from each other, "vote" votes that
    are. ties: see `furthest_point_sample`. is_normalised: see `VoteModule`.
    """

    proposals: int = 256
    radius: float = 0.3
    samples: int = 16
    sampling: Sampling = "seed"
    ties: TieRule = "lowest"
    is_normalised: bool = True


class PredictionLayers(nn.Module):
    """Features (B, inputs, P) -> raw numbers (B, P, 5 + 2H + 5C)."""

    def __init__(self, inputs: int, *, classes: int, yaw_bins: int, norm_eps: float = NORM_EPS) -> None:
        super().__init__()
        self.shared_convs = conv_norms(inputs, _SHARED, dimensions=1, bias=True, norm_eps=norm_eps)
        self.conv_cls = nn.Conv1d(_SHARED[-1], 2 + classes, 1)
        self.conv_reg = nn.Conv1d(_SHARED[-1], 3 + 2 * yaw_bins + 4 * classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        shared = self.shared_convs(features)
        return torch.cat((self.conv_cls(shared), self.conv_reg(shared)), 1).transpose(1, 2)


class ProposalHead(nn.Module):
    """Seeds (`Level`) -> `Predictions`.

    inputs: channels of the seeds' features. hidden: channels of the vote module. classes, yaw_bins: see
    `raw_parts`.
    """

    def __init__(
        self,
        inputs: int = 256,
        *,
        classes: int,
        yaw_bins: int = 12,
        hidden: Sequence[int] = (256, 256),
        rules: ProposalRules = ProposalRules(),
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.rules = rules
        self.vote_module = VoteModule(inputs, hidden, is_normalised=rules.is_normalised, norm_eps=norm_eps)
        gathering = Gathering(rules.proposals, rules.radius, rules.samples, _WIDTHS)
        self.vote_aggregation = PointGathering(inputs, gathering, norm_eps=norm_eps)
        self.conv_pred = PredictionLayers(_WIDTHS[-1], classes=classes, yaw_bins=yaw_bins, norm_eps=norm_eps)

    def forward(self, seeds: Level, *, sampling: Sampling | None = None) -> Predictions:
        """sampling: instead of that of the rules, as for a training that samples votes."""
        votes = self.vote_module(seeds.points, seeds.features)
        spread = votes.points if (sampling or self.rules.sampling) == "vote" else seeds.points
        chosen = furthest_point_sample(spread, self.rules.proposals, ties=self.rules.ties)
        points, features = self.vote_aggregation(votes.points, votes.features, chosen)
        return Predictions(
            seed_points=seeds.points,
            seed_indices=seeds.indices,
            vote_points=votes.points,
            vote_features=votes.features,
            proposal_indices=chosen,
            proposal_points=points,
            proposal_features=features,
            raw=self.conv_pred(features),
        )
