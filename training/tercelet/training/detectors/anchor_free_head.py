"""The decoupled, anchor-free head of YOLOv8 and its successors: distances as distributions, class logits.

A distance is the expectation of a softmax over 16 bins (Li et al., "Generalized Focal Loss", NeurIPS 2020),
in units of the level's stride, measured from the centre of the anchor's cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tercelet.contract.geometry import xyxy_from_ltrb
from tercelet.training.candidates import Candidates, TopCandidates
from tercelet.training.detectors.blocks import Conv
from tercelet.training.detectors.detector import Head
from tercelet.training.detectors.selection import best_pairs, cell_grid, gather_across_levels, select_rows

BINS = 16
# At the start a box reaches one bin further than the softmax of zeros would, and a 640 px frame is taken to
# hold five objects.
_BOX_BIAS = 1.0
_PRIOR_OBJECTS, _PRIOR_SIZE = 5, 640

Branch = Callable[[int, int, int], nn.Module]
"""Makes one branch for one level from its input channels, inner width and output channels."""


class Level(NamedTuple):
    """Raw maps of one level: boxes (B, 4 * 16, h, w), scores (B, C, h, w), logits both."""

    boxes: Tensor
    scores: Tensor


class AnchorFreeOutputs(NamedTuple):
    """Raw outputs of all levels, A over P3, P4, P5 row by row.

    boxes_dfl: (B, 4 * 16, A) logits, left, top, right, bottom with 16 bins each. scores_logit: (B, C, A).
    """

    boxes_dfl: Tensor
    scores_logit: Tensor


class DistributionMean(nn.Module):
    """Expectation over the bins of each side; their values 0 to 15 are a constant of the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data = torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1)

    def forward(self, logits: Tensor) -> Tensor:
        """logits (B, 4 * 16, N) -> (B, N, 4) distances in units of the stride."""
        batch, _, count = logits.shape
        chances = logits.view(batch, 4, BINS, count).softmax(2)
        return (chances * self.conv.weight.view(1, 1, BINS, 1)).sum(2).transpose(1, 2)


class AnchorFreeHead(Head):
    """One box branch (cv2) and one class branch (cv3) a level, made of what the family says."""

    def __init__(
        self,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        classes: int,
        class_width: int,
        box_branch: Branch,
        class_branch: Branch,
    ) -> None:
        super().__init__()
        self.strides = strides
        box_width = max(16, channels[0] // 4, 4 * BINS)
        self.cv2 = nn.ModuleList(box_branch(count, box_width, 4 * BINS) for count in channels)
        self.cv3 = nn.ModuleList(class_branch(count, class_width, classes) for count in channels)
        self.dfl = DistributionMean()
        self._set_biases(classes)

    def _set_biases(self, classes: int) -> None:
        for box, score, stride in zip(self.cv2, self.cv3, self.strides, strict=True):
            cells = (_PRIOR_SIZE / stride) ** 2
            nn.init.constant_(box.get_submodule("2").get_parameter("bias"), _BOX_BIAS)
            prior = math.log(_PRIOR_OBJECTS / classes / cells)
            nn.init.constant_(score.get_submodule("2").get_parameter("bias"), prior)

    def forward(self, maps: Sequence[Tensor]) -> list[Level]:
        return [Level(box(x), score(x)) for box, score, x in zip(self.cv2, self.cv3, maps, strict=True)]

    def raw_outputs(self, levels: Sequence[Level]) -> AnchorFreeOutputs:
        return AnchorFreeOutputs(
            torch.cat([level.boxes.flatten(2) for level in levels], 2),
            torch.cat([level.scores.flatten(2) for level in levels], 2),
        )

    def decode(self, levels: Sequence[Level]) -> Candidates:
        boxes_dfl, scores_logit = self.raw_outputs(levels)
        boxes = _boxes(self._anchors(levels), self.dfl(boxes_dfl))
        return Candidates(boxes, scores_logit.sigmoid().transpose(1, 2))

    def top_candidates(self, levels: Sequence[Level], count: int) -> TopCandidates:
        # The sigmoid is monotone: anchors and pairs are ranked by their logits, and a pair among the best
        # `count` belongs to an anchor among the `count` best by their best class.
        best_class = torch.cat([level.scores.amax(1).flatten(1) for level in levels], 1)
        anchors = best_class.topk(min(count, best_class.shape[1]), dim=1).indices
        logits = gather_across_levels([level.scores.flatten(2)[:, None] for level in levels], anchors)
        best, class_ids, slots = best_pairs(logits, count)
        chosen = anchors.gather(1, slots)
        rows = gather_across_levels([level.boxes.flatten(2)[:, None] for level in levels], chosen)
        boxes = _boxes(select_rows(self._anchors(levels), chosen), self.dfl(rows))
        return TopCandidates(boxes, best.sigmoid(), class_ids)

    def _anchors(self, levels: Sequence[Level]) -> Tensor:
        """(A, 3) centre x and y in units of the stride, stride in pixels."""
        tables = []
        for level, stride in zip(levels, self.strides, strict=True):
            centres = cell_grid(level.scores.shape[2], level.scores.shape[3], level.scores) + 0.5
            tables.append(nn.functional.pad(centres, (0, 1), value=float(stride)))
        return torch.cat(tables)


def _boxes(anchors: Tensor, distances: Tensor) -> Tensor:
    """Anchors (..., 3) as above and distances (..., 4) in units of the stride -> (..., 4) xyxy in pixels."""
    return xyxy_from_ltrb(anchors[..., :2], distances) * anchors[..., 2:]


def default_class_width(channels: tuple[int, ...], classes: int) -> int:
    """The inner width of the class branches where nothing else is asked for."""
    return max(channels[0], min(classes, 100))


def conv_branch(inputs: int, width: int, outputs: int) -> nn.Module:
    """Two 3x3 convolutions and a 1x1: both branches of YOLOv8, the box branch of YOLO11."""
    return nn.Sequential(Conv(inputs, width, 3), Conv(width, width, 3), nn.Conv2d(width, outputs, 1))


def depthwise_branch(inputs: int, width: int, outputs: int) -> nn.Module:
    """Two pairs of depthwise 3x3 and 1x1, and a 1x1: the class branch of YOLO11."""
    return nn.Sequential(
        nn.Sequential(Conv(inputs, inputs, 3, groups=inputs), Conv(inputs, width)),
        nn.Sequential(Conv(width, width, 3, groups=width), Conv(width, width)),
        nn.Conv2d(width, outputs, 1),
    )
