"""Which places learn which object: task-aligned assignment.

Feng et al., "TOOD: Task-aligned One-stage Object Detection", ICCV 2021 (arXiv:2108.07755), section 3.2, with
complete IoU, as YOLOv8 and its successors have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tercelet.training.detector_training.losses.ciou import complete_iou
from tercelet.training.detector_training.losses.places import Places, pairs_inside
from tercelet.training.detector_training.targets import Targets

_EPS = 1e-9


@dataclass(frozen=True)
class AssignmentRule:
    """Alignment is score**alpha * IoU**beta; the `topk` best places inside a box learn it.

    smallest_side: pixels to which shorter sides of a box are enlarged about its centre before asking which
    places are inside (ultralytics 8.4), or None to leave boxes as they are (8.3).
    """

    topk: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    smallest_side: float | None = 16.0


class Assignment(NamedTuple):
    """The places that learn an object; each at most once.

    cells: (M,) int64, image * A + place. boxes: (M,) int64 rows of Targets. scores: (M,) float32 in 0..1, the
    target of the class score there.
    """

    cells: Tensor
    boxes: Tensor
    scores: Tensor


@torch.no_grad()
def assign(
    boxes: Tensor, scores_logit: Tensor, targets: Targets, places: Places, rule: AssignmentRule
) -> Assignment:
    """Match places with objects.

    boxes: (B, A, 4) float32 xyxy in pixels, as predicted. scores_logit: (B, C, A) of any float type. A place
    that several objects chose goes to the one with the highest IoU of all that contain it, the first of
    equals; of places equally aligned with an object the first are chosen.
    """
    pairs = pairs_inside(enlarged(targets.boxes, rule.smallest_side), targets.rows, places)
    overlaps = complete_iou(boxes.view(-1, 4)[pairs.cells], targets.boxes[pairs.boxes]).clamp(min=0)
    # Place (row, class, place) of the flat logits: row * C * A + class * A + place.
    classes, count = scores_logit.shape[1:]
    shift = (targets.rows * (classes - 1) + targets.class_ids) * count
    scores = scores_logit.reshape(-1)[pairs.cells + shift[pairs.boxes]].float().sigmoid()
    alignment = scores.pow(rule.alpha) * overlaps.pow(rule.beta)
    chosen = _best_of_each(pairs.boxes, alignment, targets.boxes.shape[0], rule.topk)
    kept = _one_object_a_cell(pairs.cells, overlaps, chosen, boxes.shape[0] * count)
    cells, owners, alignment, overlaps = pairs.cells[kept], pairs.boxes[kept], alignment[kept], overlaps[kept]
    best = torch.zeros((2, targets.boxes.shape[0]), device=boxes.device)
    best.scatter_reduce_(1, owners.expand(2, -1), torch.stack((alignment, overlaps)), "amax")
    best_alignment, best_overlap = best[:, owners]
    return Assignment(cells, owners, alignment * (best_overlap / (best_alignment + _EPS)))


def enlarged(boxes: Tensor, smallest_side: float | None) -> Tensor:
    """(N, 4) xyxy -> the same with sides shorter than `smallest_side` enlarged to it about the centre."""
    if smallest_side is None:
        return boxes
    lacking = ((smallest_side - (boxes[:, 2:] - boxes[:, :2])) / 2).clamp(min=0)
    return torch.cat((boxes[:, :2] - lacking, boxes[:, 2:] + lacking), 1)


def _best_of_each(groups: Tensor, values: Tensor, count: int, most: int) -> Tensor:
    """Positions of the `most` largest of each group; groups (K,) ascending, values (K,) float32 >= 0."""
    # The bits of floats that are not negative are ordered as the floats are: one sort does both.
    order = ((groups << 32) - values.view(torch.int32)).argsort(stable=True)
    sizes = torch.bincount(groups, minlength=count)
    first = (sizes.cumsum(0) - sizes)[groups]
    rank = torch.arange(groups.shape[0], device=groups.device) - first
    return order[rank < most]


def _one_object_a_cell(cells: Tensor, overlaps: Tensor, chosen: Tensor, count: int) -> Tensor:
    """Positions of pairs, no cell twice: those chosen, or where several were, the best pair of the cell."""
    votes = torch.bincount(cells[chosen], minlength=count)
    contested = (votes > 1)[cells].nonzero()[:, 0]
    if not contested.shape[0]:
        return chosen
    where, values = cells[contested], overlaps[contested]
    best = torch.zeros(count, device=cells.device).scatter_reduce_(0, where, values, "amax")
    equal = contested[values == best[where]]
    # The positions ascend with the objects, so the first of equals is the smallest.
    first = torch.full((count,), cells.shape[0], device=cells.device)
    first.scatter_reduce_(0, cells[equal], equal, "amin")
    winners = equal[first[cells[equal]] == equal]
    return torch.cat((chosen[votes[cells[chosen]] == 1], winners))
