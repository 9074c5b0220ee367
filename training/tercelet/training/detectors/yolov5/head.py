"""The anchor-based head of YOLOv5: box, objectness and class logits for each anchor at each place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tercelet.contract.geometry import xyxy_from_cxcywh
from tercelet.training.candidates import Candidates, TopCandidates
from tercelet.training.detectors.detector import Head
from tercelet.training.detectors.selection import best_pairs, cell_grid, gather_across_levels, select_rows
from tercelet.training.detectors.yolov5.options import Anchors

# At the start a 640 px frame is taken to hold eight objects, and 0.6 of them to be of any one class.
_PRIOR_OBJECTS, _PRIOR_SIZE, _PRIOR_CLASS = 8, 640, 0.6


class AnchorHead(Head):
    """One 1x1 convolution a level. A row of logits is x, y, width, height, objectness, classes."""

    def __init__(
        self, channels: tuple[int, ...], strides: tuple[int, ...], *, classes: int, anchors: Anchors
    ) -> None:
        super().__init__()
        self.strides = strides
        self.classes = classes
        self.priors = len(anchors[0])
        """Anchors at each place."""
        in_cells = [
            [[side / stride for side in pair] for pair in level]
            for level, stride in zip(anchors, strides, strict=True)
        ]
        self.anchors: Tensor
        self.register_buffer("anchors", torch.tensor(in_cells))  # (levels, priors, 2), units of the stride
        self.m = nn.ModuleList(nn.Conv2d(count, self.priors * (5 + classes), 1) for count in channels)
        self._set_biases()

    def _set_biases(self) -> None:
        for layer, stride in zip(self.m, self.strides, strict=True):
            bias = layer.get_parameter("bias").data.view(self.priors, 5 + self.classes)
            bias[:, 4] += math.log(_PRIOR_OBJECTS / (_PRIOR_SIZE / stride) ** 2)
            bias[:, 5:] += math.log(_PRIOR_CLASS / (self.classes - 0.99999))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One (B, P, 5 + C, h, w) a level, P anchors at each place."""
        return [
            layer(x).view(x.shape[0], self.priors, 5 + self.classes, x.shape[2], x.shape[3])
            for layer, x in zip(self.m, maps, strict=True)
        ]

    def raw_outputs(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Logits (B, P, h, w, 5 + C), one a level."""
        return tuple(level.permute(0, 1, 3, 4, 2).contiguous() for level in levels)

    def decode(self, levels: Sequence[Tensor]) -> Candidates:
        rows = torch.cat([level.flatten(1, 3) for level in self.raw_outputs(levels)], 1).sigmoid()
        return Candidates(_boxes(self._anchors(levels), rows[..., :4]), rows[..., 5:] * rows[..., 4:5])

    def top_candidates(self, levels: Sequence[Tensor], count: int) -> TopCandidates:
        # A pair among the best `count` belongs to an anchor among the `count` best by objectness times
        # best class, because sigmoid and the product with a positive number keep the order.
        flat = [level.flatten(3) for level in levels]
        best_class = torch.cat(
            [(x[:, :, 4].sigmoid() * x[:, :, 5:].amax(2).sigmoid()).flatten(1) for x in flat], 1
        )
        anchors = best_class.topk(min(count, best_class.shape[1]), dim=1).indices
        rows = gather_across_levels(flat, anchors).sigmoid()
        scores, class_ids, slots = best_pairs(rows[:, 5:] * rows[:, 4:5], count)
        chosen = anchors.gather(1, slots)
        sides = rows[:, :4].transpose(1, 2).gather(1, slots[..., None].expand(-1, -1, 4))
        boxes = _boxes(select_rows(self._anchors(levels), chosen), sides)
        return TopCandidates(boxes, scores, class_ids)

    def _anchors(self, levels: Sequence[Tensor]) -> Tensor:
        """(A, 5) cell x and y in units of the stride, width, height and stride in pixels."""
        tables = []
        for level, anchors, stride in zip(levels, self.anchors, self.strides, strict=True):
            cells = cell_grid(level.shape[3], level.shape[4], level).repeat(self.priors, 1)
            sizes = (anchors * stride)[:, None].expand(-1, level.shape[3] * level.shape[4], -1)
            table = torch.cat((cells, sizes.reshape(-1, 2)), 1)
            tables.append(nn.functional.pad(table, (0, 1), value=float(stride)))
        return torch.cat(tables)


def _boxes(anchors: Tensor, chances: Tensor) -> Tensor:
    """Anchors (..., 5) as above and sigmoid outputs (..., 4) -> (..., 4) xyxy in pixels."""
    centres = (chances[..., :2] * 2 + (anchors[..., :2] - 0.5)) * anchors[..., 4:]
    sides = (chances[..., 2:] * 2) ** 2 * anchors[..., 2:4]
    return xyxy_from_cxcywh(torch.cat((centres, sides), -1))
