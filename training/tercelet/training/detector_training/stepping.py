"""The steps of any training: when the weights change, what an epoch adds up to, and what is no loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.training.detector_training.averaging import WeightAverage
from tercelet.training.detector_training.optimizing import Schedule, make_optimizer
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.point_detector import PointDetector

_AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
Trained = TypeVar("Trained", Detector, PointDetector)
Given = TypeVar("Given")
StepReport = Callable[[int, "EpochSums"], object]
"""Called after every step with the number of steps done in this epoch and the sums so far."""


@dataclass
class EpochSums:
    """What an epoch adds up to while it runs. images: frames or rooms. seconds: in all; waited: of them for
    data."""

    names: tuple[str, ...]
    steps: int = 0
    images: int = 0
    objects: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    parts: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.parts = torch.zeros(len(self.names), dtype=torch.float64)

    @property
    def means(self) -> dict[str, float]:
        """Mean of each part of the loss over the steps."""
        return {n: float(v) for n, v in zip(self.names, self.parts / max(self.steps, 1), strict=True)}


class StepFitting(ABC, Generic[Trained, Given]):
    """A network with all that changes it. `network` is what is trained, `average` what comes out."""

    names: tuple[str, ...]
    """The parts of the loss."""

    def __init__(
        self, network: Trained, recipe: Recipe, processes: Processes, *, steps_per_epoch: int
    ) -> None:
        self.recipe, self.processes = recipe, processes
        self._steps_per_epoch = steps_per_epoch
        self.network: Trained = network.to(  # type: ignore[call-overload]
            processes.device, memory_format=torch.channels_last
        )
        self.average: WeightAverage[Trained] = WeightAverage(
            self.network, decay=recipe.ema_decay, ramp=recipe.ema_ramp
        )
        self.optimizer = make_optimizer(
            self.network, recipe, steps=recipe.epochs * steps_per_epoch, classes=network.classes
        )
        self.schedule = Schedule(self.optimizer, recipe, steps_per_epoch=steps_per_epoch)
        uses_scaler = recipe.amp == "fp16" and processes.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=uses_scaler)
        self.step = 0

    @abstractmethod
    def set_mode(self) -> None:
        """The network into training mode."""

    @abstractmethod
    def backward(self, batch: Given, *, synchronised: bool) -> Tensor:
        """Add the gradients of a batch; the parts of its loss, float64 on the CPU."""

    @abstractmethod
    def counts(self, batch: Given) -> tuple[int, int]:
        """How many frames or rooms this process has in a batch, and how many objects."""

    def epoch(self, batches: Iterable[Given], epoch: int, report: StepReport) -> EpochSums:
        """Train on all batches of an epoch, counted from 0. CheckFailedError where the loss is not finite."""
        self.set_mode()
        sums = EpochSums(self.names)
        start = perf_counter()
        pending = 0
        self.optimizer.zero_grad()
        for batch, waited in _timed(batches):
            wanted = self.schedule.set(self.step, epoch)
            pending += 1
            # The last step changes the weights too, with the gradients of fewer images.
            steps = pending >= wanted or sums.steps + 1 == self._steps_per_epoch
            parts = self.backward(batch, synchronised=steps)
            is_finite = bool(parts.isfinite().all())
            if steps and is_finite:
                is_finite = self._update()
                pending = 0
            if self.processes.any(not is_finite):
                raise CheckFailedError(self._diverged(epoch, sums.steps))
            self.step += 1
            images, objects = self.counts(batch)
            sums.parts += parts
            sums.steps += 1
            sums.images += images * self.processes.count
            sums.objects += objects
            sums.waited += waited
            sums.seconds = perf_counter() - start
            report(sums.steps, sums)
        # The parts of each process differ; their mean is that of the whole batch.
        own = torch.cat((sums.parts, torch.tensor([float(sums.objects)], dtype=torch.float64)))
        joint = self.processes.total(own.to(self.processes.device)).cpu()
        sums.parts, sums.objects = joint[:-1] / self.processes.count, int(joint[-1])
        return sums

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


def autocast(recipe: Recipe, device: torch.device) -> Any:
    """The arithmetic that the recipe asks for."""
    if recipe.amp == "off":
        return nullcontext()
    return torch.autocast(device.type, _AMP_TYPES[recipe.amp])


def _timed(batches: Iterable[Given]) -> Iterator[tuple[Given, float]]:
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
