"""What a proposal head predicts, in parts, and the boxes that follow from it.

Facts of the encoding: Qi et al., "Deep Hough Voting", ICCV 2019; mmdetection3d 1.0's order of the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from tercelet.training.detectors.point_detector import Proposals


class Predictions(NamedTuple):
    """The numbers of P proposals before decoding, and what they were made from: what losses read.

    seed_points (B, S, 3), seed_indices (B, S) int64 into the cloud, vote_points (B, S, 3), vote_features
    (B, V, S); proposal_indices (B, P) int64 into the votes, proposal_points (B, P, 3): those votes,
    proposal_features (B, W, P). raw (B, P, 5 + 2H + 5C), see `raw_parts`. Points in metres, in the
    frame of the cloud.
    """

    seed_points: Tensor
    seed_indices: Tensor
    vote_points: Tensor
    vote_features: Tensor
    proposal_indices: Tensor
    proposal_points: Tensor
    proposal_features: Tensor
    raw: Tensor


class RawParts(NamedTuple):
    """A proposal's numbers by meaning, H bins of yaw and C classes, which have one mean size each.

    objectness (B, P, 2) logits, 1 is "object". classes (B, P, C) logits. offset (B, P, 3) metres from the
    proposal's point to the box's centre. yaw_class (B, P, H) logits, yaw_left (B, P, H) in half widths of a
    bin. size_class (B, P, C) logits, size_left (B, P, C, 3) as a share of the mean size.
    """

    objectness: Tensor
    classes: Tensor
    offset: Tensor
    yaw_class: Tensor
    yaw_left: Tensor
    size_class: Tensor
    size_left: Tensor


def raw_size(classes: int, yaw_bins: int) -> int:
    """How many numbers a proposal has: 2 + C, then 3 + 2H + 4C."""
    return 5 + 2 * yaw_bins + 5 * classes


def raw_parts(raw: Tensor, *, classes: int, yaw_bins: int) -> RawParts:
    """Raw numbers (B, P, 5 + 2H + 5C) by meaning."""
    ends = (*accumulate((2, classes, 3, yaw_bins, yaw_bins, classes, 3 * classes)),)
    parts = [raw[..., start:end] for start, end in zip((0, *ends), ends, strict=False)]
    objectness, semantic, offset, yaw_class, yaw_left, size_class, size_left = parts
    return RawParts(
        objectness,
        semantic,
        offset,
        yaw_class,
        yaw_left,
        size_class,
        size_left.reshape(*raw.shape[:2], classes, 3),
    )


def decoded_proposals(
    raw: Tensor, points: Tensor, *, mean_sizes: Tensor | Sequence[Sequence[float]], yaw_bins: int
) -> Proposals:
    """Raw numbers (B, P, ...) and the proposals' points (B, P, 3) -> boxes and scores.

    mean_sizes: (C, 3) metres. With one bin boxes lie along the axes and their yaw is 0.
    """
    means = torch.as_tensor(mean_sizes, dtype=raw.dtype, device=raw.device)
    parts = raw_parts(raw, classes=len(means), yaw_bins=yaw_bins)
    size_class = parts.size_class.argmax(2, keepdim=True)
    left = parts.size_left.gather(2, size_class[..., None].expand(-1, -1, 1, 3)).squeeze(2)
    sizes = means[size_class.squeeze(2)] * (1 + left)
    boxes = torch.cat((points + parts.offset, sizes, _yaw(parts, yaw_bins)), 2)
    return Proposals(boxes, parts.objectness.softmax(2)[..., 1], parts.classes.softmax(2), raw)


def _yaw(parts: RawParts, bins: int) -> Tensor:
    """(B, P, 1) radians, up to pi."""
    if bins == 1:
        return torch.zeros_like(parts.offset[..., :1])
    number = parts.yaw_class.argmax(2, keepdim=True)
    left = parts.yaw_left.gather(2, number) * (math.pi / bins)
    angle = number.to(left.dtype) * (2 * math.pi / bins) + left
    return torch.where(angle > math.pi, angle - 2 * math.pi, angle)
