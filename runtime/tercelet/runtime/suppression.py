"""Greedy suppression of boxes that lie on one another: block by block, into tables that are used again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Boxes compared with all later ones at once: few enough for the cache, many enough for numpy.
_BLOCK = 128
_Floats = NDArray[np.floating]


class Suppressor:
    """Greedy non-maximum suppression in an order of precedence that the caller chose; one for each thread.

    Its tables grow to the largest number of boxes seen and are then used again. dtype: what IoU is computed
    in.
    """

    def __init__(self, dtype: type[np.floating] = np.float32) -> None:
        self._dtype = dtype
        self._tables = np.empty((3, 0), dtype)
        self._marks = np.empty((2, 0), bool)

    def survivors(
        self,
        boxes: _Floats,
        *,
        iou: float,
        cut: NDArray[np.bool_] | None = None,
        covered: float = 1.0,
        limit: int | None = None,
    ) -> NDArray[np.intp]:
        """Indices of the boxes that stay, ascending, at most `limit`.

        boxes: (N, 4) xyxy, any one unit, the one that wins first. A box goes if its IoU with an earlier one
        that stays is strictly greater than `iou`. cut: (N,) boxes known to be parts of something; such a one
        goes too if an earlier one that stays covers more than the share `covered` of it.
        """
        alive = np.arange(len(boxes))
        if len(alive) == 1:  # the usual number of most classes
            return alive[:limit]
        kept: list[NDArray[np.intp]] = []
        left = len(boxes) if limit is None else limit
        while len(alive) and left > 0:
            block = min(_BLOCK, len(alive))
            weak = None if cut is None else cut[alive]
            hits = self._hits(boxes[alive], block, iou, weak, covered)
            stay = _greedy(hits, block)[:left]
            kept.append(alive[stay])
            left -= len(stay)
            alive = alive[block:][~hits[stay, block:].any(axis=0)] if block < len(alive) else alive[:0]
        return np.concatenate(kept) if kept else alive[:0]

    def _hits(
        self, boxes: _Floats, block: int, iou: float, cut: NDArray[np.bool_] | None, covered: float
    ) -> NDArray[np.bool_]:
        """(block, N) whether each of the first boxes drives out each of all; the diagonal means nothing."""
        shared, side, other, hits, parts = self._room(block, len(boxes))
        columns = np.ascontiguousarray(boxes.T, self._dtype)
        for axis in (0, 1):
            low, high = columns[axis], columns[axis + 2]
            np.minimum(high[:block, None], high, out=side)
            np.maximum(low[:block, None], low, out=other)
            np.subtract(side, other, out=side)
            np.maximum(side, 0, out=side)
            if axis == 0:
                shared, side = side, shared
            else:
                np.multiply(shared, side, out=shared)
        area = np.maximum(columns[2] - columns[0], 0) * np.maximum(columns[3] - columns[1], 0)
        np.add(area[:block, None], area, out=side)
        np.subtract(side, shared, out=side)
        np.maximum(side, self._dtype(1e-12), out=side)
        np.multiply(side, self._dtype(iou), out=side)
        np.greater(shared, side, out=hits)
        if cut is not None and cut.any():
            np.greater(shared, area * self._dtype(covered), out=parts)
            np.logical_and(parts, cut, out=parts)
            np.logical_or(hits, parts, out=hits)
        return hits

    def _room(self, block: int, count: int) -> tuple[NDArray, ...]:  # type: ignore[type-arg]
        size = block * count
        if self._tables.shape[1] < size:
            self._tables = np.empty((3, size), self._dtype)
            self._marks = np.empty((2, size), bool)
        tables = [table[:size].reshape(block, count) for table in self._tables]
        return (*tables, *(mark[:size].reshape(block, count) for mark in self._marks))


def _greedy(hits: NDArray[np.bool_], block: int) -> list[int]:
    """Which of the first `block` boxes stay, each driving out later ones; rows become integers of bits."""
    rows = np.packbits(hits[:, :block], axis=1, bitorder="little")
    width, data = rows.shape[1], rows.tobytes()
    gone, stay = 0, []
    for index in range(block):
        if not gone >> index & 1:
            stay.append(index)
            gone |= int.from_bytes(data[index * width : (index + 1) * width], "little")
    return stay


def groups_by_class(order: NDArray[np.intp], class_ids: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """The items of `order` by class, each group in the order they came in; class_ids: (N,) of these items."""
    by_class = np.argsort(class_ids, kind="stable")
    borders = np.flatnonzero(np.diff(class_ids[by_class])) + 1
    return np.split(order[by_class], borders) if len(order) else []
