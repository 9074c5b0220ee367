"""The losses of VoteNet and of the three towers of ImVoteNet.

Papers: Qi et al., "Deep Hough Voting", ICCV 2019; "ImVoteNet", CVPR 2020. Compatible with: the losses and
weights of mmdetection3d 1.0 (Apache-2.0). Nothing is copied; written from facts. Deliberate differences:
boxes that pad a batch attract no proposal, where upstream's do, to the origin; in a scene without boxes every
proposal is far from all, where upstream places one at the origin.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from tercelet.training.detectors.imvotenet.detector import TowerPredictions
from tercelet.training.detectors.imvotenet.targets import SceneTargets
from tercelet.training.detectors.votenet.predictions import Predictions, RawParts, raw_parts

NEAR = 0.3
"""Metres from a true centre within which a proposal is an object."""
FAR = 0.6
"""Metres from every true centre beyond which it is none; between the two it does not count."""
LOSS_WEIGHTS: Mapping[str, float] = {
    "vote": 10.0,
    "objectness": 5.0,
    "centre": 10.0,
    "yaw_class": 1.0,
    "yaw_left": 10.0,
    "size_class": 1.0,
    "size_left": 10.0 / 3.0,
    "semantic": 1.0,
}
TOWER_WEIGHTS = (0.4, 0.3, 0.3)
"""Joint, points, image."""
# Of "no object" and "object": most proposals are none.
_OBJECTNESS_WEIGHTS = (0.2, 0.8)
_TINY = 1e-6


def votenet_losses(found: Predictions, targets: SceneTargets, *, yaw_bins: int) -> dict[str, Tensor]:
    """Each loss by the names of `LOSS_WEIGHTS`, weighted; their sum is what is trained on. Scalars."""
    classes = (found.raw.shape[2] - 5 - 2 * yaw_bins) // 5
    parts = raw_parts(found.raw, classes=classes, yaw_bins=yaw_bins)
    square, match = _nearest(found.proposal_points, targets)
    distance = (square + _TINY).sqrt()
    is_object = distance < NEAR
    counts = _shares(is_object | (distance > FAR))
    share = _shares(is_object)
    losses = {
        "vote": _vote_loss(found, targets),
        "objectness": _cross_entropy(parts.objectness, is_object.long(), counts, _OBJECTNESS_WEIGHTS),
        "centre": _centre_loss(found.proposal_points + parts.offset, share, targets),
        **_shape_losses(parts, share, match, targets),
    }
    return {name: LOSS_WEIGHTS[name] * losses[name] for name in LOSS_WEIGHTS}


def imvotenet_losses(found: TowerPredictions, targets: SceneTargets, *, yaw_bins: int) -> dict[str, Tensor]:
    """Those of the three towers, each loss summed with `TOWER_WEIGHTS`."""
    towers = [votenet_losses(tower, targets, yaw_bins=yaw_bins) for tower in found]
    return {
        name: torch.stack([w * tower[name] for w, tower in zip(TOWER_WEIGHTS, towers, strict=True)]).sum()
        for name in LOSS_WEIGHTS
    }


def _shares(chosen: Tensor) -> Tensor:
    """1 / number of the chosen where chosen, else 0."""
    weights = chosen.float()
    return weights / (weights.sum() + _TINY)


def _nearest(points: Tensor, targets: SceneTargets) -> tuple[Tensor, Tensor]:
    """Squared distance (B, P) of each point to the nearest real centre, and which it is (int64)."""
    square = (points[:, :, None] - targets.centres[:, None]).square().sum(3)
    square = square.masked_fill(~targets.is_real[:, None], torch.inf)
    nearest = square.min(2)
    return nearest.values, nearest.indices


def _vote_loss(found: Predictions, targets: SceneTargets) -> Tensor:
    """Mean distance along the axes from the votes of seeds in boxes to the nearest centre they may mean."""
    rows = torch.arange(len(found.seed_indices), device=found.seed_indices.device)[:, None]
    aims = found.seed_points[:, :, None] + targets.votes[rows, found.seed_indices]
    distance = (found.vote_points[:, :, None] - aims).abs().sum(3).amin(2)
    return (distance * _shares(targets.has_vote[rows, found.seed_indices])).sum()


def _centre_loss(centres: Tensor, share: Tensor, targets: SceneTargets) -> Tensor:
    """Squared distance from objects to true centres and from true centres to any proposal, both averaged."""
    square = (centres[:, :, None] - targets.centres[:, None]).square().sum(3)
    is_real = targets.is_real[:, None].expand_as(square)
    there = square.masked_fill(~is_real, torch.inf).amin(2)
    there = torch.where(share > 0, there, 0.0)
    back = square.amin(1)
    return (there * share).sum() + (back * _shares(targets.is_real)).sum()


def _shape_losses(parts: RawParts, share: Tensor, match: Tensor, targets: SceneTargets) -> dict[str, Tensor]:
    """Of yaw, size and class, at the box that each proposal is matched with."""
    yaw_class, size_class = targets.yaw_class.gather(1, match), targets.size_class.gather(1, match)
    yaw = parts.yaw_left.gather(2, yaw_class[:, :, None]).squeeze(2)
    picked = size_class[:, :, None, None].expand(-1, -1, 1, 3)
    size = parts.size_left.gather(2, picked).squeeze(2)
    true_size = targets.size_left.gather(1, match[:, :, None].expand(-1, -1, 3))
    yaw_loss = functional.smooth_l1_loss(yaw, targets.yaw_left.gather(1, match), reduction="none")
    size_loss = functional.smooth_l1_loss(size, true_size, reduction="none").sum(2)
    return {
        "yaw_class": _cross_entropy(parts.yaw_class, yaw_class, share),
        "yaw_left": (yaw_loss * share).sum(),
        "size_class": _cross_entropy(parts.size_class, size_class, share),
        "size_left": (size_loss * share).sum(),
        "semantic": _cross_entropy(parts.classes, size_class, share),
    }


def _cross_entropy(
    logits: Tensor, target: Tensor, share: Tensor, weights: tuple[float, ...] | None = None
) -> Tensor:
    """logits (B, P, C), target (B, P) int64, each proposal counting with its share."""
    of_class = None if weights is None else logits.new_tensor(weights)
    loss = functional.cross_entropy(logits.transpose(1, 2), target, of_class, reduction="none")
    return (loss * share).sum()
