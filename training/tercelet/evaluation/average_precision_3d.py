"""Average precision and recall of oriented 3D boxes, as SUN RGB-D and ScanNet are judged.

Each detection of a class, best score first over all frames, looks at the object of its class in its frame
with the highest IoU: above the threshold and free is right, everything else is wrong, and one whose best
object is taken does not try the second. AP is the area under the precision envelope at every step of recall
(VOC from 2010 on). Upstream's mean is NaN as soon as a class is predicted that has no object; here such a
class is left out of the means, and its AP is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.iou3d import pairwise_iou_3d

IOU_THRESHOLDS = (0.25, 0.5)


@dataclass(frozen=True)
class JudgedFrame3d:
    """Ground truth and detections of one frame, classes numbered alike from 0.

    boxes (N, 7), found_boxes (M, 7): as in `contract.box3d`. class_ids (N,), found_class_ids (M,): int64.
    scores (M,): higher is surer. Raises InputError for shapes that do not fit and for NaN or infinity.
    """

    boxes: NDArray[np.floating[Any]]
    class_ids: NDArray[np.int64]
    found_boxes: NDArray[np.floating[Any]]
    found_class_ids: NDArray[np.int64]
    scores: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        n, m = len(self.boxes), len(self.found_boxes)
        got = (self.boxes.shape, self.class_ids.shape, self.found_boxes.shape, self.found_class_ids.shape)
        if got != ((n, 7), (n,), (m, 7), (m,)) or self.scores.shape != (m,):
            raise InputError(
                "expected boxes (N, 7), class_ids (N,), found_boxes (M, 7), found_class_ids (M,) and scores "
                f"(M,), got {', '.join(map(str, got))} and {self.scores.shape}"
            )
        for name, values in (
            ("boxes", self.boxes),
            ("found_boxes", self.found_boxes),
            ("scores", self.scores),
        ):
            if not np.isfinite(values).all():
                raise InputError(f"{name}: expected finite numbers, got NaN or infinity")


@dataclass(frozen=True)
class ClassPrecision3d:
    """ap, recall: from 0 to 1, None where the class has no ground truth."""

    ap: float | None
    recall: float | None
    ground_truth: int
    detections: int


@dataclass(frozen=True)
class Precision3d:
    """At one IoU threshold. ap, recall: means over the classes with ground truth, None without any."""

    iou: float
    ap: float | None
    recall: float | None
    per_class: tuple[ClassPrecision3d, ...]

    def record(self, labels: Sequence[str]) -> dict[str, Any]:
        """JSON-ready; undefined values are None. labels: the name of each class."""
        return {
            "iou": self.iou,
            "ap": self.ap,
            "recall": self.recall,
            "per_class": {
                name: {
                    "ap": entry.ap,
                    "recall": entry.recall,
                    "ground_truth": entry.ground_truth,
                    "detections": entry.detections,
                }
                for name, entry in zip(labels, self.per_class, strict=True)
            },
        }


def average_precision_3d(
    frames: Sequence[JudgedFrame3d], *, classes: int, ious: Sequence[float] = IOU_THRESHOLDS
) -> tuple[Precision3d, ...]:
    """AP and recall over all frames, those without ground truth included; one result for each IoU.

    classes: how many there are. A detection counts as right at an IoU strictly above the threshold. Of equal
    scores the earlier frame goes first, then the earlier detection. Raises InputError for a class id that is
    not below `classes`.
    """
    _check_classes(frames, classes)
    matched = [_matches(frames, number) for number in range(classes)]
    results = []
    for iou in ious:
        per_class = tuple(_judge(match, iou) for match in matched)
        defined = [entry for entry in per_class if entry.ground_truth]
        results.append(
            Precision3d(
                iou=float(iou),
                ap=_mean([entry.ap for entry in defined]),
                recall=_mean([entry.recall for entry in defined]),
                per_class=per_class,
            )
        )
    return tuple(results)


def area_under_envelope(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """(D,) recall, ascending, and (D,) precision -> area under the highest precision from each recall on."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


@dataclass(frozen=True)
class _ClassMatches:
    """Detections of one class, best score first: IoU with the best object of its frame and which that is
    (numbered through all frames, -1 for none); and how many objects there are."""

    overlap: NDArray[np.float64]
    best: NDArray[np.int64]
    ground_truth: int


def _matches(frames: Sequence[JudgedFrame3d], number: int) -> _ClassMatches:
    scores, overlaps, bests = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, np.int64)]
    before = 0
    for frame in frames:
        truth = frame.boxes[frame.class_ids == number]
        mine = frame.found_class_ids == number
        overlap, best = np.zeros(mine.sum()), np.full(mine.sum(), -1)
        if len(truth) and len(best):
            table = pairwise_iou_3d(frame.found_boxes[mine], truth)
            overlap, best = table.max(axis=1), table.argmax(axis=1) + before
        scores.append(frame.scores[mine].astype(np.float64))
        overlaps.append(overlap)
        bests.append(best)
        before += len(truth)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _ClassMatches(np.concatenate(overlaps)[order], np.concatenate(bests)[order], before)


def _judge(match: _ClassMatches, iou: float) -> ClassPrecision3d:
    detections = len(match.best)
    if not match.ground_truth:
        return ClassPrecision3d(ap=None, recall=None, ground_truth=0, detections=detections)
    right = np.zeros(detections, bool)
    near = np.flatnonzero((match.overlap > iou) & (match.best >= 0))
    # Of all that are near one object the first has it.
    right[near[np.unique(match.best[near], return_index=True)[1]]] = True
    found = np.cumsum(right)
    recall = found / match.ground_truth
    precision = found / np.arange(1, detections + 1)
    return ClassPrecision3d(
        ap=area_under_envelope(recall, precision),
        recall=float(recall[-1]) if detections else 0.0,
        ground_truth=match.ground_truth,
        detections=detections,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _check_classes(frames: Sequence[JudgedFrame3d], classes: int) -> None:
    for index, frame in enumerate(frames):
        for name, ids in (("class_ids", frame.class_ids), ("found_class_ids", frame.found_class_ids)):
            if len(ids) and not (ids.min() >= 0 and ids.max() < classes):
                raise InputError(
                    f"frame {index}: {name}: expected 0 to {classes - 1}, "
                    f"got {int(ids.min())} to {int(ids.max())}"
                )
