"""The steps of a training of a detector of pictures: forward, loss, backward."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tercelet.training.detector_training.losses import AnchorFreeLoss, AnchorLoss, Sharing, loss_for
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.starting import freeze_layers, set_training_mode
from tercelet.training.detector_training.stepping import StepFitting, autocast
from tercelet.training.detector_training.synchronised_norm import synchronise_batch_norm
from tercelet.training.detector_training.targets import Batch
from tercelet.training.detectors.detector import Detector


class Fitting(StepFitting[Detector, Batch]):
    """A detector of pictures with all that changes it."""

    def __init__(
        self, network: Detector, recipe: Recipe, processes: Processes, *, steps_per_epoch: int
    ) -> None:
        freeze_layers(network, recipe.freeze)
        super().__init__(network, recipe, processes, steps_per_epoch=steps_per_epoch)
        self.loss: AnchorFreeLoss | AnchorLoss = loss_for(self.network)
        self.names = self.loss.names
        self._wrapped = _wrapped(self.network, processes)
        self._sharing = Sharing(processes.count, processes.total)

    def set_mode(self) -> None:
        """All but frozen layers into training mode."""
        set_training_mode(self.network, self.recipe.freeze)

    def counts(self, batch: Batch) -> tuple[int, int]:
        """Images and boxes."""
        return len(batch.images), len(batch.targets.boxes)

    def backward(self, batch: Batch, *, synchronised: bool) -> Tensor:
        """Add the gradients of a batch; the parts of its loss, float64 on the CPU."""
        images, targets = prepared(batch, self.processes.device)
        height, width = images.shape[2:]
        wrapped = self._wrapped
        waiting: Any = nullcontext()
        if isinstance(wrapped, DistributedDataParallel) and not synchronised:
            waiting = wrapped.no_sync()
        with waiting:
            with autocast(self.recipe, self.processes.device):
                outputs = wrapped(images)
            found = self.loss(outputs, targets, height=height, width=width, sharing=self._sharing)
            self.scaler.scale(found.total * self.processes.count).backward()  # type: ignore[no-untyped-call]
        return found.parts.detach().double().cpu()


def prepared(batch: Batch, device: torch.device) -> tuple[Tensor, Any]:
    """Images as the network takes them, float32 in 0..1, and targets, both on the device."""
    images = batch.images.to(device, non_blocking=True)
    images = images.contiguous(memory_format=torch.channels_last).float().mul_(1 / 255)
    return images, batch.targets.to(device)


def _wrapped(network: Detector, processes: Processes) -> nn.Module:
    if processes.count == 1:
        return network
    synchronise_batch_norm(network)
    devices = [processes.device.index] if processes.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices)
