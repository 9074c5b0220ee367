"""Which loss a detector is trained with."""

from __future__ import annotations

from dataclasses import replace

from tercelet.contract.errors import InputError
from tercelet.training.detector_training.losses.anchor_free_loss import AnchorFreeLoss
from tercelet.training.detector_training.losses.anchor_loss import AnchorLoss
from tercelet.training.detectors.anchor_free_head import AnchorFreeHead
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.yolov5.head import AnchorHead


def loss_for(
    detector: Detector, *, gains: tuple[float, float, float] | None = None
) -> AnchorFreeLoss | AnchorLoss:
    """The loss that reads what the detector's head gives; gains in the order of its `names`, None: its own.

    InputError if the head is of another kind.
    """
    head = detector.head
    if isinstance(head, AnchorFreeHead):
        found = AnchorFreeLoss(strides=detector.strides, classes=detector.classes)
        return found if gains is None else replace(found, gains=gains)
    if isinstance(head, AnchorHead):
        anchors = head.anchors.detach().float().clone()
        other = AnchorLoss(anchors=anchors, strides=detector.strides, classes=detector.classes)
        return other if gains is None else replace(other, gains=gains)
    raise InputError(
        f"{detector.detector}: expected a head of YOLOv5, or of YOLOv8 and its successors, "
        f"got {type(head).__name__}; there is no loss for it"
    )
