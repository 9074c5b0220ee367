"""The loss of YOLOv5: box IoU and classes at matched anchors, objectness everywhere.

Paper: none by its authors; cited as Jocher, "YOLOv5 by Ultralytics", 2020, doi:10.5281/zenodo.3908559.
Compatible with ultralytics/yolov5 v6.0 to v7.0 without label smoothing, focal loss and class weights.
Upstream's licence: AGPL-3.0 (v6.x: GPL-3.0). Nothing is copied; written from the facts of the loss.
Deliberate differences: of several objects at one anchor the last is its objectness on every device, where
upstream's order is open on a GPU; parts of an image may be ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tercelet.contract.geometry import xyxy_from_cxcywh
from tercelet.training.detector_training.losses.anchor_matching import Matches, last_of_each, match
from tercelet.training.detector_training.losses.ciou import complete_iou
from tercelet.training.detector_training.losses.places import pairs_inside, places_of
from tercelet.training.detector_training.losses.sparse_entropy import sparse_cross_entropy
from tercelet.training.detector_training.losses.value import ALONE, LossValue, Sharing
from tercelet.training.detector_training.targets import Targets

# The gains hold for 80 classes, three levels and images of 640 pixels.
_CLASSES, _LEVELS, _SIZE = 80, 3, 640


@dataclass(frozen=True, kw_only=True, eq=False)
class AnchorLoss:
    """anchors: (L, P, 2) float32, units of the stride. strides: pixels, one a level. classes: C.

    gains: of box, obj and cls, before what the classes, the levels and the size of the image make of them.
    anchor_threshold: see `match`. balance: how much the objectness of each level counts.
    """

    names: ClassVar[tuple[str, str, str]] = ("box", "obj", "cls")
    anchors: Tensor
    strides: tuple[int, ...]
    classes: int
    gains: tuple[float, float, float] = (0.05, 1.0, 0.5)
    anchor_threshold: float = 4.0
    balance: tuple[float, ...] = (4.0, 1.0, 0.4)

    def __call__(
        self,
        outputs: tuple[Tensor, ...],
        targets: Targets,
        *,
        height: int,
        width: int,
        sharing: Sharing = ALONE,
    ) -> LossValue:
        """The loss of a batch of images of height x width pixels, in float32 whatever the outputs are.

        outputs: (B, P, h, w, 5 + C) logits a level. Box and cls are means over the matches of a level, obj
        over all its anchors. An anchor whose cell has its centre inside an ignored box and that no object
        matches adds nothing to the sum of obj; what the sum is divided by stays.
        """
        with torch.autocast(outputs[0].device.type, enabled=False):
            matches = self.matching(outputs, targets)
            counts = [float(outputs[0].shape[0]), *(float(found.boxes.shape[0]) for found in matches)]
            shared = sharing.total(torch.tensor(counts, device=outputs[0].device)) / sharing.processes
            parts = torch.zeros(3, device=outputs[0].device)
            for level, found in enumerate(matches):
                matched = shared[level + 1].clamp(min=1 / sharing.processes)
                parts = parts + self._level(outputs[level], targets, level, found, shared[0], matched)
            parts = parts * torch.tensor(self.scaled_gains(height, width), device=parts.device)
            return LossValue(parts.sum() * shared[0], parts.detach())

    def scaled_gains(self, height: int, width: int) -> tuple[float, float, float]:
        """The gains of box, obj and cls for images of height x width pixels."""
        box, obj, cls = self.gains
        levels = _LEVELS / len(self.strides)
        size = (max(height, width) / _SIZE) ** 2
        return box * levels, obj * size * levels, cls * self.classes / _CLASSES * levels

    def matching(self, outputs: tuple[Tensor, ...], targets: Targets) -> list[Matches]:
        """The matches of every level; of `outputs` only the shapes are read."""
        anchors = self.anchors.to(targets.boxes.device)
        return [
            match(
                targets,
                anchors[level],
                stride=stride,
                rows=outputs[level].shape[2],
                columns=outputs[level].shape[3],
                threshold=self.anchor_threshold,
            )
            for level, stride in enumerate(self.strides)
        ]

    def _level(
        self,
        logits: Tensor,
        targets: Targets,
        level: int,
        found: Matches,
        images: Tensor,
        matched: Tensor,
    ) -> Tensor:
        """(3,) box, obj and cls of one level before the gains.

        images, matched: scalars, images of the batch and matches to divide by.
        """
        logits = logits.float()  # first, so that gradients are summed in float32 too
        _, priors, rows, columns, numbers = logits.shape
        cells = ((found.images * priors + found.anchors) * rows + found.rows) * columns + found.columns
        picked = logits.reshape(-1, numbers).index_select(0, cells)
        chances = picked[:, :4].sigmoid()
        anchors = self.anchors.to(logits.device)[level][found.anchors]
        predicted = torch.cat((chances[:, :2] * 2 - 0.5, (chances[:, 2:] * 2).square() * anchors), 1)
        overlaps = complete_iou(xyxy_from_cxcywh(predicted), xyxy_from_cxcywh(found.offsets))
        box = (1 - overlaps).sum() / matched
        last = last_of_each(cells)
        kept = self._kept(logits, targets, level, cells[last]) if targets.ignored.shape[0] else None
        values = overlaps.detach().clamp(min=0)[last]
        objectness = sparse_cross_entropy(logits[..., 4], cells[last], values, kept)
        obj = objectness * self.balance[level] / (images * (priors * rows * columns))
        if self.classes == 1:
            return torch.stack((box, obj, torch.zeros_like(box)))
        truth = torch.nn.functional.one_hot(targets.class_ids[found.boxes], self.classes).float()
        cls = binary_cross_entropy_with_logits(picked[:, 5:], truth, reduction="sum")
        return torch.stack((box, obj, cls / (matched * self.classes)))

    def _kept(self, logits: Tensor, targets: Targets, level: int, matched: Tensor) -> Tensor:
        """(B, P, h, w) float32, 0 where an ignored box holds the cell's centre and no object matches."""
        batch, priors, rows, columns, _ = logits.shape
        stride = self.strides[level]
        places = places_of(
            (stride,), height=rows * stride, width=columns * stride, device=targets.boxes.device
        )
        kept = torch.ones(batch * rows * columns, device=logits.device)
        kept[pairs_inside(targets.ignored, targets.ignored_rows, places).cells] = 0
        kept = kept.view(batch, 1, rows, columns).repeat(1, priors, 1, 1)
        kept.view(-1)[matched] = 1
        return kept
