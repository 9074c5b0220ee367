"""YOLOv5.

Paper: none by its authors; cited as Jocher, "YOLOv5 by Ultralytics", 2020, doi:10.5281/zenodo.3908559.
Compatible with: the weights of ultralytics/yolov5 v6.0 to v7.0 (yolov5n.pt to yolov5x.pt, and fine-tuned
models). Releases before v6.0 have other layers; the P6 models (yolov5n6 and so on) are not covered.
Upstream's licence: AGPL-3.0 (v6.x: GPL-3.0), weights included. Nothing is copied; written from the facts.
Deliberate differences: boxes come out as corners with objectness times class as score, without non-maximum
suppression; strides follow from the layer table; anchors are an option in pixels (the state holds units of
the stride) and are never recomputed silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.layers import Layer, plan_layers
from tercelet.training.detectors.yolov5.head import AnchorHead
from tercelet.training.detectors.yolov5.options import AnchorOptions
from tercelet.training.detectors.yolov5.trunk import HEAD_SOURCES, SCALES, trunk


class YOLOv5(Detector):
    """yolov5n to yolov5x."""

    options_type: ClassVar[type[AnchorOptions]] = AnchorOptions
    head_sources = HEAD_SOURCES
    suppression_iou = 0.45
    ignored_buffers = ("model.24.anchor_grid",)  # v6.0: the anchors once more, in pixels

    @classmethod
    def layer_table(cls, scale: str, options: AnchorOptions) -> Sequence[Layer]:
        return trunk(SCALES[scale])

    @classmethod
    def resolved_options(cls, options: AnchorOptions, channels: tuple[int, ...]) -> AnchorOptions:
        return options

    @classmethod
    def make_head(
        cls, channels: tuple[int, ...], strides: tuple[int, ...], options: AnchorOptions
    ) -> AnchorHead:
        return AnchorHead(channels, strides, classes=options.classes, anchors=options.anchors)

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        anchors, last = state.get("model.24.anchors"), state.get("model.24.m.0.weight")
        if anchors is None or last is None or anchors.ndim != 3 or anchors.shape[::2] != (3, 2):
            return {}
        numbers, rest = divmod(last.shape[0], anchors.shape[1])
        if rest or numbers < 6:
            raise InputError(
                f"model.24.m.0.weight: expected {anchors.shape[1]} anchors x (5 + classes) rows, "
                f"got shape {tuple(last.shape)}; the weights are not those of a YOLOv5 detector"
            )
        plan = plan_layers(trunk(SCALES["n"]))
        pixels = [
            [[side * plan.strides[source] for side in pair] for pair in level]
            for level, source in zip(anchors.tolist(), cls.head_sources, strict=True)
        ]
        return {"classes": numbers - 5, "anchors": pixels}
