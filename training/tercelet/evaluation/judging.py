"""From detections of every frame to a result: classes mapped, the protocol applied, AP computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    settings: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Judge detections that are already there: one item a frame, in the order of dataset.images.

    All of them carry the labels of one detector, and come without a limit of their own: max_detections, None
    for the protocol's, is how many of a frame count, the best of those that are of an evaluated class and not
    in an ignored region. bundle, settings: what the result reports as its origin.
    Raises InputError if the numbers of frames differ or the labels do.
    """
    labels = _labels(dataset, detections)
    judge = Judge(dataset, labels, protocol=protocol, class_map=class_map, max_detections=max_detections)
    for found in detections:
        judge.add(found)
    return judge.result(bundle=bundle, settings=settings)


class Judge:
    """Takes the detections of one frame after the other, in the order of dataset.images, and keeps of them
    only what counts: `frames`, so far.

    Options and errors as for `evaluate_detections`; labels are those of the detector.
    """

    def __init__(
        self,
        dataset: Dataset,
        labels: Sequence[str],
        *,
        protocol: ProtocolName | None = None,
        class_map: str | Path | ClassMap | None = None,
        max_detections: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.labels = tuple(labels)
        self.rules = protocol_named(dataset.protocol if protocol is None else protocol)
        self.mapping = map_classes(self.labels, dataset.categories, class_map)
        self.max_detections = self.rules.limit(max_detections)
        self.frames: list[JudgedFrame] = []
        self._left_out_truth = self._left_out_found = 0
        self._found_of_label = np.zeros(len(self.labels), np.int64)

    def add(self, found: Detections) -> None:
        """Judge the next frame."""
        image = self.dataset.images[len(self.frames)]
        judged = _judge(image, found, self.mapping, self.rules, self.max_detections)
        self.frames.append(judged.frame)
        self._left_out_truth += judged.left_out_truth
        self._left_out_found += judged.left_out_found
        self._found_of_label += np.bincount(found.class_ids, minlength=len(self.labels))

    def result(self, *, bundle: str, settings: Mapping[str, Any] | None = None) -> EvaluationResult:
        """AP of all frames; every one must have been added."""
        dataset, mapping, rules = self.dataset, self.mapping, self.rules
        of_category = np.bincount(
            np.concatenate([image.class_ids for image in dataset.images]), minlength=len(dataset.categories)
        )
        return EvaluationResult(
            bundle=bundle,
            dataset=str(dataset.source),
            protocol=rules.text(self.max_detections),
            precision=average_precision(self.frames, classes=len(mapping.classes), max_dets=rules.max_dets),
            frames=len(self.frames),
            left_out_ground_truth=self._left_out_truth,
            left_out_detections=self._left_out_found,
            classes=mapping.classes,
            by_name=mapping.by_name,
            unmatched_labels=_unmatched(self.labels, mapping.of_label, self._found_of_label),
            unmatched_categories=_unmatched(dataset.categories, mapping.of_category, of_category),
            settings={"max_detections": self.max_detections} if settings is None else settings,
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


def _unmatched(names: Sequence[str], classes: NDArray[np.int64], totals: NDArray[np.int64]) -> dict[str, int]:
    """How many boxes there are of each name that belongs to no class."""
    return {name: int(totals[index]) for index, name in enumerate(names) if classes[index] < 0}
