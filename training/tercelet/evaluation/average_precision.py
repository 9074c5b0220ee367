"""Average precision and recall of detections, by the COCO evaluator, in memory and silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import MissingDependencyError

SIZES = ("all", "small", "medium", "large")
_AREA_RANGES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e5**2)}


@dataclass(frozen=True)
class JudgedFrame:
    """Ground truth and detections of one frame, classes numbered alike from 0.

    boxes (N, 4), found_boxes (M, 4): float64 xyxy in frame pixels. class_ids (N,), found_class_ids (M,).
    ignore (N,): bool, neither right nor wrong to find. areas (N,): what decides the size. scores (M,).
    """

    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    areas: NDArray[np.float64]
    found_boxes: NDArray[np.float64]
    found_class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class ClassPrecision:
    """ap, ap50: None where the class has no ground truth. ground_truth: boxes that count, not the ignored."""

    ap: float | None
    ap50: float | None
    ground_truth: int
    detections: int


@dataclass(frozen=True)
class Precision:
    """Everything from 0 to 1, None where it is undefined: no ground truth (of that size) at all.

    recall: average recall by limit of detections a frame and class, keyed ar1, ar10, ..., ar_small, ....
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    recall: Mapping[str, float | None]
    per_class: tuple[ClassPrecision, ...]


def average_precision(
    frames: Sequence[JudgedFrame], *, classes: int, max_dets: Sequence[int] = (1, 10, 100)
) -> Precision:
    """AP at IoU 0.50:0.05:0.95 over all frames, those without ground truth included.

    classes: how many there are. max_dets: ascending limits of detections a frame and class, AP at the last.
    Raises MissingDependencyError without faster-coco-eval.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingDependencyError(
            f"evaluating needs faster-coco-eval ({error}): pip install 'tercelet[evaluate]'"
        ) from error
    shared: dict[str, Any] = {
        "images": [{"id": number} for number in range(1, len(frames) + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, classes + 1)],
    }
    truth = COCO({**shared, "annotations": list(_truth(frames))})
    found = COCO({**shared, "annotations": list(_found(frames))})
    evaluator = COCOeval_faster(truth, found, "bbox", ranges={k: list(v) for k, v in _AREA_RANGES.items()})
    evaluator.params.maxDets = list(max_dets)
    evaluator.evaluate()
    evaluator.accumulate()
    # (IoU, recall point, class, size, limit) and (IoU, class, size, limit); -1 where undefined.
    precision = np.asarray(evaluator.eval["precision"]).reshape(10, 101, classes, len(SIZES), len(max_dets))
    recall = np.asarray(evaluator.eval["recall"]).reshape(10, classes, len(SIZES), len(max_dets))
    return Precision(
        ap=_mean(precision[:, :, :, 0, -1]),
        ap50=_mean(precision[0, :, :, 0, -1]),
        ap75=_mean(precision[5, :, :, 0, -1]),
        ap_small=_mean(precision[:, :, :, 1, -1]),
        ap_medium=_mean(precision[:, :, :, 2, -1]),
        ap_large=_mean(precision[:, :, :, 3, -1]),
        recall={
            **{f"ar{limit}": _mean(recall[:, :, 0, index]) for index, limit in enumerate(max_dets)},
            **{f"ar_{size}": _mean(recall[:, :, index, -1]) for index, size in enumerate(SIZES) if index},
        },
        per_class=tuple(_class_precision(frames, precision, index) for index in range(classes)),
    )


def _class_precision(
    frames: Sequence[JudgedFrame], precision: NDArray[np.float64], index: int
) -> ClassPrecision:
    return ClassPrecision(
        ap=_mean(precision[:, :, index, 0, -1]),
        ap50=_mean(precision[0, :, index, 0, -1]),
        ground_truth=sum(int(np.count_nonzero((f.class_ids == index) & ~f.ignore)) for f in frames),
        detections=sum(int(np.count_nonzero(f.found_class_ids == index)) for f in frames),
    )


def _truth(frames: Sequence[JudgedFrame]) -> Iterator[dict[str, Any]]:
    # Numbers start at 1: the evaluator reads annotation 0 as "no match".
    number = 0
    for image, frame in enumerate(frames, 1):
        boxes = _xywh(frame.boxes)
        for row, box in enumerate(boxes):
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": int(frame.class_ids[row]) + 1,
                "bbox": box,
                "area": float(frame.areas[row]),
                "iscrowd": int(frame.ignore[row]),
            }


def _found(frames: Sequence[JudgedFrame]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, frame in enumerate(frames, 1):
        boxes = _xywh(frame.found_boxes)
        for row, box in enumerate(boxes):
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": int(frame.found_class_ids[row]) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "score": float(frame.scores[row]),
                "iscrowd": 0,
            }


def _xywh(boxes: NDArray[np.float64]) -> list[list[float]]:
    wide = np.asarray(boxes, np.float64).reshape(-1, 4)
    rows: list[list[float]] = np.concatenate((wide[:, :2], wide[:, 2:] - wide[:, :2]), axis=1).tolist()
    return rows


def _mean(values: NDArray[np.float64]) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
