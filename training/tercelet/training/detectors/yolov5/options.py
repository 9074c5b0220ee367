"""What can be chosen when a YOLOv5 is built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.training.detectors.options import check_count

Anchors = Sequence[Sequence[Sequence[float]]]
"""Levels, P3 first, of anchors of (width, height) in pixels of the network's input."""

COCO_ANCHORS: Anchors = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


@dataclass(frozen=True)
class AnchorOptions:
    """classes: number of classes. anchors: three levels of equally many (width, height) in pixels."""

    classes: int = 80
    anchors: Anchors = COCO_ANCHORS

    def __post_init__(self) -> None:
        check_count("classes", self.classes)
        if not _are_anchors(self.anchors):
            raise InputError(
                "anchors: expected three levels (P3, P4, P5) of equally many [width, height] in pixels, "
                f"got {self.anchors!r}"
            )


def _are_anchors(value: Any) -> bool:
    try:
        sizes = [[(float(w), float(h)) for w, h in level] for level in value]
    except (TypeError, ValueError):
        return False
    counts = {len(level) for level in sizes}
    positive = all(0 < side < math.inf for level in sizes for pair in level for side in pair)
    return len(sizes) == 3 and len(counts) == 1 and 0 not in counts and positive
