"""The state of an unfinished training on disk, from which it goes on as if nothing had happened.

A folder beside the output: tensors in a safetensors file, numbers in state.json (with the sha256 of the
tensors), the table of epochs. Written after every epoch under other names and then renamed, the JSON last, so
that a process that is killed at any moment leaves the state of the epoch before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from tercelet.contract.errors import InputError
from tercelet.training.detector_training.averaging import WeightAverage

STATE_FILE = "state.json"
_VERSION = 1
_CHANGEABLE = (
    *("threads", "epochs", "lr", "last_lr", "batch", "nominal_batch", "clip_norm", "warmup_epochs", "amp"),
    *("patience", "validate_every", "close_mosaic"),
)


@dataclass(frozen=True)
class Progress:
    """epoch: finished so far. step: over all epochs. best_epoch, best_ap: 0 and -1 before a first validation.

    data: identity of the data. recipe: as a mapping. updates: of the running average.
    """

    epoch: int
    step: int
    updates: int
    best_epoch: int
    best_ap: float
    data: str
    detector: str
    recipe: Mapping[str, Any]
    tensors: str = ""
    tensors_sha256: str = ""
    scaler: Mapping[str, Any] = field(default_factory=dict)
    version: int = _VERSION


def save_state(
    folder: Path,
    progress: Progress,
    *,
    network: nn.Module,
    average: WeightAverage[Any],
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
) -> None:
    """Write everything that `load_state` needs; the state before stays until this one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, kept in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{index}.{name}": value for name, value in kept.items() if isinstance(value, Tensor)
        }
    data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    name = f"state-{progress.epoch}.safetensors"
    _replace(folder / name, data)
    numbers = asdict(progress) | {"tensors": name, "tensors_sha256": hashlib.sha256(data).hexdigest()}
    _replace(folder / STATE_FILE, json.dumps(numbers, indent=1).encode())
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def has_state(folder: Path) -> bool:
    """Whether an unfinished training lies there."""
    return (folder / STATE_FILE).is_file()


def read_progress(folder: Path) -> Progress:
    """The numbers of the state; InputError where they cannot be read."""
    path = folder / STATE_FILE
    try:
        progress = Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: expected the state of a training, got {error}; delete {folder}") from error
    if progress.version != _VERSION:
        raise InputError(f"{path}: expected a state of version {_VERSION}, got {progress.version}")
    return progress


def check_same_training(
    progress: Progress, recipe: Mapping[str, Any], *, detector: str, data: str, folder: Path
) -> tuple[str, ...]:
    """InputError unless the state belongs to this very training.

    What may be changed to get out of trouble, or to train longer, may differ: its names are returned.
    """
    if progress.detector != detector:
        raise InputError(f"{folder}: is a training of {progress.detector}, got {detector}")
    if progress.data != data:
        raise InputError(
            f"{folder}: was trained on other data, or the data has changed; start anew without it"
        )
    now = json.loads(json.dumps(dict(recipe)))
    different = tuple(name for name, value in progress.recipe.items() if now.get(name) != value)
    for name in different:
        if name == "weights_before":
            raise InputError(
                f"{folder}: began from other weights; give the same --init (or none), seed and classes as "
                "then, or start anew with --overwrite"
            )
        if name not in _CHANGEABLE:
            raise InputError(
                f"{folder}: {name} was {progress.recipe[name]!r} when it began, got {now.get(name)!r}; "
                "repeat the options of then, or start anew with --overwrite"
            )
    return different


def load_state(
    folder: Path,
    progress: Progress,
    *,
    network: nn.Module,
    average: WeightAverage[Any],
    optimizer: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    """Put everything back in its place and return the best weights; InputError for a damaged file."""
    path = folder / progress.tensors
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != progress.tensors_sha256:
        raise InputError(f"{path}: is damaged or missing; delete {folder} and start anew")
    tensors = load(data)
    network.load_state_dict(_below(tensors, "network."))
    average.network.load_state_dict(_below(tensors, "average."))
    average.updates = progress.updates
    state = optimizer.state_dict()
    for name, value in _below(tensors, "optimizer.").items():
        index, _, part = name.partition(".")
        state["state"].setdefault(int(index), {})[part] = value
    if isinstance(optimizer, torch.optim.SGD):
        for kept in state["state"].values():
            kept.setdefault("momentum_buffer", None)
    optimizer.load_state_dict(state)
    return _below(tensors, "best.")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
