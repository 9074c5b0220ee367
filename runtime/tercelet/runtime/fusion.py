"""Candidates of the full frame and of all regions, back in the frame and without duplicates.

A box that ends at the border of its region, where the frame goes on, shows a part of something. It is marked
as cut and loses against a whole one that covers it, whatever the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import Letterbox
from tercelet.contract.plan import Region
from tercelet.contract.session import TopCandidates
from tercelet.runtime.suppression import Suppressor

FusionName = Literal["nms", "weighted"]
FUSION_NAMES: tuple[FusionName, ...] = ("nms", "weighted")
FULL_FRAME = -1
# A side this near to the border of its region, in canvas pixels, ends there and not at the object's own edge.
_BORDER = 2.5
# A cut box goes if a whole one of its class covers this share of it.
_COVERED = 0.6
# Boxes of fewer canvas pixels than this are noise of the decoding.
_SMALLEST = 1.0
# Side of a cell of the table that says which region a pixel of a canvas belongs to; gutters are wider.
TABLE_CELL = 4


class FusedDetections(NamedTuple):
    """Best score first. boxes: (N, 4) float32 xyxy in frame pixels. scores: (N,). class_ids: (N,) int64.

    origins: (N,) int64, the region that each comes from, FULL_FRAME for the full frame. cut: (N,) whether it
    ends at the border of its region.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    origins: NDArray[np.int64]
    cut: NDArray[np.bool_]


@dataclass(frozen=True)
class FusionRules:
    """What counts and what goes, see Postprocess; kind: "nms" keeps the best box, "weighted" a mean."""

    score_threshold: float
    iou_threshold: float
    max_detections: int
    class_agnostic: bool = False
    kind: FusionName = "nms"


