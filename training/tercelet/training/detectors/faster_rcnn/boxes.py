"""Boxes of a two-stage detector: deltas decoded, lesser boxes suppressed. Boxes are x1, y1, x2, y2 in pixels,
widths without a "+1"."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A box grows at most from 16 to 1000 pixels in one step.
_LARGEST_GROWTH = math.log(1000 / 16)


def boxes_from_deltas(
    boxes: Tensor, deltas: Tensor, *, deviations: Sequence[float], size: tuple[int, int]
) -> Tensor:
    """boxes (n, 4), deltas (n, 4) of centre and log size in units of `deviations` -> (n, 4), cut to the
    image. size: its height and width without padding, in pixels."""
    deltas = deltas * deltas.new_tensor(deviations)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) * 0.5 + sides * deltas[:, :2]
    halves = sides * deltas[:, 2:].clamp(-_LARGEST_GROWTH, _LARGEST_GROWTH).exp() * 0.5
    ends = boxes.new_tensor((size[1], size[0]))
    corners = [torch.minimum((centres + sign * halves).clamp(min=0), ends) for sign in (-1, 1)]
    return torch.cat(corners, 1)


def kept_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, *, iou: float) -> Tensor:
    """Indices (int64) of boxes that survive greedy suppression inside their group, best score first.

    boxes (n, 4), scores (n), groups (n) integers. A box goes if its IoU with a better one that stays is
    above `iou`; of equal scores the one listed first is better. Boxes without area suppress nothing.
    """
    ranks = torch.argsort(scores, descending=True, stable=True)
    rows = boxes[ranks].detach().cpu().numpy()
    of_group = groups[ranks].cpu().numpy()
    is_kept = np.zeros(len(rows), np.bool_)
    for group in np.unique(of_group):
        members = np.flatnonzero(of_group == group)
        is_kept[members] = _greedy(rows[members], iou)
    return ranks[torch.from_numpy(is_kept).to(ranks.device)]


def _greedy(boxes: NDArray[np.float32], iou: float) -> NDArray[np.bool_]:
    """Which of the boxes (n, 4), best first, stay."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    is_kept = np.ones(len(boxes), np.bool_)
    for index in range(len(boxes)):
        if not is_kept[index]:
            continue
        later = boxes[index + 1 :]
        low = np.maximum(boxes[index, :2], later[:, :2])
        sides = np.maximum(np.minimum(boxes[index, 2:], later[:, 2:]) - low, 0)
        shared = sides[:, 0] * sides[:, 1]
        joined = areas[index] + areas[index + 1 :] - shared
        is_kept[index + 1 :] &= ~(shared > np.float32(iou) * joined)
    return is_kept
