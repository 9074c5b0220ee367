"""What a training starts from: fresh weights, or those of another network as far as they match."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from tercelet.contract.errors import InputError
from tercelet.training.building import build
from tercelet.training.checkpoint import load_checkpoint
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.point_detector import PointDetector
from tercelet.training.importing.weights import read_weights
from tercelet.training.loading import load_upstream

_COUNTER = "num_batches_tracked"
# Fewer matching numbers than this share and the file is not that network's.
_LEAST_MATCHED = 0.5
Begun = TypeVar("Begun", Detector, PointDetector)


@dataclass(frozen=True)
class Start(Generic[Begun]):
    """detector: in training mode. loaded: names of tensors taken over, fresh: those drawn anew, unused: those
    of the source that have no place.

    source: what they were taken from, None where everything is fresh. size: height and width in pixels that
    the source works at, licence: that of its weights; None where nobody says.
    """

    detector: Begun
    loaded: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    source: str | None = None
    size: tuple[int, int] | None = None
    licence: str | None = None

    def sha256(self) -> str:
        """Hex sha256 of all tensors before the training, so that one that goes on is known to be the same."""
        digest = hashlib.sha256(repr(sorted(self.detector.options.items())).encode())
        for name, value in self.detector.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def text(self) -> str:
        """One line on what was taken over and what not."""
        if self.source is None:
            return f"{self.detector.detector}: all weights drawn anew"
        line = f"from {self.source}: {len(self.loaded)} tensors taken over, {len(self.fresh)} drawn anew"
        named = ", ".join(sorted({name.rpartition(".")[0] for name in self.fresh}))
        return f"{line}: {named}" if named else line


def start_detector(
    detector: str, *, classes: int, init: str | Path | None, options: Mapping[str, Any] | None = None
) -> Start[Detector]:
    """The network to train, for `classes` classes.

    init: a checkpoint's folder or a weight file of the same network, whose classes may be others: every
    tensor of the same name and shape is taken over, the others are drawn anew and named. options: of the
    detector besides classes; None takes those of init. InputError where less than half of init fits.
    """
    if init is None:
        network = build(detector, classes=classes, **(options or {}))
        return Start(_detector(network, detector))
    source, size, licence = _source(detector, Path(init))
    kept = {name: value for name, value in source.options.items() if name != "classes"}
    network = _detector(build(detector, classes=classes, **{**kept, **(options or {})}), detector)
    taken = taken_over(network, source.state_dict(), source=Path(init).name)
    return replace(taken, size=size, licence=licence)


def _source(detector: str, path: Path) -> tuple[Detector, tuple[int, int] | None, str | None]:
    if path.is_dir():
        found, manifest = load_checkpoint(path)
        if found.detector != detector:
            raise InputError(f"{path}: expected a checkpoint of {detector}, got one of {found.detector}")
        canvas = (manifest.preprocess.height, manifest.preprocess.width)
        return _detector(found, detector), canvas, manifest.provenance.licence
    read = read_weights(path, names=False)
    size = None if read.image_size is None else (read.image_size, read.image_size)
    return _detector(load_upstream(detector, read.state), detector), size, read.licence


def _detector(network: nn.Module, name: str) -> Detector:
    if not isinstance(network, Detector):
        raise InputError(f"{name}: expected a detector, got a density network")
    return network.train()


def taken_over(network: Begun, state: Mapping[str, Tensor], *, source: str) -> Start[Begun]:
    """The network with every tensor of a state that has its name and shape here; InputError where less than
    half of it fits."""
    own = network.state_dict()
    matching = {
        name: value for name, value in state.items() if name in own and own[name].shape == value.shape
    }
    taken = sum(value.numel() for value in matching.values())
    if taken < _LEAST_MATCHED * sum(value.numel() for value in own.values()):
        raise InputError(
            f"{source}: only {len(matching)} of {len(own)} tensors fit {network.detector}; "
            "expected weights of the same network"
        )
    with torch.no_grad():
        for name, value in matching.items():
            own[name].copy_(value)
    return Start(
        network,
        loaded=tuple(matching),
        fresh=tuple(n for n in own if n not in matching and not n.endswith(_COUNTER)),
        unused=tuple(n for n in state if n not in matching),
        source=source,
    )


def check_frozen(detector: Detector, count: int) -> None:
    """InputError where freezing so many layers would leave nothing to train."""
    layers = len(detector.model)
    if count >= layers:
        raise InputError(f"freeze: expected at most {layers - 1} of {layers} layers, got {count}")


def freeze_layers(detector: Detector, count: int) -> tuple[str, ...]:
    """Let the first `count` layers of the table keep their weights; their names.

    Their batch normalisation keeps its statistics too (see `set_training_mode`). Errors as `check_frozen`.
    """
    check_frozen(detector, count)
    for layer in detector.model[:count]:
        layer.requires_grad_(False)
    return tuple(f"model.{index}" for index in range(count))


def set_training_mode(detector: Detector, frozen: int) -> None:
    """Training mode, but eval mode for the frozen layers, whose statistics must not move."""
    detector.train()
    for layer in detector.model[:frozen]:
        layer.eval()
