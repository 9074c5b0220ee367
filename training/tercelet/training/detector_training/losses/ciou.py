"""Complete IoU of boxes: Zheng et al., "Distance-IoU Loss", AAAI 2020 (arXiv:1911.08287), section 3."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_EPS = 1e-7


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    """(..., 4) and (..., 4) xyxy of one unit, broadcast -> (...) IoU less distance and shape penalties, <= 1.

    No gradient flows through the weight of the shape penalty, as the paper has it. Sides of 0 give finite
    values and gradients.
    """
    ax1, ay1, ax2, ay2 = first.unbind(-1)
    bx1, by1, bx2, by2 = second.unbind(-1)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1 + _EPS, bx2 - bx1, by2 - by1 + _EPS
    across = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    down = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    shared = across * down
    iou = shared / (aw * ah + bw * bh - shared + _EPS)
    hull_width = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_height = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    diagonal = hull_width.square() + hull_height.square() + _EPS
    distance = ((bx1 + bx2 - ax1 - ax2).square() + (by1 + by2 - ay1 - ay2).square()) / 4
    shape = (torch.atan(bw / bh) - torch.atan(aw / ah)).square() * (4 / math.pi**2)
    with torch.no_grad():
        weight = shape / (shape - iou + (1 + _EPS))
    return iou - (distance / diagonal + shape * weight)
