"""What a detector takes for what: classes against classes, and against nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import box_area, intersection_area, pairwise_iou
from tercelet.evaluation.average_precision import JudgedFrame
from tercelet.evaluation.recall import MATCH_IOU

BACKGROUND = "background"
# What a detector usually works with.
CONFUSION_SCORE = 0.25


@dataclass(frozen=True)
class ConfusionMatrix:
    """counts: (C + 1, C + 1) int64, row: what it is, column: what it was found as, the last of both:
    background. So the last column counts missed objects, and the last row detections of nothing; the corner
    between them is 0. score: detections above it take part. iou: what a match takes."""

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    score: float
    iou: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of rows and columns: the classes and background."""
        return (*self.classes, BACKGROUND)

    def shares(self) -> NDArray[np.float64]:
        """(C + 1, C + 1) counts as shares of their row, 0 in empty rows."""
        shares: NDArray[np.float64] = self.counts / self.counts.sum(axis=1, keepdims=True).clip(1)
        return shares

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "score": self.score,
            "iou": self.iou,
            "rows": "ground truth",
            "columns": "found as",
            "names": list(self.names),
            "counts": self.counts.tolist(),
        }


def confusion_matrix(
    frames: Sequence[JudgedFrame],
    *,
    classes: Sequence[str],
    score: float = CONFUSION_SCORE,
    iou: float = MATCH_IOU,
) -> ConfusionMatrix:
    """Match the detections of every frame to its objects, one to one, whatever their classes.

    The best score chooses first, and takes the free object with the highest IoU, `iou` or more; among equals
    one of its own class. A detection without an object of which an ignored box, of any class, covers the
    share `iou` or more counts for nothing. classes: the name of each class number.
    Raises InputError for a score or an IoU outside 0..1.
    """
    for name, value in (("score", score), ("iou", iou)):
        if not 0 <= value <= 1:
            raise InputError(f"{name}: expected 0 to 1, got {value}")
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for frame in frames:
        np.add.at(counts, _pairs(frame, len(classes), score, iou), 1)
    return ConfusionMatrix(classes=tuple(classes), counts=counts, score=score, iou=iou)


def _pairs(
    frame: JudgedFrame, background: int, score: float, iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class of the object and class that was found, a pair for each object and each detection of nothing."""
    order = np.argsort(-frame.scores, kind="stable")
    order = order[frame.scores[order] > score]
    boxes, found = frame.found_boxes[order], frame.found_class_ids[order]
    truth = frame.class_ids[~frame.ignore]
    overlap = pairwise_iou(boxes, frame.boxes[~frame.ignore])
    found_as = np.full(len(truth), -1)
    wrong = np.ones(len(order), bool)
    for row in np.flatnonzero((overlap >= max(iou, 1e-12)).any(axis=1)):
        candidates = np.flatnonzero((found_as < 0) & (overlap[row] >= max(iou, 1e-12)))
        if len(candidates):
            # The last key decides first.
            by_worth = np.lexsort((truth[candidates] == found[row], overlap[row, candidates]))
            found_as[candidates[by_worth[-1]]] = found[row]
            wrong[row] = False
    covered = intersection_area(boxes, frame.boxes[frame.ignore]) >= iou * box_area(boxes)[:, None]
    wrong &= ~covered.any(axis=1)
    rows = np.concatenate((truth, np.full(np.count_nonzero(wrong), background)))
    columns = np.concatenate((np.where(found_as < 0, background, found_as), found[wrong]))
    return rows.astype(np.int64), columns.astype(np.int64)
