"""The steps of a training: forward, loss, backward, and when the weights change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.training.detector_training.averaging import WeightAverage
from tercelet.training.detector_training.losses import AnchorFreeLoss, AnchorLoss, Sharing, loss_for
from tercelet.training.detector_training.optimizing import Schedule, make_optimizer
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.starting import freeze_layers, set_training_mode
from tercelet.training.detector_training.synchronised_norm import synchronise_batch_norm
from tercelet.training.detector_training.targets import Batch
from tercelet.training.detectors.detector import Detector

_AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
StepReport = Callable[[int, "EpochSums"], object]
"""Called after every step with the number of steps done in this epoch and the sums so far."""


@dataclass
class EpochSums:
    """What an epoch adds up to while it runs. seconds: in all; waited: of them for data."""

    names: tuple[str, ...]
    steps: int = 0
    images: int = 0
    objects: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    parts: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    @property
    def means(self) -> dict[str, float]:
        """Mean of each part of the loss over the steps."""
        return {n: float(v) for n, v in zip(self.names, self.parts / max(self.steps, 1), strict=True)}


class Fitting:
    """A network with all that changes it. `network` is what is trained, `average` what comes out."""

    def __init__(
        self, network: Detector, recipe: Recipe, processes: Processes, *, steps_per_epoch: int
    ) -> None:
        self.recipe, self.processes = recipe, processes
        self._steps_per_epoch = steps_per_epoch
        freeze_layers(network, recipe.freeze)
        network = network.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.average = WeightAverage(network, decay=recipe.ema_decay, ramp=recipe.ema_ramp)
        self.loss: AnchorFreeLoss | AnchorLoss = loss_for(network)
        self._wrapped = _wrapped(network, processes)
        self.optimizer = make_optimizer(
            network, recipe, steps=recipe.epochs * steps_per_epoch, classes=network.classes
        )
        self.schedule = Schedule(self.optimizer, recipe, steps_per_epoch=steps_per_epoch)
        uses_scaler = recipe.amp == "fp16" and processes.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=uses_scaler)
        self._sharing = Sharing(processes.count, processes.total)
        self.step = 0

    def epoch(self, batches: Iterable[Batch], epoch: int, report: StepReport) -> EpochSums:
        """Train on all batches of an epoch, counted from 0. CheckFailedError where the loss is not finite."""
        set_training_mode(self.network, self.recipe.freeze)
        sums = EpochSums(self.loss.names)
        start = perf_counter()
        pending = 0
        self.optimizer.zero_grad()
        for batch, waited in _timed(batches):
            wanted = self.schedule.set(self.step, epoch)
            pending += 1
            # The last step changes the weights too, with the gradients of fewer images.
            steps = pending >= wanted or sums.steps + 1 == self._steps_per_epoch
            parts = self._backward(batch, synchronised=steps)
            is_finite = bool(parts.isfinite().all())
            if steps and is_finite:
                is_finite = self._update()
                pending = 0
            if self.processes.any(not is_finite):
                raise CheckFailedError(self._diverged(epoch, sums.steps))
            self.step += 1
            sums.parts += parts
            sums.steps += 1
            sums.images += len(batch.images) * self.processes.count
            sums.objects += len(batch.targets.boxes)
            sums.waited += waited
            sums.seconds = perf_counter() - start
            report(sums.steps, sums)
        # The parts of each process differ; their mean is that of the whole batch.
        own = torch.cat((sums.parts, torch.tensor([float(sums.objects)], dtype=torch.float64)))
        joint = self.processes.total(own.to(self.processes.device)).cpu()
        sums.parts, sums.objects = joint[:-1] / self.processes.count, int(joint[-1])
        return sums

    def _backward(self, batch: Batch, *, synchronised: bool) -> Tensor:
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

    def _update(self) -> bool:
        """Change the weights by the gradients summed so far; False, unchanged, where these are not finite.

        With loss scaling that happens now and then and only lowers the scale.
        """
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm or math.inf)
        if not self.scaler.is_enabled() and not bool(norm.isfinite()):
            return False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.average.update(self.network)
        return True

    def _diverged(self, epoch: int, step: int) -> str:
        amp = "" if self.recipe.amp == "off" else f", or without amp ({self.recipe.amp})"
        return (
            f"epoch {epoch + 1}, step {step + 1}: loss or gradients are no finite numbers any more; look at "
            f"the data, and go on with --resume and a lower lr (now {self.schedule.rate:g}) or a longer "
            f"warm-up{amp}; what was reached before this epoch is kept"
        )


def prepared(batch: Batch, device: torch.device) -> tuple[Tensor, Any]:
    """Images as the network takes them, float32 in 0..1, and targets, both on the device."""
    images = batch.images.to(device, non_blocking=True)
    images = images.contiguous(memory_format=torch.channels_last).float().mul_(1 / 255)
    return images, batch.targets.to(device)


def autocast(recipe: Recipe, device: torch.device) -> Any:
    """The arithmetic that the recipe asks for."""
    if recipe.amp == "off":
        return nullcontext()
    return torch.autocast(device.type, _AMP_TYPES[recipe.amp])


def _wrapped(network: Detector, processes: Processes) -> nn.Module:
    if processes.count == 1:
        return network
    synchronise_batch_norm(network)
    devices = [processes.device.index] if processes.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices)


def _timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch, and how many seconds it kept us waiting."""
    iterator = iter(batches)
    while True:
        start = perf_counter()
        try:
            batch = next(iterator, None)
        except InputError as error:
            # A worker's error carries its whole traceback; what matters is its last line.
            raise InputError(
                str(error).strip().splitlines()[-1].partition("InputError: ")[2] or str(error)
            ) from error
        if batch is None:
            return
        yield batch, perf_counter() - start
