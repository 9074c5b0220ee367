"""What pipeline rgbd hands to its caller: oriented boxes in metres, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError


@dataclass(frozen=True)
class UprightRule:
    """How a cloud was brought upright. how: by the camera's extrinsics, by the floor that was seen, or not at
    all, because it was given as upright. confidence: 0..1, of a floor; None where nothing was estimated.
    rotation: rows of the (3, 3) rotation, upright depth frame from the frame of the camera's depth.
    """

    how: Literal["extrinsics", "floor", "identity"] = "identity"
    confidence: float | None = None
    rotation: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def record(self) -> dict[str, Any]:
        """JSON-ready: how, confidence, rotation."""
        confidence = None if self.confidence is None else round(self.confidence, 4)
        rotation = [[round(value, 7) for value in row] for row in self.rotation]
        return {"how": self.how, "confidence": confidence, "rotation": rotation}


@dataclass(frozen=True)
class Detections3d:
    """N detections of one cloud, best score first.

    boxes: (N, 7) float32, upright depth frame (x right, y forward, z up), metres: centre of gravity x, y, z,
    full sizes dx, dy, dz, and yaw in radians, counter-clockwise seen from above. scores: (N,) float32 in
    0..1. class_ids: (N,) int64, an index into labels. labels: the names of all classes of the detector.
    timing_ms: milliseconds by stage; empty where nothing was measured. upright: how the cloud came into that
    frame. points, taken: how many the cloud had, and how many the detector was shown. notes: in words, what
    the detector did without. picture_boxes: what a 2D detector found in the picture and the detector was
    shown, in pixels; None where none looked.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    upright: UprightRule = field(default_factory=UprightRule)
    points: int = 0
    taken: int = 0
    notes: tuple[str, ...] = ()
    picture_boxes: Detections | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 7) or self.scores.shape != (n,) or self.class_ids.shape != (n,):
            raise InputError(
                "expected boxes (N, 7), scores (N,) and class_ids (N,), got "
                f"{self.boxes.shape}, {self.scores.shape} and {self.class_ids.shape}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def label_of(self, index: int) -> str:
        """The class name of detection `index`."""
        return self.labels[int(self.class_ids[index])]

    def records(self) -> Iterator[dict[str, Any]]:
        """One JSON-ready dict a detection: box3d with center, size and yaw, score, label, class_id."""
        for index in range(len(self)):
            numbers = [round(float(value), 5) for value in self.boxes[index]]
            yield {
                "box3d": {"center": numbers[:3], "size": numbers[3:6], "yaw": numbers[6]},
                "score": round(float(self.scores[index]), 5),
                "label": self.label_of(index),
                "class_id": int(self.class_ids[index]),
            }
