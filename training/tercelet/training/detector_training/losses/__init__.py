"""Training losses of the 2D detectors: what their heads give before decoding, against `Targets`."""

from __future__ import annotations

from tercelet.training.detector_training.losses.anchor_free_loss import AnchorFreeLoss
from tercelet.training.detector_training.losses.anchor_loss import AnchorLoss
from tercelet.training.detector_training.losses.choice import loss_for
from tercelet.training.detector_training.losses.value import LossValue, Sharing

__all__ = ["AnchorFreeLoss", "AnchorLoss", "LossValue", "Sharing", "loss_for"]