class Fusion:
    """Collects candidates of one frame and fuses them; its memory is made once and used for every frame."""

    def __init__(self, *, canvas: tuple[int, int], canvases: int, candidates: int) -> None:
        """canvas: (height, width) in pixels. canvases: the most in a frame, the full one included.

        candidates: K of the network, for each canvas.
        """
        size = canvases * candidates
        self._boxes = np.empty((size, 4), np.float32)
        self._scores = np.empty(size, np.float32)
        self._class_ids = np.empty(size, np.int64)
        self._origins = np.empty(size, np.int64)
        self._cut = np.empty(size, bool)
        rows, columns = (-(-side // TABLE_CELL) for side in canvas)
        self._table = np.empty((canvases, rows, columns), np.int16)
        self._suppressor = Suppressor()
        self._count = 0

    def start(self) -> None:
        """Forget the last frame."""
        self._count = 0

    def add_full(self, candidates: TopCandidates, place: Letterbox, *, threshold: float) -> None:
        """Add the first canvas of `candidates`, on which the whole frame lies as `place` says."""
        boxes, scores, class_ids = (part[0] for part in candidates)
        count = _count_above(scores, threshold)
        target = self._next(count)
        scale = np.array((place.frame_width / place.width, place.frame_height / place.height) * 2, np.float32)
        shift = np.array((place.left, place.top) * 2, np.float32)
        np.subtract(boxes[:count], shift, out=self._boxes[target])
        np.multiply(self._boxes[target], scale, out=self._boxes[target])
        self._scores[target] = scores[:count]
        self._class_ids[target] = class_ids[:count]
        self._origins[target] = FULL_FRAME
        self._cut[target] = False

    def add_regions(
        self,
        candidates: TopCandidates,
        regions: Sequence[Region],
        *,
        frame: tuple[int, int],
        threshold: float,
        first: int = 0,
    ) -> None:
        """Add what was found on the canvases of `regions`; frame: (height, width) in pixels.

        first: the canvas of `candidates` that is canvas 0 of the regions.
        """
        if not regions:
            return
        canvases = 1 + max(region.canvas for region in regions)
        self._mark(regions, canvases)
        facts = _facts(regions, frame)
        for number in range(canvases):
            boxes, scores, class_ids = (part[first + number] for part in candidates)
            count = _count_above(scores, threshold)
            if count:
                self._add_canvas(boxes[:count], scores[:count], class_ids[:count], number, facts)

    def _add_canvas(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int64],
        number: int,
        facts: _Facts,
    ) -> None:
        table = self._table[number]
        columns = ((boxes[:, 0] + boxes[:, 2]) * np.float32(0.5 / TABLE_CELL)).astype(np.intp)
        rows = ((boxes[:, 1] + boxes[:, 3]) * np.float32(0.5 / TABLE_CELL)).astype(np.intp)
        owner = table[rows.clip(0, table.shape[0] - 1), columns.clip(0, table.shape[1] - 1)]
        low, high = facts.low[owner], facts.high[owner]
        inside = np.concatenate((np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)), axis=1)
        sides = inside[:, 2:] - inside[:, :2]
        good = np.flatnonzero((owner >= 0) & (sides >= _SMALLEST).all(axis=1))
        owner, inside = owner[good], inside[good]
        touches = np.concatenate((inside[:, :2] - low[good], high[good] - inside[:, 2:]), axis=1) <= _BORDER
        target = self._next(len(good))
        scale = facts.scale[owner]
        found = self._boxes[target]
        np.subtract(inside, np.tile(facts.low[owner], 2), out=found)
        np.multiply(found, np.tile(scale, 2), out=found)
        np.add(found, np.tile(facts.corner[owner], 2), out=found)
        self._scores[target] = scores[good]
        self._class_ids[target] = class_ids[good]
        self._origins[target] = owner
        self._cut[target] = (touches & facts.frame_goes_on[owner]).any(axis=1)

    def finish(self, rules: FusionRules, *, frame: tuple[int, int]) -> FusedDetections:
        """What stays of all that was added, cut at the borders of the frame of (height, width) pixels."""
        boxes, scores = self._boxes[: self._count], self._scores[: self._count]
        class_ids, cut = self._class_ids[: self._count], self._cut[: self._count]
        height, width = frame
        np.clip(boxes[:, 0::2], 0, width, out=boxes[:, 0::2])
        np.clip(boxes[:, 1::2], 0, height, out=boxes[:, 1::2])
        good = (scores > rules.score_threshold) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        chosen = np.flatnonzero(good)
        # Whole before cut, then by score; equal ones in the order they were added.
        order = chosen[np.lexsort((-scores[chosen], cut[chosen]))]
        groups = [order] if rules.class_agnostic else _by_class(order, class_ids[order])
        kept = [self._survivors(group, rules) for group in groups]
        together = np.concatenate(kept) if kept else order
        together = together[np.lexsort((together, -scores[together]))][: rules.max_detections]
        return FusedDetections(
            boxes=boxes[together],
            scores=scores[together],
            class_ids=class_ids[together],
            origins=self._origins[: self._count][together],
            cut=cut[together],
        )

    def _survivors(self, group: NDArray[np.intp], rules: FusionRules) -> NDArray[np.intp]:
        boxes, cut = self._boxes[group], self._cut[group]
        return group[self._suppressor.survivors(boxes, iou=rules.iou_threshold, cut=cut, covered=_COVERED)]

    def _next(self, count: int) -> slice:
        """The rows of the next `count` candidates."""
        start = self._count
        self._count += count
        return slice(start, self._count)

    def _mark(self, regions: Sequence[Region], canvases: int) -> None:
        self._table[:canvases] = -1
        for index, region in enumerate(regions):
            bottom, right = region.y + region.height, region.x + region.width
            self._table[
                region.canvas,
                region.y // TABLE_CELL : -(-bottom // TABLE_CELL),
                region.x // TABLE_CELL : -(-right // TABLE_CELL),
            ] = index


class _Facts(NamedTuple):
    """Of each region, (R, 2) or (R, 4) float32: corners on the canvas, frame pixels a canvas pixel, corner in
    the frame; and whether the frame goes on beyond its left, top, right and bottom."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    scale: NDArray[np.float32]
    corner: NDArray[np.float32]
    frame_goes_on: NDArray[np.bool_]


def _facts(regions: Sequence[Region], frame: tuple[int, int]) -> _Facts:
    table = np.array([region[:9] for region in regions], np.float32)
    corner, far, at, size = table[:, 0:2], table[:, 2:4], table[:, 5:7], table[:, 7:9]
    ends = np.array((frame[1], frame[0]), np.float32)
    goes_on = np.concatenate((corner > 0, far < ends), axis=1)
    return _Facts(at, at + size, (far - corner) / size, corner, goes_on)


def _count_above(scores: NDArray[np.float32], threshold: float) -> int:
    """How many of the scores, best first, are above the threshold."""
    return len(scores) - int(np.searchsorted(scores[::-1], threshold, side="right"))


def _by_class(order: NDArray[np.intp], class_ids: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """The indices of each class, in the order they came in."""
    by_class = np.argsort(class_ids, kind="stable")
    borders = np.flatnonzero(np.diff(class_ids[by_class])) + 1
    return np.split(order[by_class], borders) if len(order) else []
