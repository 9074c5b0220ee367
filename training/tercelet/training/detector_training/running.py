"""The epochs of a detector of pictures: what they are trained on, and what they are judged by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tercelet.training.detector_training.data import TrainingData
from tercelet.training.detector_training.epochs import EpochLoop, EpochPlan, Say
from tercelet.training.detector_training.fitting import Fitting
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import CacheName, Recipe
from tercelet.training.detector_training.records.epoch_rows import EpochRow, PrecisionName
from tercelet.training.detector_training.records.pictures import SAMPLES_FILE, save_samples
from tercelet.training.detector_training.records.tensorboard_log import TensorBoardLog
from tercelet.training.detector_training.samples import (
    Augmentation,
    SampleLoader,
    SampleSource,
    ValidationView,
    Windows,
    loader,
    validation_views,
)
from tercelet.training.detector_training.targets import Batch
from tercelet.training.detector_training.validating import validate
from tercelet.training.detectors.detector import Detector

_CACHE_FOLDER = "frames"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What does not change from epoch to epoch. folder: for the state and what people look at meanwhile.
    weights_before: sha256 of what the training starts from."""

    data: TrainingData
    recipe: Recipe
    augmentation: Augmentation
    windows: Windows | None
    processes: Processes
    folder: Path
    workers: int
    cache: CacheName
    tensorboard: Path | None
    weights_before: str

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.recipe.height, self.recipe.width

    def recipe_record(self) -> dict[str, Any]:
        """Everything that decides what comes out, JSON-ready."""
        return {
            **asdict(self.recipe),
            "augmentation": asdict(self.augmentation),
            "windows": None if self.windows is None else asdict(self.windows),
            "processes": self.processes.count,
            "weights_before": self.weights_before,
        }

    def source(self) -> SampleSource:
        """The samples to train on."""
        return SampleSource(
            self.data.training,
            canvas=self.canvas,
            augmentation=self.augmentation,
            windows=self.windows,
            seed=self.recipe.seed,
            classes=self.data.mappings,
            cache=self.cache,
            cache_folder=self._cache_folder(),
        )

    def views(self) -> tuple[ValidationView, ...]:
        """The views to validate on."""
        return tuple(
            validation_views(
                self.data.validation,
                canvas=self.canvas,
                classes=self.data.validation_mapping,
                windows=self.windows,
                cache=self.cache,
                cache_folder=self._cache_folder(),
            )
        )

    def _cache_folder(self) -> Path | None:
        return self.folder / _CACHE_FOLDER if self.cache == "disk" else None


@dataclass(frozen=True)
class Reached:
    """Where a training ended. weights: the best ones, those of best_epoch. views: none but for the leader."""

    detector: Detector
    rows: tuple[EpochRow, ...]
    best_epoch: int
    weights: dict[str, Tensor]
    views: tuple[ValidationView, ...]
    is_early: bool


def run_epochs(run: Run, detector: Detector, *, resume: bool, say: Say) -> Reached:
    """Train until the recipe's end, or until nothing gets better for its patience."""
    run.folder.mkdir(parents=True, exist_ok=True)
    batches = _loader(run)
    fitting = Fitting(detector, run.recipe, run.processes, steps_per_epoch=len(batches))
    views = run.views() if run.processes.leads else ()
    log = TensorBoardLog(run.tensorboard) if run.processes.leads and run.tensorboard else None
    try:
        end = _Epochs(run, fitting, batches, views, log, resume=resume, say=say).run()
    finally:
        if log is not None:
            log.close()
    return Reached(fitting.network, end.rows, end.best_epoch, end.weights, views, end.is_early)


class _Epochs(EpochLoop[Detector, Batch]):
    """The epochs of a detector of pictures."""

    images_word = "images"
    precisions = ("ap50", "ap")

    def __init__(
        self,
        run: Run,
        fitting: Fitting,
        batches: SampleLoader[Batch],
        views: tuple[ValidationView, ...],
        log: TensorBoardLog | None,
        *,
        resume: bool,
        say: Say,
    ) -> None:
        self._run, self._batches, self._views, self._log = run, batches, views, log
        plan = EpochPlan(run.folder, run.data.identity(), run.recipe_record())
        super().__init__(fitting, plan, steps_per_epoch=len(batches), resume=resume, say=say)

    def batches(self, epoch: int) -> Iterable[Batch]:
        """Without mosaics in the last epochs."""
        mosaic = epoch < self._run.recipe.epochs - self._run.recipe.close_mosaic
        return self._batches.epoch(epoch, mosaic=mosaic)

    def judged(self, network: Detector) -> dict[PrecisionName, float]:
        """AP and AP50 on the validation views."""
        run = self._run
        found = validate(
            network,
            self._views,
            labels=run.data.labels,
            batch=max(run.recipe.batch // run.processes.count, 1),
            device=run.processes.device,
        )
        return {"ap50": found.ap50, "ap": found.ap}

    def noted(self, row: EpochRow) -> None:
        """Into TensorBoard's events, where they are wanted."""
        if self._log is not None:
            self._log.add(row)


def _loader(run: Run) -> SampleLoader[Batch]:
    """The batches of this process; a sheet of the first ones is written for people to look at."""
    source = run.source()
    # With fewer samples than a batch holds, the one batch of an epoch is what there is.
    batches = loader(
        source,
        batch=run.recipe.batch,
        workers=run.workers,
        rank=run.processes.rank,
        processes=run.processes.count,
        drop_last=len(source) >= run.recipe.batch,
        pin_memory=run.processes.device.type == "cuda",
    )
    if run.processes.leads:
        first = loader(source, batch=min(16, len(source)), workers=0, drop_last=False)
        save_samples(next(first.epoch(0)), run.folder / SAMPLES_FILE, labels=run.data.labels)
    return batches
