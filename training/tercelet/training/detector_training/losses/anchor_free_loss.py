"""The loss of YOLOv8 and YOLO11: box IoU and distributions where objects are, class scores everywhere.

Li et al., "Generalized Focal Loss", NeurIPS 2020 (the distributions). Compatible with ultralytics 8.4.
Upstream's licence: AGPL-3.0. Nothing is copied; written from the papers and the facts of the loss.
Deliberate differences: among equally aligned places the first are taken, where upstream's choice is open;
parts of an image may be ignored; only places inside a box are compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tercelet.contract.geometry import xyxy_from_ltrb
from tercelet.training.detector_training.losses.assignment import Assignment, AssignmentRule, assign
from tercelet.training.detector_training.losses.ciou import complete_iou
from tercelet.training.detector_training.losses.places import Places, pairs_inside, place_centres, places_of
from tercelet.training.detector_training.losses.sparse_entropy import sparse_cross_entropy
from tercelet.training.detector_training.losses.value import ALONE, LossValue, Sharing
from tercelet.training.detector_training.targets import Targets
from tercelet.training.detectors.anchor_free_head import BINS, AnchorFreeOutputs

_LAST = BINS - 1 - 0.01
"""The longest distance that a distribution learns, in units of the stride."""


@dataclass(frozen=True, kw_only=True)
class AnchorFreeLoss:
    """strides: pixels, one a level. classes: C. gains: of box, cls, dfl. The others: see `AssignmentRule`."""

    names: ClassVar[tuple[str, str, str]] = ("box", "cls", "dfl")
    strides: tuple[int, ...]
    classes: int
    gains: tuple[float, float, float] = (7.5, 0.5, 1.5)
    topk: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    smallest_side: float | None = 16.0

    def __call__(
        self,
        outputs: AnchorFreeOutputs,
        targets: Targets,
        *,
        height: int,
        width: int,
        sharing: Sharing = ALONE,
    ) -> LossValue:
        """The loss of a batch of images of height x width pixels, in float32 whatever the outputs are.

        Box and dfl are weighted means over the places that learn an object, cls is a sum over all scores;
        all are divided by the sum of the target scores, at least 1. A place inside an ignored box that learns
        no object has no class loss.
        """
        with torch.autocast(outputs.scores_logit.device.type, enabled=False):
            boxes_dfl, scores_logit = outputs
            places = places_of(self.strides, height=height, width=width, device=boxes_dfl.device)
            found = self.assignment(outputs, targets, height=height, width=width)
            images, processes = scores_logit.shape[0], sharing.processes
            shared = sharing.total(torch.stack((found.scores.sum(), found.scores.new_tensor(float(images)))))
            box, dfl = self._box_parts(boxes_dfl, targets, places, found)
            cls = self._class_part(scores_logit, targets, places, found)
            gains = torch.tensor(self.gains, device=box.device)
            parts = torch.stack((box, cls, dfl)) * gains * (processes / shared[0].clamp(min=1))
            return LossValue(parts.sum() * (shared[1] / processes), parts.detach())

    @torch.no_grad()
    def assignment(
        self, outputs: AnchorFreeOutputs, targets: Targets, *, height: int, width: int
    ) -> Assignment:
        """Which places learn which object, and how sure they should be."""
        places = places_of(self.strides, height=height, width=width, device=outputs.boxes_dfl.device)
        boxes = _decoded(outputs.boxes_dfl, places)
        rule = AssignmentRule(self.topk, self.alpha, self.beta, self.smallest_side)
        return assign(boxes, outputs.scores_logit, targets, places, rule)

    def _box_parts(
        self, boxes_dfl: Tensor, targets: Targets, places: Places, found: Assignment
    ) -> tuple[Tensor, Tensor]:
        """Sums over the places that learn, weighted by their scores, of 1 - IoU and of the dfl."""
        images = found.cells // places.total
        where = found.cells - images * places.total
        centres, strides = place_centres(places, where)
        logits = _columns(boxes_dfl, images, where).float().view(-1, 4, BINS)
        logs = logits.log_softmax(2)
        bins = torch.arange(BINS, device=logits.device, dtype=torch.float32)
        predicted = xyxy_from_ltrb(centres, (logs.exp() * bins).sum(2))
        truth = targets.boxes[found.boxes] / strides
        box = torch.dot(1 - complete_iou(predicted, truth), found.scores)
        distances = torch.cat((centres - truth[:, :2], truth[:, 2:] - centres), 1).clamp(0, _LAST)
        # What a distance gives the two bins beside it is how near it is to each: a triangle of width 1.
        shares = (1 - (bins - distances[..., None]).abs()).clamp(min=0)
        dfl = -torch.dot((logs * shares).sum(2).mean(1), found.scores)
        return box, dfl

    def _class_part(
        self, scores_logit: Tensor, targets: Targets, places: Places, found: Assignment
    ) -> Tensor:
        kept = None
        if targets.ignored.shape[0]:
            kept = torch.ones(scores_logit.shape[0] * places.total, device=scores_logit.device)
            kept[pairs_inside(targets.ignored, targets.ignored_rows, places).cells] = 0
            kept[found.cells] = 1
            kept = kept.view(-1, 1, places.total)
        shift = targets.rows * (self.classes - 1) + targets.class_ids
        where = found.cells + shift[found.boxes] * places.total
        return sparse_cross_entropy(scores_logit, where, found.scores, kept)


def _columns(maps: Tensor, images: Tensor, where: Tensor) -> Tensor:
    """(B, R, A), (M,) images and (M,) places -> (M, R); the gradient has the layout of the maps."""
    _, numbers, count = maps.shape
    first = images * (numbers * count) + where
    index = first[:, None] + torch.arange(numbers, device=maps.device) * count
    return maps.reshape(-1).gather(0, index.view(-1)).view(index.shape)


def _decoded(boxes_dfl: Tensor, places: Places) -> Tensor:
    """(B, 4 * 16, A) logits -> (B, A, 4) float32 xyxy in pixels."""
    batch, _, count = boxes_dfl.shape
    chances = boxes_dfl.float().view(batch, 4, BINS, count).softmax(2)
    bins = torch.arange(BINS, device=boxes_dfl.device, dtype=torch.float32)
    distances = (chances * bins.view(BINS, 1)).sum(2).transpose(1, 2)
    centres, strides = place_centres(places, torch.arange(count, device=boxes_dfl.device))
    return xyxy_from_ltrb(centres, distances) * strides
