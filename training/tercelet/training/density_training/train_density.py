"""The verb `train` for density networks: VisDrone frames in, a checkpoint out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from tercelet.contract.artefact import check_output_free
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import Provenance
from tercelet.training.building import build
from tercelet.training.checkpoint import load_checkpoint, write_checkpoint
from tercelet.training.density_training.frames import (
    LabelledFrame,
    frames_from_visdrone,
    identity_of_frames,
    read_pixels,
)
from tercelet.training.density_training.loss import density_loss
from tercelet.training.density_training.results import (
    RESULTS_FILE,
    EpochResult,
    csv_from_results,
    line_from_result,
)
from tercelet.training.density_training.truth import density_from_centres, weights_without
from tercelet.training.density_training.validation import images_from_bgr, validate
from tercelet.training.density_training.views import View, random_view
from tercelet.training.detectors.density_net import DENSITY_LABELS, DensityNet
from tercelet.training.detectors.families import detector_names, find_family
from tercelet.training.importing.weights import read_weights
from tercelet.training.loading import load_upstream

# Without a folder to validate on, every eighth frame is held back.
_HELD_BACK = 8
# The learning rate falls along half a cosine to this part of where it started.
_LAST_RATE = 0.02
_LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class TrainedDensity:
    """output: the checkpoint. epochs: what each one gave. best: the one whose weights were written."""

    output: Path
    epochs: tuple[EpochResult, ...]
    best: EpochResult


@dataclass(frozen=True)
class _Settings:
    epochs: int
    height: int
    width: int
    seed: int
    batch: int
    lr: float
    sigma: float
    device: str


def train_density(
    detector: str,
    *,
    data: str | Path,
    output: str | Path,
    val: str | Path | None = None,
    epochs: int = 30,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    batch: int = 8,
    lr: float | None = None,
    sigma: float = 6.0,
    init: str | Path | None = None,
    device: str = "cpu",
    licence: str | None = None,
    overwrite: bool = False,
    report: Callable[[str], object] | None = None,
) -> TrainedDensity:
    """Train a density network on VisDrone frames and write the epoch with the smallest count error.

    data, val: folders with images/ and annotations/; without val every eighth frame of data (the last of
    fewer than eight) is held back. size: canvas side, or (height, width), in pixels; None takes that of
    `init`, or what the network recommends. batch: random views of frames a step. lr: of Adam, falling along a
    cosine; None takes the network's. sigma: standard deviation of an object's Gaussian in canvas pixels.
    init: a checkpoint or a weight file to start from. The same arguments give the same weights on the same
    machine and number of threads. licence: of the weights made. report: gets a line an epoch.
    Raises InputError, MissingDependencyError, or CheckFailedError where the training diverges; then nothing
    is left on disk.
    """
    output = check_output_free(output, kind="checkpoint", overwrite=overwrite)
    _check_request(detector, epochs=epochs, batch=batch, lr=lr, sigma=sigma, device=device)
    training, validation = _split(data, val)
    torch.manual_seed(seed)
    network, canvas = _network(detector, init)
    height, width = canvas if size is None else (size, size) if isinstance(size, int) else size
    network.check_size(height, width)
    settings = _Settings(
        epochs, height, width, seed, batch, network.learning_rate if lr is None else lr, sigma, device
    )
    rows, best, weights = _run(
        network.to(device), training, validation, settings, report or (lambda line: None)
    )
    network.load_state_dict(weights)
    write_checkpoint(
        output,
        network.cpu().eval(),
        labels=DENSITY_LABELS,
        provenance=_provenance(data, training, settings, best, init=init, licence=licence),
        canvas=(height, width),
        notes={RESULTS_FILE: csv_from_results(rows)},
        overwrite=overwrite,
    )
    return TrainedDensity(output, tuple(rows), best)


def _check_request(
    detector: str, *, epochs: int, batch: int, lr: float | None, sigma: float, device: str
) -> None:
    family, _ = find_family(detector)
    if family.kind != "density":
        raise InputError(
            f"{detector}: expected a density network ({', '.join(detector_names('density'))}); detectors are "
            "trained by train_detector"
        )
    for name, count in (("epochs", epochs), ("batch", batch)):
        if count < 1:
            raise InputError(f"{name}: expected at least 1, got {count}")
    for name, number in (("lr", lr), ("sigma", sigma)):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise InputError(f"{name}: expected a number above 0, got {number}")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device: expected cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError("device cuda was asked for, but torch finds none here; use cpu")


def _split(
    data: str | Path, val: str | Path | None
) -> tuple[tuple[LabelledFrame, ...], tuple[LabelledFrame, ...]]:
    frames = frames_from_visdrone(data)
    if val is not None:
        return frames, frames_from_visdrone(val)
    if len(frames) < 2:
        raise InputError(
            f"{data}: expected at least 2 frames, one of them to validate on, got {len(frames)}; "
            "name a folder to validate on with val"
        )
    held = set(range(len(frames))[_HELD_BACK - 1 :: _HELD_BACK]) or {len(frames) - 1}
    kept = tuple(frame for index, frame in enumerate(frames) if index not in held)
    return kept, tuple(frames[index] for index in sorted(held))


def _network(detector: str, init: str | Path | None) -> tuple[DensityNet, tuple[int, int]]:
    """The network to start from and the canvas that it was made for."""
    if init is None:
        network = build(detector)
    elif Path(init).is_dir():
        network, manifest = load_checkpoint(init)
        if network.detector != detector:
            raise InputError(f"{init}: expected a checkpoint of {detector}, got one of {network.detector}")
        assert isinstance(network, DensityNet)
        return network, (manifest.preprocess.height, manifest.preprocess.width)
    else:
        network = load_upstream(detector, read_weights(init, names=False).state)
    assert isinstance(network, DensityNet)
    return network, network.default_canvas


def _run(
    network: DensityNet,
    training: Sequence[LabelledFrame],
    validation: Sequence[LabelledFrame],
    settings: _Settings,
    report: Callable[[str], object],
) -> tuple[list[EpochResult], EpochResult, dict[str, torch.Tensor]]:
    """All epochs, the best of them, and its weights."""
    steps = settings.epochs * -(-len(training) // settings.batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, settings.lr * _LAST_RATE)
    rows: list[EpochResult] = []
    best: EpochResult | None = None
    weights: dict[str, torch.Tensor] = {}
    for epoch in range(1, settings.epochs + 1):
        start = perf_counter()
        loss = _train_epoch(network, training, settings, epoch, optimizer, schedule)
        figures = validate(network.eval(), validation, height=settings.height, width=settings.width)
        row = EpochResult(
            epoch=epoch,
            loss=loss,
            lr=float(schedule.get_last_lr()[0]),
            count_error=figures.count_error,
            objects=figures.objects,
            coverage=figures.coverage,
            seconds=perf_counter() - start,
        )
        report(line_from_result(row, epochs=settings.epochs))
        rows.append(row)
        if best is None or row.count_error < best.count_error:
            best, weights = row, copy.deepcopy(network.state_dict())
    assert best is not None
    return rows, best, weights


def _train_epoch(
    network: DensityNet,
    frames: Sequence[LabelledFrame],
    settings: _Settings,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over the frames in random order; the mean loss of its steps."""
    network.train()
    generator = np.random.default_rng((settings.seed, epoch))
    order = generator.permutation(len(frames))
    losses = []
    for first in range(0, len(order), settings.batch):
        views = [
            random_view(
                read_pixels(frames[index]),
                frames[index],
                height=settings.height,
                width=settings.width,
                generator=generator,
            )
            for index in order[first : first + settings.batch]
        ]
        loss = _loss_of(network, views, settings)
        if not bool(loss.isfinite()):
            raise CheckFailedError(
                f"epoch {epoch}: the loss is no finite number any more; nothing was written, lower the lr "
                f"({settings.lr:g})"
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def _loss_of(network: DensityNet, views: Sequence[View], settings: _Settings) -> torch.Tensor:
    cell = network.cell
    rows, columns = settings.height // cell, settings.width // cell
    truth = np.stack(
        [
            density_from_centres(view.centres, rows=rows, columns=columns, cell=cell, sigma=settings.sigma)
            for view in views
        ]
    )
    weights = np.stack([weights_without(v.ignored, rows=rows, columns=columns, cell=cell) for v in views])
    images = images_from_bgr(np.stack([view.canvas for view in views])).to(settings.device)
    density = network(images)[:, 0]
    return density_loss(
        density, torch.from_numpy(truth).to(settings.device), torch.from_numpy(weights).to(settings.device)
    )


def _provenance(
    data: str | Path,
    frames: Sequence[LabelledFrame],
    settings: _Settings,
    best: EpochResult,
    *,
    init: str | Path | None,
    licence: str | None,
) -> Provenance:
    """Source and sha256 are those of the training data; how it was done is in `producer`."""
    start = "" if init is None else f" from {Path(init).name}"
    return Provenance(
        source=f"{Path(data).resolve().name} ({len(frames)} frames)",
        sha256=identity_of_frames(frames),
        format="trained",
        licence=licence,
        producer=(
            f"tercelet {version('tercelet')}, epoch {best.epoch} of {settings.epochs}{start}: "
            f"canvas {settings.height}x{settings.width}, batch {settings.batch}, lr {settings.lr:g}, "
            f"sigma {settings.sigma:g} px, seed {settings.seed}; count off by {best.count_error:.1f} of "
            f"{best.objects:.1f}"
        ),
    )
