"""The region proposal network: which rectangles of the image may hold an object.

Paper: Ren et al., "Faster R-CNN", NeurIPS 2015. Compatible with: weights of mmdetection (Apache-2.0), anchors
centred on multiples of the stride. Nothing is copied. Deliberate differences: of equal scores the anchor
listed first is taken, where upstream leaves the order open.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tercelet.training.detectors.faster_rcnn.boxes import boxes_from_deltas, kept_by_group
from tercelet.training.detectors.faster_rcnn.trunk import PYRAMID_CHANNELS, STRIDES

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors of a cell."""
_SCALE = 8
_DEVIATIONS = (1.0, 1.0, 1.0, 1.0)
_BEST_OF_LEVEL = 1000
_MOST_PROPOSALS = 1000
_IOU = 0.7


class RPNHead(nn.Module):
    """Levels -> for each, logits (B, 3, h, w) and deltas (B, 12, h, w), four numbers an anchor."""

    def __init__(self) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3, padding=1)
        self.rpn_cls = nn.Conv2d(PYRAMID_CHANNELS, len(RATIOS), 1)
        self.rpn_reg = nn.Conv2d(PYRAMID_CHANNELS, 4 * len(RATIOS), 1)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        shared = [functional.relu(self.rpn_conv(level)) for level in levels]
        return [self.rpn_cls(x) for x in shared], [self.rpn_reg(x) for x in shared]


def anchors_of(height: int, width: int, stride: int) -> Tensor:
    """(height * width * 3, 4) pixels: cell by cell, row by row, the anchors of a cell in order of `RATIOS`.

    They are centred on (column * stride, row * stride), the top left corner of their cell.
    """
    tall = torch.tensor(RATIOS).sqrt()
    sides = torch.stack((1 / tall, tall), 1) * (stride * _SCALE)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = (torch.stack((columns, rows), -1) * stride).float().reshape(-1, 1, 2)
    return torch.cat((centres - sides / 2, centres + sides / 2), -1).reshape(-1, 4)


def proposals_from_outputs(
    logits: Sequence[Tensor], deltas: Sequence[Tensor], *, size: tuple[int, int]
) -> Tensor:
    """Outputs of `RPNHead` for ONE image -> (n, 5) x1, y1, x2, y2 and objectness 0..1, best first, n <= 1000.

    size: height and width of the image without padding, in pixels; proposals are cut to it, and those left
    without area go. Boxes of different levels do not suppress each other.
    """
    boxes, scores, groups = [], [], []
    for level, (cls, reg) in enumerate(zip(logits, deltas, strict=True)):
        height, width = cls.shape[2:]
        score = cls[0].permute(1, 2, 0).flatten().sigmoid()
        delta = reg[0].permute(1, 2, 0).reshape(-1, 4)
        best = torch.argsort(score, descending=True, stable=True)[:_BEST_OF_LEVEL]
        anchors = anchors_of(height, width, STRIDES[level]).to(delta.device)
        boxes.append(boxes_from_deltas(anchors[best], delta[best], deviations=_DEVIATIONS, size=size))
        scores.append(score[best])
        groups.append(torch.full_like(best, level))
    every = torch.cat((torch.cat(boxes), torch.cat(scores)[:, None]), 1)
    has_area = ((every[:, 2] > every[:, 0]) & (every[:, 3] > every[:, 1])).nonzero()[:, 0]
    every, group = every[has_area], torch.cat(groups)[has_area]
    kept = kept_by_group(every[:, :4], every[:, 4], group, iou=_IOU)
    return every[kept[:_MOST_PROPOSALS]]
