"""Pick rows of raw head outputs by anchor, without putting the levels together first.

The levels of a 640x640 frame hold 5 to 9 MB of raw numbers, of which a few hundred anchors are wanted:
reading those from each level is far cheaper than joining and decoding everything. All shapes are static.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gather_across_levels(levels: Sequence[Tensor], anchors: Tensor) -> Tensor:
    """Rows of the chosen anchors.

    levels: one (B, P, R, N) a level: P anchors a place, R numbers an anchor, N places. anchors: (B, K) int64,
    counted over all levels, anchor-major (p * N + n) inside a level. Returns (B, R, K).
    """
    rows: Tensor | None = None
    start = 0
    for level in levels:
        _, priors, _, places = level.shape
        picked = _gather(level, (anchors - start).clamp(0, priors * places - 1))
        rows = picked if rows is None else torch.where((anchors >= start)[:, None, :], picked, rows)
        start += priors * places
    assert rows is not None, "a head has at least one level"
    return rows


def _gather(level: Tensor, anchors: Tensor) -> Tensor:
    """Rows (B, R, K) of one level (B, P, R, N); anchors (B, K) counted inside the level."""
    _, priors, numbers, places = level.shape
    if priors == 1:
        return level[:, 0].gather(2, anchors[:, None, :].expand(-1, numbers, -1))
    # One gather over the flattened level: number r of anchor p * N + n lies at (p * R + r) * N + n.
    prior = anchors // places
    first = anchors + prior * ((numbers - 1) * places)
    offsets = torch.arange(numbers, device=level.device) * places
    index = first[:, None, :] + offsets[None, :, None]
    return level.flatten(1).gather(1, index.flatten(1)).view(index.shape)


def best_pairs(values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest of values (B, C, K), best first: value, class and slot in K, each (B, count)."""
    slots = values.shape[2]
    best, pairs = values.flatten(1).topk(count, dim=1)
    class_ids = pairs // slots
    return best, class_ids, pairs - class_ids * slots


def select_rows(table: Tensor, rows: Tensor) -> Tensor:
    """table (A, R) and rows (B, K) int64 -> (B, K, R)."""
    return table.index_select(0, rows.flatten()).view(*rows.shape, table.shape[1])


def cell_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(height * width, 2) x, y of every cell, row by row, in the dtype and on the device of `like`."""
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((columns, rows), -1).view(-1, 2)
