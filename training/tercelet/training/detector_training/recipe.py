"""All numbers of a training but the data: what `tercelet train` takes and a model card states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tercelet.contract.errors import InputError

OptimizerName = Literal["auto", "sgd", "adamw"]
ScheduleName = Literal["linear", "cosine"]
AmpName = Literal["off", "bf16", "fp16"]
CacheName = Literal["off", "ram", "disk"]

# Up to so many steps AdamW gets further than SGD; beyond it SGD ends better.
ADAMW_STEPS = 10_000
_COUNTS = ("epochs", "batch", "height", "width", "patience", "nominal_batch", "threads")
_RATES = ("lr", "last_lr", "momentum", "weight_decay", "warmup_epochs", "ema_decay", "ema_ramp", "clip_norm")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Defaults are those of the YOLOv5 and YOLOv8 trainings, as far as they agree.

    height, width: of the canvas in pixels. batch: images a step over all processes. nominal_batch: gradients
    are summed over steps until about so many images have been seen; weight decay is meant for it.
    optimizer: auto takes AdamW for up to 10,000 steps and SGD beyond. lr: None takes 0.01 for SGD and
    0.01 / (4 + classes) for AdamW. last_lr: the schedule ends at this share of lr. warmup_epochs: at least
    100 steps. ema_decay, ema_ramp: the averaged weights keep ema_decay * (1 - exp(-updates / ema_ramp)) of
    themselves at an update. amp: arithmetic inside the network, off, bf16 or fp16. offset_lr: factor on
    the learning rate of AKConv's offsets. close_mosaic: last epochs without mosaic. patience: epochs without
    a better AP after which it ends, None for never. validate_every: epochs. threads: of the CPU, a process.
    """

    epochs: int = 100
    batch: int = 16
    height: int = 640
    width: int = 640
    optimizer: OptimizerName = "auto"
    lr: float | None = None
    last_lr: float = 0.01
    schedule: ScheduleName = "linear"
    momentum: float = 0.937
    weight_decay: float = 5e-4
    warmup_epochs: float = 3.0
    nominal_batch: int = 64
    ema_decay: float = 0.9999
    ema_ramp: float = 2000.0
    clip_norm: float = 10.0
    amp: AmpName = "off"
    offset_lr: float = 1.0
    close_mosaic: int = 10
    patience: int | None = None
    validate_every: int = 1
    freeze: int = 0
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected at least 1, got {value}")
        for name in (*_RATES, "offset_lr"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name}: expected a number of 0 or more, got {value}")
        for name in ("close_mosaic", "freeze", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        for name in ("momentum", "ema_decay"):
            if getattr(self, name) >= 1:
                raise InputError(f"{name}: expected a number below 1, got {getattr(self, name)}")
        _check_choice("optimizer", self.optimizer, ("auto", "sgd", "adamw"))
        _check_choice("schedule", self.schedule, ("linear", "cosine"))
        _check_choice("amp", self.amp, ("off", "bf16", "fp16"))
        if self.validate_every < 1:
            raise InputError(f"validate_every: expected at least 1, got {self.validate_every}")

    @property
    def accumulation(self) -> int:
        """Steps whose gradients are summed before the weights change, once the warm-up is over."""
        return max(round(self.nominal_batch / self.batch), 1)

    def optimizer_for(self, steps: int) -> Literal["sgd", "adamw"]:
        """Which optimizer `auto` means for a training of so many steps."""
        if self.optimizer == "auto":
            return "adamw" if steps <= ADAMW_STEPS else "sgd"
        return self.optimizer

    def rate(self, *, steps: int, classes: int) -> float:
        """The learning rate after the warm-up."""
        if self.lr is not None:
            return self.lr
        return 0.01 if self.optimizer_for(steps) == "sgd" else round(0.01 / (4 + classes), 6)

    def factor(self, epoch: int) -> float:
        """What the learning rate of an epoch, counted from 0, is of the highest."""
        done = min(epoch / self.epochs, 1.0)
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * done)) / 2 * (1 - self.last_lr) + self.last_lr
        return (1 - done) * (1 - self.last_lr) + self.last_lr


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
