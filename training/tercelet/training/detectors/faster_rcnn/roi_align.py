"""RoIAlign: features of rectangles, 7 by 7 averages of bilinear samples.

Paper: He et al., "Mask R-CNN", ICCV 2017. Compatible with: mmcv's RoIAlign (Apache-2.0) with aligned=True and
sampling_ratio=0, and the choice of levels of "Feature Pyramid Networks". Nothing is copied. Deliberate
differences: an inverted rectangle gives zeros like an empty one, where upstream's CPU code ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tercelet.training.detectors.faster_rcnn.trunk import STRIDES

SIDE = 7
"""Bins along each side of a rectangle."""
LEVELS = 4
"""Levels of the pyramid that rectangles are read from, the finest first."""
# Below twice this side, in pixels, the finest level is read; each doubling goes one level up.
_FINEST = 56
# Samples taken at once: bounds the memory.
_SAMPLES_AT_ONCE = 1 << 15


def levels_of(rois: Tensor) -> Tensor:
    """(n) int64: which level each rectangle (n, 5) batch index, x1, y1, x2, y2 in pixels is read from."""
    sides = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    level = torch.floor(torch.log2(sides / _FINEST + 1e-6))
    return level.clamp(0, LEVELS - 1).nan_to_num(0).long()


def roi_features(levels: Sequence[Tensor], rois: Tensor) -> Tensor:
    """Levels (B, C, h, w), finest first, rois (n, 5) batch index, x1, y1, x2, y2 in pixels ->
    (n, C, 7, 7)."""
    chosen = levels_of(rois)
    found = levels[0].new_zeros((len(rois), levels[0].shape[1], SIDE, SIDE))
    for level, features in enumerate(levels[:LEVELS]):
        rows = (chosen == level).nonzero()[:, 0]
        if len(rows):
            found[rows] = roi_align(features, rois[rows], scale=1 / STRIDES[level])
    return found


def roi_align(features: Tensor, rois: Tensor, *, scale: float) -> Tensor:
    """features (B, C, h, w), rois (n, 5) batch index, x1, y1, x2, y2 in pixels -> (n, C, 7, 7).

    scale: cells a pixel. Half a cell is taken off scaled corners. A bin is the mean of ceil(side / 7) samples
    along each axis; one above -1 and below h (or w) is clamped to the map, one beyond is 0. A rectangle
    without a sample gives zeros.
    """
    corners = rois[:, 1:] * scale - 0.5
    sides = corners[:, 2:] - corners[:, :2]
    counts = torch.ceil(sides / SIDE).clamp(min=0).long()
    found = features.new_zeros((len(rois), features.shape[1], SIDE, SIDE))
    rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    for wide, tall in torch.unique(counts, dim=0).tolist():
        if not wide or not tall:
            continue
        members = ((counts[:, 0] == wide) & (counts[:, 1] == tall)).nonzero()[:, 0]
        for part in members.split(max(1, _SAMPLES_AT_ONCE // (SIDE * SIDE * wide * tall))):
            y = _axis(corners[part, 1], sides[part, 1], tall, features.shape[2])
            x = _axis(corners[part, 0], sides[part, 0], wide, features.shape[3])
            first = rois[part, 0].long() * features.shape[2] * features.shape[3]
            samples = _samples(rows, first, y, x, features.shape[3])
            bins = samples.reshape(len(part), SIDE, tall, SIDE, wide, -1).mean((2, 4))
            found[part] = bins.permute(0, 3, 1, 2)
    return found


Axis = tuple[Tensor, Tensor, Tensor, Tensor]


def _axis(start: Tensor, side: Tensor, count: int, size: int) -> Axis:
    """Cells below and above of each sample (n, 7 * count), int64, and their weights."""
    width = side / SIDE
    places = torch.arange(SIDE * count, device=start.device)
    within = (places % count + 0.5) / count
    p = start[:, None] + (places // count) * width[:, None] + within * width[:, None]
    is_near = (p >= -1) & (p <= size)
    p = p.clamp(0, size - 1)
    low = p.floor().long()
    fraction = p - low
    weight = is_near.to(p.dtype)
    return low, (low + 1).clamp(max=size - 1), (1 - fraction) * weight, fraction * weight


def _samples(rows: Tensor, first: Tensor, y: Axis, x: Axis, width: int) -> Tensor:
    """(n, samples of y, samples of x, C) from rows (B * h * w, C) of a map."""
    total = rows.new_zeros(())
    for row, of_row in ((y[0], y[2]), (y[1], y[3])):
        for column, of_column in ((x[0], x[2]), (x[1], x[3])):
            index = first[:, None, None] + row[:, :, None] * width + column[:, None, :]
            weight = of_row[:, :, None] * of_column[:, None, :]
            total = total + rows[index] * weight[..., None]
    return total
