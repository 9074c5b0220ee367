"""What a VoteNet or a tower of ImVoteNet is to predict for a scene: boxes by number, votes of the points.

Frame: upright depth, metres, boxes as in `contract.box3d`. Facts of the encoding: Qi et al., "Deep Hough
Voting", ICCV 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tercelet.contract.box3d import bins_from_yaw, points_in_boxes
from tercelet.contract.errors import InputError

VOTES = 3
"""Centres a point may vote for at most."""


class SceneTargets(NamedTuple):
    """B scenes of N points and up to G boxes, padded where `is_real` (B, G) is False.

    centres (B, G, 3) metres. yaw_class (B, G) int64, yaw_left (B, G) in half widths of a bin. size_class
    (B, G) int64, the class of the box, size_left (B, G, 3) as a share of its mean size. votes (B, N, 3, 3):
    from a point to the centres of up to three boxes it lies in, the first repeated where there are fewer.
    has_vote (B, N) bool: whether the point lies in a box.
    """

    centres: Tensor
    yaw_class: Tensor
    yaw_left: Tensor
    size_class: Tensor
    size_left: Tensor
    is_real: Tensor
    votes: Tensor
    has_vote: Tensor


_OF_POINTS = ("votes", "has_vote")


def targets_of_scene(
    points: NDArray[Any],
    boxes: NDArray[Any],
    labels: NDArray[Any],
    *,
    mean_sizes: Sequence[Sequence[float]],
    yaw_bins: int,
    votes: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None,
) -> SceneTargets:
    """Of one scene, a batch of 1: points (N, 3 or more), boxes (G, 7), labels (G) 0 to C - 1.

    mean_sizes: (C, 3) metres. votes: offsets (N, 3, 3) and whether a point has any (N), where something
    other than the boxes says so. A scene without boxes gets one that is not real. InputError for what does
    not fit.
    """
    _check(boxes, labels, len(mean_sizes))
    yaw_class, left = bins_from_yaw(boxes[:, 6].astype(np.float64), bins=yaw_bins)
    means = np.asarray(mean_sizes, np.float64)[labels]
    offsets, has_vote = _votes(points, boxes) if votes is None else votes
    if offsets.shape != (len(points), VOTES, 3) or has_vote.shape != (len(points),):
        raise InputError(
            f"targets: expected votes ({len(points)}, {VOTES}, 3) of as many points, got {offsets.shape}"
        )
    made = (
        boxes[:, :3].astype(np.float32),
        yaw_class,
        (left / (math.pi / yaw_bins)).astype(np.float32),
        labels.astype(np.int64),
        ((boxes[:, 3:6] - means) / means).astype(np.float32),
        np.ones(len(boxes), np.bool_),
    )
    padded = [_padded(torch.from_numpy(np.ascontiguousarray(array)), max(1, len(boxes))) for array in made]
    rows = (*padded, torch.from_numpy(offsets), torch.from_numpy(has_vote))
    return SceneTargets(*(tensor[None] for tensor in rows))


def batch_of_scenes(scenes: Sequence[SceneTargets]) -> SceneTargets:
    """Scenes of equally many points as one batch, boxes padded to the most there are."""
    most = max(scene.centres.shape[1] for scene in scenes)
    made: dict[str, Tensor] = {}
    for name in SceneTargets._fields:
        parts: list[Tensor] = [getattr(scene, name) for scene in scenes]
        if name not in _OF_POINTS:
            parts = [_padded(part[0], most)[None] for part in parts]
        made[name] = torch.cat(parts)
    return SceneTargets(**made)


def _votes(points: NDArray[Any], boxes: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Votes (N, 3, 3) and whether a point has any; a fourth box takes the place of the third."""
    xyz = points[:, :3].astype(np.float32)
    votes = np.zeros((len(xyz), VOTES, 3), np.float32)
    count = np.zeros(len(xyz), np.int64)
    inside = points_in_boxes(xyz, boxes)
    for number, box in enumerate(boxes):
        rows = np.flatnonzero(inside[:, number])
        ways = box[:3].astype(np.float32) - xyz[rows]
        is_first = count[rows] == 0
        votes[rows[is_first]] = ways[is_first, None]
        again = rows[~is_first]
        votes[again, np.minimum(count[again], VOTES - 1)] = ways[~is_first]
        count[rows] += 1
    return votes, count > 0


def _padded(rows: Tensor, count: int) -> Tensor:
    return functional.pad(rows, (0, 0) * (rows.ndim - 1) + (0, count - len(rows)))


def _check(boxes: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 7 or labels.shape != boxes.shape[:1]:
        raise InputError(
            f"targets: expected boxes (G, 7) and labels (G), got {boxes.shape} and {labels.shape}"
        )
    if not np.isfinite(boxes).all():
        raise InputError("targets: expected boxes of finite numbers, got nan or infinity; mend the labels")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise InputError(
            f"targets: expected labels of 0 to {classes - 1}, got {labels.min()} to {labels.max()}; map the "
            "classes of the data to those of the network"
        )
