"""YOLO11.

Paper: none by its authors; described in Khanam and Hussain, "YOLOv11: An Overview of the Key Architectural
Enhancements", arXiv:2410.17725. Box distributions: Li et al., "Generalized Focal Loss", NeurIPS 2020.
Compatible with: the weights of ultralytics 8.3 and 8.4 (yolo11n.pt to yolo11x.pt, and fine-tuned models).
Upstream's licence: AGPL-3.0, weights included. Nothing is copied; written from the facts of the architecture.
Deliberate differences: boxes come out as corners, without non-maximum suppression; strides follow from the
layer table; a fresh head starts with a box bias of 1.0 (8.4.190: 2.0); the width of the class branches is an
option of its own, where upstream derives it from the number of classes at construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tercelet.training.detectors.anchor_free import AnchorFreeDetector
from tercelet.training.detectors.anchor_free_head import Branch, depthwise_branch
from tercelet.training.detectors.layers import Layer, c2psa, c3k2, concat, conv, sppf, upsample
from tercelet.training.detectors.options import AnchorFreeOptions
from tercelet.training.detectors.scaling import Scale

SCALES = {
    "n": Scale(0.5, 0.25, 1024),
    "s": Scale(0.5, 0.5, 1024),
    "m": Scale(0.5, 1.0, 512),
    "l": Scale(1.0, 1.0, 512),
    "x": Scale(1.0, 1.5, 512),
}


class YOLO11(AnchorFreeDetector):
    """yolo11n to yolo11x."""

    head_sources = (16, 19, 22)
    class_branch: ClassVar[Branch] = staticmethod(depthwise_branch)

    @classmethod
    def layer_table(cls, scale: str, options: AnchorFreeOptions) -> Sequence[Layer]:
        c, n = SCALES[scale].channels, SCALES[scale].repeats
        large = scale in "mlx"  # the larger scales have C3 blocks inside every C3k2
        return (
            conv(c(64), stride=2),  # 0
            conv(c(128), stride=2),
            c3k2(c(256), n(2), c3k=large, expansion=0.25),
            conv(c(256), stride=2),  # 3
            c3k2(c(512), n(2), c3k=large, expansion=0.25),
            conv(c(512), stride=2),  # 5
            c3k2(c(512), n(2), c3k=True),
            conv(c(1024), stride=2),  # 7
            c3k2(c(1024), n(2), c3k=True),
            sppf(c(1024)),
            c2psa(c(1024), n(2)),  # 10
            upsample(),
            concat(6),
            c3k2(c(512), n(2), c3k=large),  # 13
            upsample(),
            concat(4),
            c3k2(c(256), n(2), c3k=large),  # 16: P3
            conv(c(256), stride=2),
            concat(13),
            c3k2(c(512), n(2), c3k=large),  # 19: P4
            conv(c(512), stride=2),
            concat(10),
            c3k2(c(1024), n(2), c3k=True),  # 22: P5
        )
