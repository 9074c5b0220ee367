"""The steps of a training of a point detector: forward, losses by VoteNet's names, backward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.stepping import StepFitting, autocast
from tercelet.training.detectors.imvotenet.detector import ImVoteNet, TowerPredictions
from tercelet.training.detectors.imvotenet.losses import LOSS_WEIGHTS, imvotenet_losses, votenet_losses
from tercelet.training.detectors.imvotenet.options import Pixels
from tercelet.training.detectors.imvotenet.targets import SceneTargets
from tercelet.training.detectors.point_detector import PointDetector
from tercelet.training.detectors.votenet.predictions import Predictions
from tercelet.training.point_training.samples import RoomBatch


class PointFitting(StepFitting[PointDetector, RoomBatch]):
    """A point detector with all that changes it."""

    names = tuple(LOSS_WEIGHTS)

    def __init__(
        self, network: PointDetector, recipe: Recipe, processes: Processes, *, steps_per_epoch: int
    ) -> None:
        super().__init__(network, recipe, processes, steps_per_epoch=steps_per_epoch)
        self._yaw_bins = int(network.options["yaw_bins"])

    def set_mode(self) -> None:
        """The network into training mode; a Faster R-CNN inside stays as it is."""
        self.network.train()

    def counts(self, batch: RoomBatch) -> tuple[int, int]:
        """Rooms and boxes."""
        return len(batch.inputs[0]), batch.boxes

    def backward(self, batch: RoomBatch, *, synchronised: bool) -> Tensor:
        """Add the gradients of a batch. Losses are float32 whatever the network computes in."""
        device = self.processes.device
        inputs = [tensor.to(device, non_blocking=True) for tensor in batch.inputs]
        targets = SceneTargets(*(tensor.to(device, non_blocking=True) for tensor in batch.targets))
        with autocast(self.recipe, device):
            found = self.network(*inputs)
        losses = room_losses(found, targets, yaw_bins=self._yaw_bins)
        parts = torch.stack([losses[name] for name in self.names])
        self.scaler.scale(parts.sum()).backward()  # type: ignore[no-untyped-call]
        return parts.detach().double().cpu()


def room_losses(
    found: Predictions | TowerPredictions, targets: SceneTargets, *, yaw_bins: int
) -> dict[str, Tensor]:
    """Each loss of what a network in training mode predicts, by the names of `LOSS_WEIGHTS`, weighted."""
    if isinstance(found, TowerPredictions):
        towers = TowerPredictions(*(_in_float32(tower) for tower in found))
        return imvotenet_losses(towers, targets, yaw_bins=yaw_bins)
    if not isinstance(found, Predictions):
        raise InputError("losses: expected what a network in training mode predicts, got decoded proposals")
    return votenet_losses(_in_float32(found), targets, yaw_bins=yaw_bins)


def pixels_of(network: PointDetector) -> Pixels | None:
    """How it is told the pixels of points; None where it looks at no picture."""
    return network.pixels if isinstance(network, ImVoteNet) else None


def mean_sizes_of(network: PointDetector) -> Sequence[Sequence[float]]:
    """(C, 3) metres: the sizes that a network's are told as a share of."""
    sides = network.options["mean_sizes"]
    return [sides[start : start + 3] for start in range(0, len(sides), 3)]


def _in_float32(found: Predictions) -> Predictions:
    return Predictions(*(part.float() if part.is_floating_point() else part for part in found))
