"""The places of a detector's maps on an image, and which of them lie in which boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """The places of all levels for one size of image, row by row, level after level.

    strides: (L,) float32 pixels. sizes: (L, 2) int64 columns and rows. starts: (L,) int64, the first place of
    each level. total: places of one image, A.
    """

    strides: Tensor
    sizes: Tensor
    starts: Tensor
    total: int


class Pairs(NamedTuple):
    """boxes: (K,) int64 rows of the table of boxes, ascending. cells: (K,) int64, image * A + place."""

    boxes: Tensor
    cells: Tensor


def places_of(strides: tuple[int, ...], *, height: int, width: int, device: torch.device) -> Places:
    """The places for images of height x width pixels."""
    sizes = [(width // stride, height // stride) for stride in strides]
    counts = [columns * rows for columns, rows in sizes]
    return Places(
        torch.tensor(strides, dtype=torch.float32, device=device),
        torch.tensor(sizes, device=device),
        torch.tensor([sum(counts[:level]) for level in range(len(counts))], device=device),
        sum(counts),
    )


def place_centres(places: Places, where: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of places: (M,) int64 places -> (M, 2) float32 x, y in units of the stride, (M, 1) strides."""
    level = (where[:, None] >= places.starts[1:]).sum(1)
    within = where - places.starts[level]
    columns = places.sizes[level, 0]
    down = within // columns
    centres = torch.stack((within - down * columns, down), 1) + 0.5
    return centres, places.strides[level, None]


def pairs_inside(boxes: Tensor, rows: Tensor, places: Places) -> Pairs:
    """Every (box, place) with the place's centre strictly inside the box.

    boxes: (N, 4) float32 xyxy in pixels, which may reach over the borders. rows: (N,) int64, their images.
    Time and memory follow the number of pairs: the places inside a box are a rectangle on each level.
    """
    scaled = boxes[:, None, :] / places.strides[:, None] - 0.5  # (N, L, 4); exact for strides of 2**k
    first = (scaled[..., :2].floor() + 1).clamp(min=0).long()
    end = torch.minimum(scaled[..., 2:].ceil().long(), places.sizes)
    columns, lines = (end - first).clamp(min=0).unbind(-1)
    counts = (columns * lines).flatten()
    corner = places.starts + first[..., 1] * places.sizes[:, 0] + first[..., 0] + rows[:, None] * places.total
    before = counts.cumsum(0) - counts
    step = places.sizes[:, 0].expand_as(columns)
    table = torch.stack((before, columns.flatten(), corner.flatten(), step.flatten()), 1)
    segment = torch.repeat_interleave(counts)
    start, across, base, stride = table[segment].unbind(1)
    within = torch.arange(segment.shape[0], device=boxes.device) - start
    down = within // across
    return Pairs(segment // places.strides.shape[0], base + down * stride + (within - down * across))
