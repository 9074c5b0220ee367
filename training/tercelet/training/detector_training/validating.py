"""Judging a network in the middle of its training: AP on fixed views, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.manifest import DEFAULT_CANDIDATES
from tercelet.evaluation.average_precision import JudgedFrame
from tercelet.evaluation.canvas_detections import detections_on_canvas
from tercelet.evaluation.datasets import Dataset, DatasetImage
from tercelet.evaluation.datasets.dataset import image_with_boxes
from tercelet.evaluation.judging import Judge
from tercelet.evaluation.result import EvaluationResult
from tercelet.training.detector_training.samples import ValidationView
from tercelet.training.detectors.detector import Detector

# As low as the verb evaluate goes.
_SCORE = 0.001
_IOU = 0.7
_MAX_DETECTIONS = 500


@dataclass(frozen=True)
class Validation:
    """result: the figures. frames: what was judged, for curves. found: detections of each view, in order."""

    result: EvaluationResult
    frames: tuple[JudgedFrame, ...]
    found: tuple[Detections, ...]

    @property
    def ap(self) -> float:
        """AP over IoU 0.50:0.95, 0 where there is no ground truth."""
        return self.result.precision.ap or 0.0

    @property
    def ap50(self) -> float:
        """AP at IoU 0.5, 0 where there is no ground truth."""
        return self.result.precision.ap50 or 0.0


def validate(
    network: Detector,
    views: Sequence[ValidationView],
    *,
    labels: Sequence[str],
    batch: int,
    device: torch.device,
    name: str = "validation views",
) -> Validation:
    """Detections on every view, judged. The network must be in eval mode.

    Up to 500 detections a view count; what is ignored on a view counts as a region that nobody labelled.
    Arithmetic is float32 whatever the training's is.
    """
    found: list[Detections] = []
    for images in _batches(views, batch):
        found += _detect(network, images, labels=labels, device=device)
    dataset = Dataset(
        source=Path(name),
        format="coco",
        protocol="visdrone",
        categories=tuple(labels),
        images=tuple(_truth(index, view) for index, view in enumerate(views)),
    )
    judge = Judge(dataset, labels)
    for detections in found:
        judge.add(detections)
    return Validation(judge.result(bundle=network.detector), tuple(judge.frames), tuple(found))


def _batches(views: Sequence[ValidationView], batch: int) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(views), batch):
        yield np.stack([view.draw() for view in views[first : first + batch]])


def _detect(
    network: Detector, images: NDArray[np.uint8], *, labels: Sequence[str], device: torch.device
) -> list[Detections]:
    height, width = images.shape[1:3]
    count = min(DEFAULT_CANDIDATES, network.anchor_count(height, width) * network.classes)
    with torch.inference_mode():
        inputs = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        best = network.top_candidates(inputs, count)
    boxes, scores, class_ids = (part.cpu().numpy() for part in best)
    return [
        detections_on_canvas(
            boxes[row],
            scores[row],
            class_ids[row],
            labels=labels,
            height=height,
            width=width,
            score=_SCORE,
            iou=_IOU,
            max_detections=_MAX_DETECTIONS,
        )
        for row in range(len(images))
    ]


def _truth(index: int, view: ValidationView) -> DatasetImage:
    return image_with_boxes(
        index,
        Path(f"view {index}"),
        (view.width, view.height),
        boxes=view.boxes,
        class_ids=view.class_ids,
        ignored_regions=view.ignored,
    )
