"""Faster R-CNN: proposals of the whole image, each looked at again and named.

Paper: Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", NeurIPS
2015. Compatible with: weights of mmdetection (Apache-2.0), faster_rcnn_r50_caffe_fpn. Nothing is copied;
written from the facts of the architecture. Deliberate differences: it detects only, so its batch norms stay
in eval mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tercelet.contract.errors import InputError
from tercelet.training.detectors.faster_rcnn.boxes import boxes_from_deltas, kept_by_group
from tercelet.training.detectors.faster_rcnn.proposals import RPNHead, proposals_from_outputs
from tercelet.training.detectors.faster_rcnn.roi_align import SIDE, roi_features
from tercelet.training.detectors.faster_rcnn.trunk import PYRAMID_CHANNELS, FeaturePyramid, ResNet50

BGR_MEAN = (103.530, 116.280, 123.675)
"""What is subtracted from the channels of an image of 0..255, blue first."""
SIZE_MULTIPLE = 32
_WIDTH = 1024
_DEVIATIONS = (0.1, 0.1, 0.2, 0.2)


@dataclass(frozen=True)
class DetectionOptions:
    """score: least score of a detection. iou: above which the lesser of two boxes of a class goes.

    most: detections an image. The defaults are those of ImVoteNet's second stage.
    """

    score: float = 0.1
    iou: float = 0.5
    most: int = 100


class BoxHead(nn.Module):
    """Features (n, 256, 7, 7) -> logits (n, classes + 1), background last, and deltas (n, 4 * classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(_WIDTH, classes + 1)
        self.fc_reg = nn.Linear(_WIDTH, 4 * classes)
        inputs = PYRAMID_CHANNELS * SIDE * SIDE
        self.shared_fcs = nn.ModuleList((nn.Linear(inputs, _WIDTH), nn.Linear(_WIDTH, _WIDTH)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = features.flatten(1)
        for layer in self.shared_fcs:
            x = functional.relu(layer(x))
        return self.fc_cls(x), self.fc_reg(x)


class RoIHead(nn.Module):
    """The second look at proposals; its box head goes by the name `bbox_head`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bbox_head = BoxHead(classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.bbox_head(features)
        return found


@dataclass(frozen=True)
class Parts:
    """The modules of a Faster R-CNN, whatever names they have in the network that holds them."""

    backbone: nn.Module
    neck: nn.Module
    rpn_head: nn.Module
    roi_head: nn.Module


def make_parts(classes: int) -> Parts:
    """Fresh modules, batch norms in eval mode."""
    return Parts(ResNet50().eval(), FeaturePyramid(), RPNHead(), RoIHead(classes))


@torch.no_grad()
def detect(
    parts: Parts, image: Tensor, *, size: tuple[int, int], options: DetectionOptions | None = None
) -> Tensor:
    """(K, 6) x1, y1, x2, y2 in pixels of `image`, score, class; best first.

    image: (1, 3, H, W) float32, BGR, `BGR_MEAN` taken off, padded with zeros at the right and the bottom to
    multiples of 32. size: its height and width without the padding, which boxes are cut to. InputError where
    they do not fit.
    """
    _check(image, size)
    levels = parts.neck(parts.backbone(image))
    proposals = proposals_from_outputs(*parts.rpn_head(levels), size=size)
    rois = functional.pad(proposals[:, :4], (1, 0))
    logits, deltas = parts.roi_head(roi_features(levels, rois))
    return detections_from_outputs(rois[:, 1:], logits, deltas, size=size, options=options)


def detections_from_outputs(
    boxes: Tensor,
    logits: Tensor,
    deltas: Tensor,
    *,
    size: tuple[int, int],
    options: DetectionOptions | None = None,
) -> Tensor:
    """Proposals (n, 4) and outputs of `RoIHead` -> (K, 6) x1, y1, x2, y2, score, class, best first.

    A proposal gives one box a class; boxes of a class suppress each other, those of others do not.
    """
    options = options or DetectionOptions()
    scores = logits.softmax(1)[:, :-1]
    proposal, label = (scores > options.score).nonzero(as_tuple=True)
    delta = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)[proposal, label]
    found = boxes_from_deltas(boxes[proposal], delta, deviations=_DEVIATIONS, size=size)
    score = scores[proposal, label]
    kept = kept_by_group(found, score, label, iou=options.iou)[: options.most]
    return torch.cat((found[kept], score[kept, None], label[kept, None].to(found.dtype)), 1)


class FasterRCNN(nn.Module):
    """module(image, size=(h, w)) -> detections, as `detect`. State names: backbone, neck, rpn_head, roi_head,
    as mmdetection has them."""

    def __init__(self, classes: int = 10, options: DetectionOptions | None = None) -> None:
        super().__init__()
        parts = make_parts(classes)
        self.backbone, self.neck = parts.backbone, parts.neck
        self.rpn_head, self.roi_head = parts.rpn_head, parts.roi_head
        self.detection = options or DetectionOptions()
        self.eval()

    @property
    def parts(self) -> Parts:
        """The modules."""
        return Parts(self.backbone, self.neck, self.rpn_head, self.roi_head)

    def train(self, mode: bool = True) -> FasterRCNN:
        """Stays in eval mode: statistics of its batch norms are never updated."""
        super().train(False)
        return self

    def forward(self, image: Tensor, *, size: tuple[int, int]) -> Tensor:
        return detect(self.parts, image, size=size, options=self.detection)


def _check(image: Tensor, size: tuple[int, int]) -> None:
    fits = image.ndim == 4 and image.shape[:2] == (1, 3) and image.is_floating_point()
    if not fits or any(side % SIZE_MULTIPLE or not side for side in image.shape[2:]):
        raise InputError(
            f"image: expected (1, 3, H, W) floats with sides that are multiples of {SIZE_MULTIPLE}, got "
            f"{tuple(image.shape)} of {image.dtype}; pad with zeros at the right and the bottom"
        )
    if not (0 < size[0] <= image.shape[2] and 0 < size[1] <= image.shape[3]):
        raise InputError(
            f"size: expected a height and a width of 1 to {tuple(image.shape[2:])}, got {tuple(size)}"
        )
