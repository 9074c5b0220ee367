"""YOLO11 with SEAM or MultiSEAM inside each branch of the head.

Paper: Yu et al., "YOLO-FaceV2: A Scale and Occlusion Aware Face Detector", arXiv:2208.02019 (the modules);
YOLO11 as in its own folder.
Compatible with: YOLO11 models of ultralytics 8.3 and 8.4 whose head is the Detect_SEAM or Detect_MultiSEAM
that circulates as a modification of it.
Upstream's licence: ultralytics AGPL-3.0, YOLO-FaceV2 none. Nothing is copied; written from the facts.
Deliberate differences: from YOLO-FaceV2, as the circulating heads have it, the modules stand inside the
head's branches instead of before it, MultiSEAM has SiLU instead of GELU and patches 3, 5, 7 on P3 to P5.
From the circulating heads: sizes and batches that MultiSEAM cannot take are refused with a sentence.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from tercelet.contract.errors import InputError
from tercelet.training.detectors.anchor_free_head import Branch
from tercelet.training.detectors.blocks import Conv
from tercelet.training.detectors.options import AnchorFreeOptions
from tercelet.training.detectors.yolo11.detector import YOLO11
from tercelet.training.detectors.yolo11_seam.seam import PATCHES, REDUCTION, SEAM, MultiSEAM


def seam_branch(inputs: int, width: int, outputs: int) -> nn.Module:
    """A 3x3 convolution, SEAM, a 1x1 convolution."""
    return nn.Sequential(Conv(inputs, width, 3), SEAM(width), nn.Conv2d(width, outputs, 1))


def multiseam_branch(inputs: int, width: int, outputs: int) -> nn.Module:
    """A 3x3 convolution, MultiSEAM, a 1x1 convolution."""
    return nn.Sequential(Conv(inputs, width, 3), MultiSEAM(width), nn.Conv2d(width, outputs, 1))


class YOLO11SEAM(YOLO11):
    """yolo11n-seam to yolo11x-seam; class_width is at least 16: the gate has a sixteenth of it inside."""

    box_branch: ClassVar[Branch] = staticmethod(seam_branch)
    class_branch: ClassVar[Branch] = staticmethod(seam_branch)

    @classmethod
    def resolved_options(cls, options: AnchorFreeOptions, channels: tuple[int, ...]) -> AnchorFreeOptions:
        resolved = super().resolved_options(options, channels)
        if (resolved.class_width or 0) < REDUCTION:
            raise InputError(f"class_width: expected at least {REDUCTION}, got {resolved.class_width}")
        return resolved


class YOLO11MultiSEAM(YOLO11SEAM):
    """yolo11n-multiseam to yolo11x-multiseam: at least 224 pixels a side. Training on one image needs 448."""

    minimum_size = max(PATCHES) * 32
    box_branch: ClassVar[Branch] = staticmethod(multiseam_branch)
    class_branch: ClassVar[Branch] = staticmethod(multiseam_branch)

    def forward(self, images: Tensor) -> Any:
        if self.training and images.ndim == 4:
            self._check_batch(*images.shape)
        return super().forward(images)

    def _check_batch(self, batch: int, _: int, height: int, width: int) -> None:
        if batch == 1 and max(height, width) < 2 * self.minimum_size:
            raise InputError(
                f"{self.detector}: expected two images or more to train on at {height}x{width}, got one: its "
                "stride-32 map is a single patch, which has no variance; raise the batch or the size"
            )

    def _too_small(self, height: int, width: int) -> str:
        size = max(PATCHES)
        return (
            f"{super()._too_small(height, width)}: MultiSEAM cuts the stride-32 map into {size}x{size} "
            f"patches; use a larger size or {self.detector.replace('multi', '')}"
        )
