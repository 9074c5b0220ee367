"""Precision against recall, class by class, and the score at which F1 is best: what to fly with.

Matching and interpolation are those of the COCO evaluator at one IoU, so that the area under an interpolated
curve is the AP50 of `average_precision`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import box_area, intersection_area, pairwise_iou
from tercelet.evaluation.average_precision import JudgedFrame
from tercelet.evaluation.recall import MATCH_IOU

RECALL_POINTS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class BestScore:
    """Detections above `score` (what `--score` takes) have the highest F1; all from 0 to 1."""

    score: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Curve:
    """What is reached by the best so many detections: one entry for each that counts, best score first.

    scores, precision, recall: (D,) float64; detections that an ignored box absorbed are not among them.
    ground_truth: objects that count. With none of these recall is all zero and the rest undefined.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    ground_truth: int

    def interpolated(self) -> NDArray[np.float64]:
        """(101,) best precision at a recall of at least 0.00, 0.01, ... 1.00; 0 where it is not reached."""
        from_here_on = np.append(np.maximum.accumulate(self.precision[::-1])[::-1], 0.0)
        points: NDArray[np.float64] = from_here_on[np.searchsorted(self.recall, RECALL_POINTS)]
        return points

    @property
    def ap(self) -> float | None:
        """Area under the interpolated curve, None without objects."""
        return float(self.interpolated().mean()) if self.ground_truth else None

    def f1(self) -> NDArray[np.float64]:
        """(D,) harmonic mean of precision and recall, 0 where both are."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / np.where(both > 0, both, 1.0)

    def best(self) -> BestScore | None:
        """The score with the best F1, the highest among equals; None without objects or a right detection.

        It lies midway between the worst detection that is kept and the best that is not; just below the
        former where none is left out.
        """
        # Equal scores are kept or left out together.
        ends = np.flatnonzero(np.append(self.scores[1:] < self.scores[:-1], True)[: len(self.scores)])
        values = self.f1()[ends]
        if not self.ground_truth or not values.any():
            return None
        row = int(ends[values.argmax()])
        kept = float(self.scores[row])
        # The runtime compares float32 and keeps what is above the threshold, not what equals it.
        just_below = float(np.nextafter(np.float32(kept), np.float32(0)))
        left_out = float(self.scores[row + 1]) if row + 1 < len(self.scores) else just_below
        return BestScore(
            score=min((kept + left_out) / 2, just_below),
            f1=float(values.max()),
            precision=float(self.precision[row]),
            recall=float(self.recall[row]),
        )


@dataclass(frozen=True)
class PrecisionRecall:
    """per_class: a curve each, in the order of the class numbers. overall: the detections of all classes in
    one row by their score, as one score for all of them keeps them. iou: what a match takes."""

    per_class: tuple[Curve, ...]
    overall: Curve
    iou: float

    def mean_curve(self) -> NDArray[np.float64]:
        """(101,) mean of the interpolated curves of the classes with objects; its mean is AP. 0 without."""
        curves = [curve.interpolated() for curve in self.per_class if curve.ground_truth]
        mean: NDArray[np.float64] = np.mean(curves, axis=0) if curves else np.zeros(len(RECALL_POINTS))
        return mean

    def record(self, classes: Sequence[str]) -> dict[str, Any]:
        """JSON-ready; undefined values are None. classes: the name of each."""
        return {
            "iou": self.iou,
            "recall": RECALL_POINTS.round(2).tolist(),
            "all": {
                "ground_truth": self.overall.ground_truth,
                "best_f1": _best_record(self.overall),
                "mean_precision": self.mean_curve().tolist(),
            },
            "per_class": {
                name: {
                    "ap": curve.ap,
                    "ground_truth": curve.ground_truth,
                    "best_f1": _best_record(curve),
                    "precision": curve.interpolated().tolist() if curve.ground_truth else None,
                }
                for name, curve in zip(classes, self.per_class, strict=True)
            },
        }


def precision_recall(
    frames: Sequence[JudgedFrame],
    *,
    classes: int,
    max_detections: int | None = 100,
    iou: float = MATCH_IOU,
) -> PrecisionRecall:
    """The curves of all frames, those without ground truth included.

    max_detections: the best so many of a frame and class, None for all; the last of a protocol's max_dets
    makes these the curves behind its AP.
    """
    found = [_judged_class(frames, index, max_detections, iou) for index in range(classes)]
    totals = [
        sum(int(np.count_nonzero((frame.class_ids == index) & ~frame.ignore)) for frame in frames)
        for index in range(classes)
    ]
    scores = np.concatenate([np.zeros(0), *(item[0] for item in found)])
    right = np.concatenate([np.zeros(0, bool), *(item[1] for item in found)])
    return PrecisionRecall(
        per_class=tuple(_curve(*item, total) for item, total in zip(found, totals, strict=True)),
        overall=_curve(scores, right, sum(totals)),
        iou=iou,
    )


def _best_record(curve: Curve) -> dict[str, float] | None:
    best = curve.best()
    return None if best is None else dict(vars(best))


def _curve(scores: NDArray[np.float64], right: NDArray[np.bool_], total: int) -> Curve:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order], dtype=np.float64)
    return Curve(
        scores=scores[order],
        precision=hits / np.arange(1, len(hits) + 1),
        recall=hits / max(total, 1),
        ground_truth=total,
    )


def _judged_class(
    frames: Sequence[JudgedFrame], index: int, limit: int | None, iou: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Score of each detection of a class that counts, and whether it is right, frame by frame."""
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for frame in frames:
        chosen = np.flatnonzero(frame.found_class_ids == index)
        chosen = chosen[np.argsort(-frame.scores[chosen], kind="stable")[:limit]]
        truth = frame.class_ids == index
        boxes, counts, ignored = (
            frame.found_boxes[chosen],
            frame.boxes[truth & ~frame.ignore],
            frame.boxes[truth & frame.ignore],
        )
        hit = _hits(pairwise_iou(boxes, counts), iou)
        covered = intersection_area(boxes, ignored) >= iou * box_area(boxes)[:, None]
        kept = hit | ~covered.any(axis=1)
        scores.append(frame.scores[chosen][kept])
        right.append(hit[kept])
    return np.concatenate(scores), np.concatenate(right)


def _hits(overlap: NDArray[np.float64], iou: float) -> NDArray[np.bool_]:
    """Which rows, the best first, find a column that is still free: the one of highest IoU."""
    hit, free = np.zeros(len(overlap), bool), np.ones(overlap.shape[1], bool)
    for row in np.flatnonzero((overlap >= iou).any(axis=1)):
        candidates = np.flatnonzero(free & (overlap[row] >= iou))
        if len(candidates):
            # The evaluator takes the last among equals.
            free[candidates[len(candidates) - 1 - overlap[row, candidates][::-1].argmax()]] = False
            hit[row] = True
    return hit
