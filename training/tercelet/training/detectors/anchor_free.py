"""What the families with an anchor-free head share: options, and how they are read from a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from tercelet.training.detectors.anchor_free_head import (
    AnchorFreeHead,
    Branch,
    conv_branch,
    default_class_width,
)
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.options import AnchorFreeOptions


class AnchorFreeDetector(Detector):
    """A detector whose head is an `AnchorFreeHead`; a family says which branches it has."""

    options_type: ClassVar[type[AnchorFreeOptions]] = AnchorFreeOptions

    box_branch: ClassVar[Branch] = staticmethod(conv_branch)
    class_branch: ClassVar[Branch] = staticmethod(conv_branch)

    @classmethod
    def resolved_options(cls, options: AnchorFreeOptions, channels: tuple[int, ...]) -> AnchorFreeOptions:
        width = options.class_width or default_class_width(channels, options.classes)
        return replace(options, class_width=width)

    @classmethod
    def make_head(
        cls, channels: tuple[int, ...], strides: tuple[int, ...], options: AnchorFreeOptions
    ) -> AnchorFreeHead:
        assert options.class_width is not None
        return AnchorFreeHead(
            channels,
            strides,
            classes=options.classes,
            class_width=options.class_width,
            box_branch=cls.box_branch,
            class_branch=cls.class_branch,
        )

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        # The last convolution of the first class branch: (classes, class_width, 1, 1) in every family.
        last = state.get(f"model.{cls.head_sources[-1] + 1}.cv3.0.2.weight")
        if last is None or last.ndim != 4 or 0 in last.shape:
            return {}
        return {"classes": last.shape[0], "class_width": last.shape[1]}
