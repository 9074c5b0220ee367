"""Optimizers with their groups of parameters, and how their rates rise and fall."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detectors.akconv import AKConv

# During the warm-up of SGD the biases come down from this rate while everything else rises.
_BIAS_RATE = 0.1
_FIRST_MOMENTUM = 0.8


def parameter_groups(network: nn.Module) -> Iterator[tuple[str, list[nn.Parameter]]]:
    """The trainable parameters by kind: weights (which decay), norms, biases, offsets (of AKConv)."""
    offsets = {
        id(parameter)
        for part in network.modules()
        if isinstance(part, AKConv)
        for parameter in part.p_conv.parameters()
    }
    found: dict[str, list[nn.Parameter]] = {"weights": [], "norms": [], "biases": [], "offsets": []}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in offsets:
            found["offsets"].append(parameter)
        elif name.endswith("bias"):
            found["biases"].append(parameter)
        else:
            found["norms" if parameter.ndim < 2 else "weights"].append(parameter)
    return ((kind, parameters) for kind, parameters in found.items() if parameters)


def make_optimizer(network: nn.Module, recipe: Recipe, *, steps: int, classes: int) -> torch.optim.Optimizer:
    """The recipe's optimizer; each group keeps its kind as `kind` and its highest rate as `initial_lr`."""
    rate = recipe.rate(steps=steps, classes=classes)
    decay = recipe.weight_decay * recipe.batch * recipe.accumulation / recipe.nominal_batch
    groups = [
        {
            "params": parameters,
            "kind": kind,
            "initial_lr": rate * (recipe.offset_lr if kind == "offsets" else 1.0),
            "weight_decay": decay if kind == "weights" else 0.0,
        }
        for kind, parameters in parameter_groups(network)
    ]
    if recipe.optimizer_for(steps) == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=True)
    return torch.optim.AdamW(groups, lr=rate, betas=(recipe.momentum, 0.999))


class Schedule:
    """Sets rates and momentum before every step."""

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, *, steps_per_epoch: int) -> None:
        self._optimizer = optimizer
        self._recipe = recipe
        wanted = round(recipe.warmup_epochs * steps_per_epoch)
        # A short training must not be all warm-up.
        longest = max(recipe.epochs * steps_per_epoch // 2, 1)
        self.warmup_steps = min(max(wanted, 100), longest) if recipe.warmup_epochs > 0 else 0

    def set(self, step: int, epoch: int) -> int:
        """Rates for a step, counted from 0 over all epochs; the number of steps whose gradients to sum."""
        factor, accumulation = self._recipe.factor(epoch), self._recipe.accumulation
        share = 1.0 if step >= self.warmup_steps else step / self.warmup_steps
        is_sgd = isinstance(self._optimizer, torch.optim.SGD)
        for group in self._optimizer.param_groups:
            start = _BIAS_RATE if is_sgd and group["kind"] == "biases" else 0.0
            group["lr"] = start + share * (group["initial_lr"] * factor - start)
            momentum = _FIRST_MOMENTUM + share * (self._recipe.momentum - _FIRST_MOMENTUM)
            if is_sgd:
                group["momentum"] = momentum
            else:
                group["betas"] = (momentum, group["betas"][1])
        return max(round(1 + share * (accumulation - 1)), 1)

    @property
    def rate(self) -> float:
        """The rate of the weights right now."""
        return float(self._optimizer.param_groups[0]["lr"])
