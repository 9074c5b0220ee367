"""Pictures for people who would rather look: ground truth on the left, detections on the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import DatasetImage
from tercelet.runtime.vision import draw_detections, write_image

# Evaluation keeps detections down to 0.001; a picture of them all shows nothing.
_DRAWN_FROM = 0.25


def save_comparison(
    folder: Path,
    image: DatasetImage,
    frame: NDArray[np.uint8],
    detections: Detections,
    categories: Sequence[str],
) -> Path:
    """Write folder/ID_NAME.jpg, twice as wide as the frame; ignored boxes and regions are named so.

    frame: (H, W, 3) uint8 BGR. Detections with a score of at least 0.25 are drawn. Returns the path.
    """
    drawn = np.flatnonzero(detections.scores >= _DRAWN_FROM)
    right = Detections(
        boxes=detections.boxes[drawn],
        scores=detections.scores[drawn],
        class_ids=detections.class_ids[drawn],
        labels=detections.labels,
    )
    picture = np.concatenate(
        (
            draw_detections(frame, ground_truth_as_detections(image, categories)),
            draw_detections(frame, right),
        ),
        axis=1,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder to write pictures to: {error.strerror}") from error
    path = folder / f"{image.id:06d}_{image.path.stem}.jpg"
    write_image(path, picture)
    return path


def ground_truth_as_detections(image: DatasetImage, categories: Sequence[str]) -> Detections:
    """All that is known of a frame, score 1, with two more classes: ignored boxes and ignored regions."""
    ignored, region = len(categories), len(categories) + 1
    boxes = np.concatenate((image.boxes, image.ignored_regions)).astype(np.float32)
    class_ids = np.concatenate(
        (
            np.where(image.ignore, ignored, image.class_ids),
            np.full(len(image.ignored_regions), region, np.int64),
        )
    )
    return Detections(
        boxes=boxes,
        scores=np.ones(len(boxes), np.float32),
        class_ids=class_ids.astype(np.int64),
        labels=(*categories, "ignored", "ignored region"),
    )
