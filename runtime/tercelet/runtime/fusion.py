"""Candidates of the full frame and of all regions, back in the frame and without duplicates.

A box that ends at the border of its region, where the frame goes on, shows a part of something. It is marked
as cut and loses against a whole one that covers it, though its score be three times as high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import Letterbox, clip_boxes, pairwise_iou
from tercelet.contract.plan import Region
from tercelet.contract.session import TopCandidates
from tercelet.runtime.suppression import Suppressor, groups_by_class

FusionName = Literal["nms", "weighted"]
FUSION_NAMES: tuple[FusionName, ...] = ("nms", "weighted")
FULL_FRAME = -1
# A side this near to the border of its region, in canvas pixels, ends there and not at the object's own edge.
_BORDER = 2.5
# A cut box goes if a whole one of its class covers this share of it, unless that has less than this share of
# its score: then it is more likely noise than the object.
_COVERED = 0.6
_CUT_RANK = 0.3
# Boxes of fewer canvas pixels than this are noise of the decoding.
_SMALLEST = 1.0
# Side of a cell of the table that says which region a pixel of a canvas belongs to; gutters are wider.
TABLE_CELL = 4
# Boxes compared with all kept ones at once when boxes are averaged.
_CHUNK = 1024


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
        # What the canvases gave, before it is mapped back.
        self._found = np.empty((size, 4), np.float32)
        self._found_scores = np.empty(size, np.float32)
        self._found_ids = np.empty(size, np.int64)
        self._found_on = np.empty(size, np.int64)
        rows, columns = (-(-side // TABLE_CELL) for side in canvas)
        self._table = np.empty((canvases, rows, columns), np.int16)
        self._quick, self._exact = Suppressor(np.float32), Suppressor(np.float64)
        self._count = 0
        self._has_regions = False

    def start(self) -> None:
        """Forget the last frame."""
        self._count = 0
        self._has_regions = False

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
        full: int | None = None,
    ) -> None:
        """Add what was found on the canvases of `regions`; frame: (height, width) in pixels.

        first: the canvas of `candidates` that is canvas 0 of the regions. full: the region that is the full
        frame, where one is.
        """
        if not regions:
            return
        self._has_regions = True
        canvases = 1 + max(region.canvas for region in regions)
        self._mark(regions, canvases)
        facts = _facts(regions, frame, full)
        stop = 0
        for number in range(canvases):
            boxes, scores, class_ids = (part[first + number] for part in candidates)
            count = _count_above(scores, threshold)
            taken = slice(stop, stop + count)
            self._found[taken], self._found_scores[taken] = boxes[:count], scores[:count]
            self._found_ids[taken], self._found_on[taken] = class_ids[:count], number
            stop += count
        if stop:
            self._add_found(stop, facts)

    def _add_found(self, count: int, facts: _Facts) -> None:
        """Add the first `count` candidates of those gathered from all canvases."""
        boxes, table = self._found[:count], self._table
        middles = (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5 / TABLE_CELL)
        finite = np.isfinite(middles).all(axis=1)  # what is not would be cut to its region below
        middles[~finite] = 0
        at = middles.astype(np.intp)
        rows, columns = at[:, 1].clip(0, table.shape[1] - 1), at[:, 0].clip(0, table.shape[2] - 1)
        owner = table[self._found_on[:count], rows, columns]
        low, high = facts.low[owner], facts.high[owner]
        inside = np.concatenate((np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)), axis=1)
        sides = inside[:, 2:] - inside[:, :2]
        good = np.flatnonzero((owner >= 0) & finite & (sides >= _SMALLEST).all(axis=1))
        owner, inside, low = owner[good], inside[good], low[good]
        touches = np.concatenate((inside[:, :2] - low, high[good] - inside[:, 2:]), axis=1) <= _BORDER
        target = self._next(len(good))
        scale, corner = facts.scale[owner], facts.corner[owner]
        found = self._boxes[target]
        found[:, :2] = (inside[:, :2] - low) * scale + corner
        found[:, 2:] = (inside[:, 2:] - low) * scale + corner
        self._scores[target] = self._found_scores[:count][good]
        self._class_ids[target] = self._found_ids[:count][good]
        self._origins[target] = np.where(owner == facts.full, FULL_FRAME, owner)
        self._cut[target] = (touches & facts.frame_goes_on[owner]).any(axis=1)

    def finish(self, rules: FusionRules, *, frame: tuple[int, int]) -> FusedDetections:
        """What stays of all that was added, cut at the borders of the frame of (height, width) pixels."""
        boxes, scores = self._boxes[: self._count], self._scores[: self._count]
        class_ids, cut = self._class_ids[: self._count], self._cut[: self._count]
        height, width = frame
        good = (scores > rules.score_threshold) & np.isfinite(boxes).all(axis=1)
        chosen = np.flatnonzero(good)
        # By score, cut boxes behind whole ones of comparable score; equal ones in the order they were added.
        rank = np.where(cut[chosen], scores[chosen] * np.float32(_CUT_RANK), scores[chosen])
        order = chosen[np.argsort(-rank, kind="stable")]
        groups = [order] if rules.class_agnostic else groups_by_class(order, class_ids[order])
        kept = [self._survivors(group, rules) for group in groups]
        together = np.concatenate(kept) if kept else order
        together = together[np.lexsort((together, -scores[together]))][: rules.max_detections]
        inside = clip_boxes(boxes[together], height=height, width=width)
        visible = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
        together, inside = together[visible], inside[visible]
        return FusedDetections(
            boxes=inside,
            scores=scores[together],
            class_ids=class_ids[together],
            origins=self._origins[: self._count][together],
            cut=cut[together],
        )

    def _survivors(self, group: NDArray[np.intp], rules: FusionRules) -> NDArray[np.intp]:
        boxes, cut = self._boxes[group], self._cut[group]
        # The full frame alone gives what `non_maximum_suppression` does, to the last bit.
        suppressor = self._quick if self._has_regions else self._exact
        kept = suppressor.survivors(boxes, iou=rules.iou_threshold, cut=cut, covered=_COVERED)
        if rules.kind == "weighted":
            means = _means(boxes, self._scores[group], cut, kept, rules.iou_threshold)
            self._boxes[group[kept]] = means
        return group[kept]

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
    the frame; whether the frame goes on beyond its left, top, right and bottom. full: the region that is the
    full frame, FULL_FRAME for none.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    scale: NDArray[np.float32]
    corner: NDArray[np.float32]
    frame_goes_on: NDArray[np.bool_]
    full: int


def _facts(regions: Sequence[Region], frame: tuple[int, int], full: int | None) -> _Facts:
    table = np.array([region[:9] for region in regions], np.float32)
    corner, far, at, size = table[:, 0:2], table[:, 2:4], table[:, 5:7], table[:, 7:9]
    ends = np.array((frame[1], frame[0]), np.float32)
    goes_on = np.concatenate((corner > 0, far < ends), axis=1)
    return _Facts(at, at + size, (far - corner) / size, corner, goes_on, FULL_FRAME if full is None else full)


def _means(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    cut: NDArray[np.bool_],
    kept: NDArray[np.intp],
    iou: float,
) -> NDArray[np.float32]:
    """(K, 4) for each kept box the mean, by score, of all that lie on it more than on any other kept one.

    Cut boxes only count where the kept one is cut
    itself.
    """
    means = boxes[kept]
    for start in range(0, len(boxes), _CHUNK):
        part = slice(start, start + _CHUNK)
        overlap = pairwise_iou(boxes[kept], boxes[part])
        overlap[:, cut[part]] *= cut[kept][:, None]
        owner = overlap.argmax(axis=0)
        # The kept ones themselves count whatever the threshold.
        on_it = (overlap[owner, np.arange(overlap.shape[1])] > iou) | np.isin(
            np.arange(start, start + overlap.shape[1]), kept
        )
        owner[np.isin(np.arange(start, start + overlap.shape[1]), kept)] = np.flatnonzero(
            (kept >= start) & (kept < start + overlap.shape[1])
        )
        if start == 0:
            sums, weights = np.zeros_like(means), np.zeros(len(kept), np.float32)
        np.add.at(sums, owner[on_it], boxes[part][on_it] * scores[part][on_it, None])
        np.add.at(weights, owner[on_it], scores[part][on_it])
    if len(kept):
        means = sums / weights[:, None]
    return means


def _count_above(scores: NDArray[np.float32], threshold: float) -> int:
    """How many of the scores, best first, are above the threshold."""
    return len(scores) - int(np.searchsorted(scores[::-1], threshold, side="right"))
