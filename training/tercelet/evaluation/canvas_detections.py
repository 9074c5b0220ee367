"""From the candidates of one canvas to detections on it, as the runtime makes them; for trainings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.geometry import clip_boxes
from tercelet.runtime.nms import non_maximum_suppression


def detections_on_canvas(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    *,
    labels: Sequence[str],
    height: int,
    width: int,
    score: float,
    iou: float,
    max_detections: int,
) -> Detections:
    """What stays of a canvas's candidates (K, 4) xyxy, (K,), (K,): boxes in its pixels, best first.

    height, width: of the canvas, at which boxes are cut. score, iou, max_detections: as for the runtime's
    non-maximum suppression.
    """
    kept = non_maximum_suppression(
        boxes, scores, class_ids, score_threshold=score, iou_threshold=iou, max_detections=max_detections
    )
    cut = clip_boxes(boxes[kept], height=height, width=width)
    inside = (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
    return Detections(
        boxes=cut[inside].astype(np.float32),
        scores=scores[kept][inside].astype(np.float32),
        class_ids=class_ids[kept][inside].astype(np.int64),
        labels=tuple(labels),
        timing_ms={},
    )
