"""YOLOv8.

Paper: none by its authors; described in Terven et al., "A Comprehensive Review of YOLO Architectures in
Computer Vision", arXiv:2304.00501. Box distributions: Li et al., "Generalized Focal Loss", NeurIPS 2020.
Compatible with: the weights of ultralytics 8.0 to 8.4 (yolov8n.pt to yolov8x.pt, and fine-tuned models).
Upstream's licence: AGPL-3.0, weights included. Nothing is copied; written from the facts of the architecture.
Deliberate differences: boxes come out as corners, without non-maximum suppression; strides follow from the
layer table; a fresh head starts with a box bias of 1.0 (8.4.190: 2.0); the width of the class branches is an
option of its own, where upstream derives it from the number of classes at construction.
"""

from __future__ import annotations

from collections.abc import Sequence

from tercelet.training.detectors.anchor_free import AnchorFreeDetector
from tercelet.training.detectors.layers import Layer, c2f, concat, conv, sppf, upsample
from tercelet.training.detectors.options import AnchorFreeOptions
from tercelet.training.detectors.scaling import Scale

SCALES = {
    "n": Scale(0.33, 0.25, 1024),
    "s": Scale(0.33, 0.5, 1024),
    "m": Scale(0.67, 0.75, 768),
    "l": Scale(1.0, 1.0, 512),
    "x": Scale(1.0, 1.25, 512),
}


class YOLOv8(AnchorFreeDetector):
    """yolov8n to yolov8x."""

    head_sources = (15, 18, 21)

    @classmethod
    def layer_table(cls, scale: str, options: AnchorFreeOptions) -> Sequence[Layer]:
        c, n = SCALES[scale].channels, SCALES[scale].repeats
        return (
            conv(c(64), stride=2),  # 0
            conv(c(128), stride=2),
            c2f(c(128), n(3), shortcut=True),
            conv(c(256), stride=2),  # 3
            c2f(c(256), n(6), shortcut=True),
            conv(c(512), stride=2),  # 5
            c2f(c(512), n(6), shortcut=True),
            conv(c(1024), stride=2),  # 7
            c2f(c(1024), n(3), shortcut=True),
            sppf(c(1024)),
            upsample(),  # 10
            concat(6),
            c2f(c(512), n(3), shortcut=False),  # 12
            upsample(),
            concat(4),
            c2f(c(256), n(3), shortcut=False),  # 15: P3
            conv(c(256), stride=2),
            concat(12),
            c2f(c(512), n(3), shortcut=False),  # 18: P4
            conv(c(512), stride=2),
            concat(9),
            c2f(c(1024), n(3), shortcut=False),  # 21: P5
        )
