"""From detections of every frame to a result: classes mapped, the protocol applied, AP computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.evaluation.average_precision import JudgedFrame, average_precision
from tercelet.evaluation.class_mapping import ClassMap, ClassMapping, map_classes
from tercelet.evaluation.datasets import Dataset, DatasetImage
from tercelet.evaluation.datasets.dataset import ProtocolName
from tercelet.evaluation.protocol import Protocol, inside_regions, protocol_named
from tercelet.evaluation.result import EvaluationResult


def evaluate_detections(
    dataset: Dataset,
    detections: Sequence[Detections],
    *,
    protocol: ProtocolName | None = None,
    class_map: str | Path | ClassMap | None = None,
    max_detections: int | None = None,
    bundle: str = "detections",
    settings: Mapping[str, float | int] | None = None,
) -> EvaluationResult:
    """Judge detections that are already there: one item a frame, in the order of dataset.images.

    All of them carry the labels of one detector, and come without a limit of their own: max_detections, None
    for the protocol's, is how many of a frame count, the best of those that are of an evaluated class and not
    in an ignored region. bundle, settings: what the result reports as its origin.
    Raises InputError if the numbers of frames differ or the labels do.
    """
    labels = _labels(dataset, detections)
    rules = protocol_named(dataset.protocol if protocol is None else protocol)
    mapping = map_classes(labels, dataset.categories, class_map)
    kept = rules.limit(max_detections)
    pairs = zip(dataset.images, detections, strict=True)
    judged = [_judge(image, found, mapping, rules, kept) for image, found in pairs]
    frames = [item.frame for item in judged]
    return EvaluationResult(
        bundle=bundle,
        dataset=str(dataset.source),
        protocol=rules.text(kept),
        precision=average_precision(frames, classes=len(mapping.classes), max_dets=rules.max_dets),
        frames=len(judged),
        left_out_ground_truth=sum(item.left_out_truth for item in judged),
        left_out_detections=sum(item.left_out_found for item in judged),
        classes=mapping.classes,
        by_name=mapping.by_name,
        unmatched_labels=_counts(labels, mapping.of_label, [item.class_ids for item in detections]),
        unmatched_categories=_counts(
            dataset.categories, mapping.of_category, [item.class_ids for item in dataset.images]
        ),
        settings={"max_detections": kept} if settings is None else settings,
        notes=dataset.notes,
    )


def _labels(dataset: Dataset, detections: Sequence[Detections]) -> tuple[str, ...]:
    if len(detections) != len(dataset.images) or not detections:
        raise InputError(
            f"expected detections of the data set's {len(dataset.images)} frames, got {len(detections)}"
        )
    labels = detections[0].labels
    if any(item.labels != labels for item in detections):
        raise InputError("expected detections of one detector, got several sets of labels")
    return labels


@dataclass(frozen=True)
class _Judged:
    frame: JudgedFrame
    left_out_truth: int
    left_out_found: int


def _judge(
    image: DatasetImage, found: Detections, mapping: ClassMapping, protocol: Protocol, max_detections: int
) -> _Judged:
    """Ground truth and detections of one frame by evaluated class, without what the protocol leaves out."""
    found_boxes = found.boxes.astype(np.float64)
    truth_class, found_class = mapping.of_category[image.class_ids], mapping.of_label[found.class_ids]
    truth, counts = truth_class >= 0, found_class >= 0
    truth_out, found_out = np.zeros_like(truth), np.zeros_like(counts)
    if protocol.ignored_regions:
        truth_out = truth & inside_regions(image.boxes, image.ignored_regions)
        found_out = counts & inside_regions(found_boxes, image.ignored_regions)
    truth = truth & ~truth_out
    # The limit comes last: what nobody evaluates must not take the place of what somebody does.
    kept = np.flatnonzero(counts & ~found_out)
    kept = kept[np.argsort(-found.scores[kept], kind="stable")[:max_detections]]
    return _Judged(
        frame=JudgedFrame(
            boxes=image.boxes[truth],
            class_ids=truth_class[truth],
            ignore=image.ignore[truth],
            areas=image.areas[truth],
            found_boxes=found_boxes[kept],
            found_class_ids=found_class[kept],
            scores=found.scores[kept].astype(np.float64),
        ),
        left_out_truth=int(np.count_nonzero(truth_out)),
        left_out_found=int(np.count_nonzero(found_out)),
    )


def _counts(
    names: Sequence[str], classes: NDArray[np.int64], class_ids: Sequence[NDArray[np.int64]]
) -> dict[str, int]:
    """How many boxes there are of each name that belongs to no class."""
    totals = np.bincount(np.concatenate(class_ids), minlength=len(names))
    return {name: int(totals[index]) for index, name in enumerate(names) if classes[index] < 0}
