"""Parity numbers: how far the candidates of a graph lie from those of the network it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.session import TopCandidates

# Two times the usual gate of 1e-4: a candidate and the graph's cut-off may each have moved by one gate.
SCORE_MARGIN = 2e-4
# A partner further away than this is another candidate, not the same one computed less exactly.
PARTNER_PX = 1.0
# Weight of a score difference beside a box difference in pixels: ratio of the usual gates (1e-3 px, 1e-4).
_PX_PER_SCORE = 10.0
# Among exactly equal costs the nearest rank wins; far below what float32 coordinates can tell apart.
_RANK_COST = 1e-12
_CHUNK_ROWS = 256


@dataclass(frozen=True)
class CandidateDifferences:
    """Pair by pair differences between two candidate lists.

    boxes_px: (N,) float64, for each pair the largest difference among the four coordinates, in canvas pixels.
    scores: (N,) float64, absolute score differences of the same pairs. missing: source candidates that the
    graph should have returned and did not (see `candidate_differences`). unpaired: graph candidates for which
    the source offers no candidate of their class any more. canvases: B.
    """

    boxes_px: NDArray[np.float64]
    scores: NDArray[np.float64]
    missing: int
    unpaired: int
    canvases: int


def candidate_differences(
    source: TopCandidates,
    graph: TopCandidates,
    *,
    margin: float = SCORE_MARGIN,
    partner_px: float = PARTNER_PX,
) -> CandidateDifferences:
    """Pair every candidate of the graph with one of the source and measure the differences.

    Both hold B canvases. The source list should be longer (the best 2K against K), so that candidates swapped
    across the cut-off still find their partner. Pairs are one to one, within a class, lowest cost first, the
    cost being the largest coordinate difference in pixels plus 10 px per unit of score: order in the lists
    does not matter, and equal boxes are told apart by score. A source candidate counts as missing when its
    score exceeds the canvas's lowest graph score by more than `margin` and no pair within `partner_px` holds
    it. Raises InputError if the two disagree in B.
    """
    if len(source.boxes) != len(graph.boxes):
        raise InputError(
            "expected candidates of the same canvases on both sides, "
            f"got {len(source.boxes)} and {len(graph.boxes)} canvases"
        )
    parts = [
        _canvas_differences(_canvas(source, index), _canvas(graph, index), margin, partner_px)
        for index in range(len(graph.boxes))
    ]
    return CandidateDifferences(
        boxes_px=np.concatenate([part.boxes_px for part in parts] or [np.zeros(0)]),
        scores=np.concatenate([part.scores for part in parts] or [np.zeros(0)]),
        missing=sum(part.missing for part in parts),
        unpaired=sum(part.unpaired for part in parts),
        canvases=len(parts),
    )


@dataclass(frozen=True)
class DifferenceSummary:
    """Maxima and 99.9th percentiles over all pairs; `missing` adds up the missing and the unpaired.

    With no candidate at all every difference is 0 and `candidates` says so. NaN stays NaN.
    """

    canvases: int
    candidates: int
    boxes_px_max: float
    boxes_px_p999: float
    scores_max: float
    scores_p999: float
    missing: int


def summarise_differences(differences: Sequence[CandidateDifferences]) -> DifferenceSummary:
    """The differences of all canvases in the numbers that the manifest's `parity` holds."""
    boxes_px = np.concatenate([item.boxes_px for item in differences] or [np.zeros(0)])
    scores = np.concatenate([item.scores for item in differences] or [np.zeros(0)])
    return DifferenceSummary(
        canvases=sum(item.canvases for item in differences),
        candidates=len(boxes_px),
        boxes_px_max=float(boxes_px.max(initial=0.0)),
        boxes_px_p999=_p999(boxes_px),
        scores_max=float(scores.max(initial=0.0)),
        scores_p999=_p999(scores),
        missing=sum(item.missing + item.unpaired for item in differences),
    )


@dataclass(frozen=True)
class _Canvas:
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]


def _canvas(candidates: TopCandidates, index: int) -> _Canvas:
    return _Canvas(
        np.asarray(candidates.boxes[index], np.float64),
        np.asarray(candidates.scores[index], np.float64),
        np.asarray(candidates.class_ids[index], np.int64),
    )


def _canvas_differences(
    source: _Canvas, graph: _Canvas, margin: float, partner_px: float
) -> CandidateDifferences:
    partner = np.full(len(graph.boxes), -1, np.int64)
    for class_id in np.unique(graph.class_ids):
        rows = np.flatnonzero(graph.class_ids == class_id)
        columns = np.flatnonzero(source.class_ids == class_id)
        found = _pair(graph, rows, source, columns)
        partner[rows[found >= 0]] = columns[found[found >= 0]]
    paired = np.flatnonzero(partner >= 0)
    boxes_px = np.abs(graph.boxes[paired] - source.boxes[partner[paired]]).max(axis=1, initial=0.0)
    held = np.zeros(len(source.boxes), bool)
    held[partner[paired[boxes_px <= partner_px]]] = True
    expected = source.scores > graph.scores.min(initial=np.inf) + margin
    return CandidateDifferences(
        boxes_px=boxes_px,
        scores=np.abs(graph.scores[paired] - source.scores[partner[paired]]),
        missing=int(np.count_nonzero(expected & ~held)),
        unpaired=int(np.count_nonzero(partner < 0)),
        canvases=1,
    )


def _pair(
    graph: _Canvas, rows: NDArray[np.intp], source: _Canvas, columns: NDArray[np.intp]
) -> NDArray[np.int64]:
    """For each row (an index into graph) the position in `columns` of its partner, -1 where none is left.

    Every round each open row asks for its cheapest free column; the cheapest request for a column wins. With
    matching lists one round settles nearly all rows.
    """
    partner = np.full(len(rows), -1, np.int64)
    free = np.ones(len(columns), bool)
    waiting = np.arange(len(rows))
    while len(waiting) and free.any():
        choice, cost = _cheapest(graph, rows, source, columns, waiting=waiting, free=np.flatnonzero(free))
        order = np.lexsort((waiting, cost))
        winners = order[np.unique(choice[order], return_index=True)[1]]
        partner[waiting[winners]] = choice[winners]
        free[choice[winners]] = False
        waiting = np.delete(waiting, winners)
    return partner


def _cheapest(
    graph: _Canvas,
    rows: NDArray[np.intp],
    source: _Canvas,
    columns: NDArray[np.intp],
    *,
    waiting: NDArray[np.intp],
    free: NDArray[np.intp],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each waiting row its cheapest free column and the cost; rows in pieces, to bound the memory."""
    choice = np.empty(len(waiting), np.intp)
    cost = np.empty(len(waiting), np.float64)
    boxes, scores = source.boxes[columns[free]], source.scores[columns[free]]
    for start in range(0, len(waiting), _CHUNK_ROWS):
        piece = waiting[start : start + _CHUNK_ROWS]
        total = np.abs(graph.scores[rows[piece], None] - scores) * _PX_PER_SCORE
        distance = np.abs(graph.boxes[rows[piece], None, 0] - boxes[:, 0])
        for axis in range(1, 4):
            np.maximum(distance, np.abs(graph.boxes[rows[piece], None, axis] - boxes[:, axis]), out=distance)
        total += distance
        total += np.abs(piece[:, None] - free) * _RANK_COST
        best = total.argmin(axis=1)
        choice[start : start + len(piece)] = free[best]
        cost[start : start + len(piece)] = total[np.arange(len(piece)), best]
    return choice, cost


def _p999(values: NDArray[np.float64]) -> float:
    return float(np.percentile(values, 99.9)) if len(values) else 0.0
