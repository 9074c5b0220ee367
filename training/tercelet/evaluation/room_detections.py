"""From clouds to what a point detector is given, and from proposals to boxes, both as the runtime does it;
for trainings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.runtime.boxes3d_selection import select_boxes
from tercelet.runtime.clouds import detector_points, height_above_floor

__all__ = ["RoomDetections", "detections_of_proposals", "detector_points", "height_above_floor"]


@dataclass(frozen=True)
class RoomDetections:
    """What stays of the proposals of a room.

    boxes (K, 7) float32 as in `contract.box3d`, scores (K,) float32, class_ids (K,) int64.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]

    def above(self, score: float) -> RoomDetections:
        """Those above a score."""
        kept = self.scores > score
        return RoomDetections(self.boxes[kept], self.scores[kept], self.class_ids[kept])


def detections_of_proposals(
    boxes: NDArray[np.float32],
    objectness: NDArray[np.float32],
    class_scores: NDArray[np.float32],
    points: NDArray[np.float32],
) -> RoomDetections:
    """Proposals (P, 7), (P,), (P, C) of the cloud points (N, 3 or more) as average precision takes them: each
    that is left counts once for every class. InputError for shapes that do not fit."""
    kept = select_boxes(boxes, objectness, class_scores, points, per_class=True)
    return RoomDetections(kept.boxes, kept.scores, kept.class_ids)
