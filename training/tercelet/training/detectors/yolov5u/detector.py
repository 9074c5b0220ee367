"""YOLOv5u: the trunk of YOLOv5 with the anchor-free head of YOLOv8.

Paper: none; see YOLOv5 and YOLOv8. Box distributions: Li et al., "Generalized Focal Loss", NeurIPS 2020.
Compatible with: the weights of ultralytics 8.0 to 8.4 (yolov5nu.pt to yolov5xu.pt, and fine-tuned models).
Upstream's licence: AGPL-3.0, weights included. Nothing is copied; written from the facts of the architecture.
Deliberate differences: those of YOLOv8.
"""

from __future__ import annotations

from collections.abc import Sequence

from tercelet.training.detectors.anchor_free import AnchorFreeDetector
from tercelet.training.detectors.layers import Layer
from tercelet.training.detectors.options import AnchorFreeOptions
from tercelet.training.detectors.yolov5.trunk import HEAD_SOURCES, SCALES, trunk


class YOLOv5u(AnchorFreeDetector):
    """yolov5nu to yolov5xu."""

    head_sources = HEAD_SOURCES

    @classmethod
    def layer_table(cls, scale: str, options: AnchorFreeOptions) -> Sequence[Layer]:
        return trunk(SCALES[scale])
