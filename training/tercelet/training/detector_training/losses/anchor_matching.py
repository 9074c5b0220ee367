"""Which anchors of YOLOv5 learn which object: by the shape of the box, at its cell and two neighbours."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tercelet.contract.geometry import cxcywh_from_xyxy
from tercelet.training.detector_training.targets import Targets

_NEAR = 0.5
"""How near to a side of its cell, in cells, a centre is for the neighbour beyond to learn the object too."""


class Matches(NamedTuple):
    """The matches of one level: the cell of the centre first, then left, upper, right and lower neighbours;
    within each by anchor, then in the order of the boxes. All int64 but the last.

    images, anchors, rows, columns: (n,). boxes: (n,) rows of Targets. offsets: (n, 4) float32, centre of the
    box from the corner of the cell, width and height, in units of the stride.
    """

    images: Tensor
    anchors: Tensor
    rows: Tensor
    columns: Tensor
    boxes: Tensor
    offsets: Tensor


@torch.no_grad()
def match(
    targets: Targets, anchors: Tensor, *, stride: int, rows: int, columns: int, threshold: float
) -> Matches:
    """Match the anchors (P, 2) of one level, in units of the stride, with the boxes.

    An anchor suits a box if each side is less than `threshold` times the other's, either way. rows, columns:
    the size of the level's map. A neighbour outside the map learns nothing.
    """
    grid = cxcywh_from_xyxy(targets.boxes) / stride
    centres, sides = grid[:, :2], grid[:, 2:]
    ratio = sides / anchors[:, None]
    fitting = (torch.maximum(ratio, 1 / ratio).amax(2) < threshold).nonzero()  # anchor-major
    anchor, box = fitting.unbind(1)
    size = torch.tensor([columns, rows], device=grid.device)
    steps = torch.tensor([[0, 0], [-1, 0], [0, -1], [1, 0], [0, 1]], device=grid.device)
    centre = centres[box]
    from_end = size - centre
    low = (centre % 1 < _NEAR) & (centre > 1)
    high = (from_end % 1 < _NEAR) & (from_end > 1)
    own = torch.ones((1, box.shape[0]), dtype=torch.bool, device=grid.device)
    step, which = torch.cat((own, low.T, high.T)).nonzero().unbind(1)
    cell = (centre[which] + steps[step] * _NEAR).long()
    cell = torch.minimum(cell.clamp(min=0), size - 1)
    box = box[which]
    offsets = torch.cat((centres[box] - cell, sides[box]), 1)
    return Matches(targets.rows[box], anchor[which], cell[:, 1], cell[:, 0], box, offsets)


def last_of_each(cells: Tensor) -> Tensor:
    """Positions, ascending by cell, of the last mention of every cell in cells (n,)."""
    ordered, order = cells.sort(stable=True)
    last = torch.ones_like(ordered, dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return order[last]
