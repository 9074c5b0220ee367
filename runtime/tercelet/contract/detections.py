"""What a pipeline hands to its caller: boxes in frame pixels, scores, class ids, and where the time went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.plan import AerialReport


@dataclass(frozen=True)
class Detections:
    """N detections of one frame, best score first.

    boxes: (N, 4) float32, xyxy in frame pixels. scores: (N,) float32 in 0..1. class_ids: (N,) int64,
    an index into labels. labels: the names of all classes of the detector. timing_ms: milliseconds by
    stage (read, preprocess, infer, postprocess); empty where nothing was measured. origins: (N,) int64, the
    region of `report.plan` that each was found in, -1 for the full frame; None where all come from the full
    frame. report: what was looked at and why, where there was a choice.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    origins: NDArray[np.int64] | None = None
    report: AerialReport | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,) or self.class_ids.shape != (n,):
            raise InputError(
                "expected boxes (N, 4), scores (N,) and class_ids (N,), got "
                f"{self.boxes.shape}, {self.scores.shape} and {self.class_ids.shape}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def label_of(self, index: int) -> str:
        """The class name of detection `index`."""
        return self.labels[int(self.class_ids[index])]

    def records(self) -> Iterator[dict[str, Any]]:
        """One JSON-ready dict a detection: box [x1, y1, x2, y2], score, label, class_id; and where there are
        origins, source "full" or "region" with the number of the region."""
        for index in range(len(self)):
            record: dict[str, Any] = {
                "box": [round(float(v), 3) for v in self.boxes[index]],
                "score": round(float(self.scores[index]), 5),
                "label": self.label_of(index),
                "class_id": int(self.class_ids[index]),
            }
            if self.origins is not None:
                origin = int(self.origins[index])
                record |= {"source": "full"} if origin < 0 else {"source": "region", "region": origin}
            yield record

    @classmethod
    def empty(cls, labels: tuple[str, ...]) -> Detections:
        """No detections, with the labels of the detector."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            class_ids=np.zeros(0, np.int64),
            labels=labels,
        )
