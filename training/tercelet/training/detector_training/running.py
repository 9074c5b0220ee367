"""All epochs of a training: train, validate, write down, save the state; until the end or an early one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from torch import Tensor

from tercelet.training.detector_training.data import TrainingData
from tercelet.training.detector_training.fitting import EpochSums, Fitting
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import CacheName, Recipe
from tercelet.training.detector_training.records.curves import save_curves
from tercelet.training.detector_training.records.epoch_rows import RESULTS_FILE, EpochRow, ResultsFile
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
from tercelet.training.detector_training.state import (
    Progress,
    check_same_training,
    load_state,
    read_progress,
    save_state,
)
from tercelet.training.detector_training.validating import validate
from tercelet.training.detectors.detector import Detector

CURVES_FILE = "curves.png"
_CACHE_FOLDER = "frames"
# Without a terminal that could show a bar, a line now and then says that it is alive.
_LINE_SECONDS = 20.0
Say = Callable[[str], object]


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
    return _Epochs(run, detector, resume=resume, say=say).run()


class _Epochs:
    """The state that the epochs hand on to each other."""

    def __init__(self, run: Run, detector: Detector, *, resume: bool, say: Say) -> None:
        self._run, self._say = run, say
        self._leads = run.processes.leads
        run.folder.mkdir(parents=True, exist_ok=True)
        self._batches = _loader(run)
        self._views = run.views() if self._leads else ()
        self._fitting = Fitting(detector, run.recipe, run.processes, steps_per_epoch=len(self._batches))
        self._identity = run.data.identity()
        self._epoch, self._best_epoch, self._best_ap = 0, 0, -1.0
        self._best: dict[str, Tensor] = {}
        if resume:
            self._resume(detector.detector)
        self._results = (
            ResultsFile(run.folder / RESULTS_FILE, parts=self._fitting.loss.names, resume_after=self._epoch)
            if self._leads
            else None
        )

    def run(self) -> Reached:
        """All epochs that are left."""
        run, early = self._run, self._is_over()
        log = TensorBoardLog(run.tensorboard) if self._leads and run.tensorboard else None
        try:
            while self._epoch < run.recipe.epochs and not early:
                row = self._one_epoch()
                if log is not None and row is not None:
                    log.add(row)
                early = self._is_over()
        finally:
            if log is not None:
                log.close()
        if early:
            self._say(f"no better AP for {run.recipe.patience} epochs: the training ends here")
        rows = self._results.rows if self._results is not None else ()
        return Reached(self._fitting.network, rows, self._best_epoch, self._best, self._views, early)

    def _is_over(self) -> bool:
        """Whether nothing has got better for the recipe's patience; the leader decides for all."""
        patience = self._run.recipe.patience
        waited = self._epoch - self._best_epoch
        has_best = bool(self._best) and self._epoch < self._run.recipe.epochs
        over = patience is not None and self._leads and has_best and waited >= patience
        return self._run.processes.any(over)

    def _one_epoch(self) -> EpochRow | None:
        run, start = self._run, perf_counter()
        number = self._epoch
        mosaic = number < run.recipe.epochs - run.recipe.close_mosaic
        batches = self._batches.epoch(number, mosaic=mosaic)
        sums = self._fitting.epoch(batches, number, self._reporter(number))
        self._epoch += 1
        if not self._leads:
            return None
        ap, ap50 = self._validate()
        row = EpochRow(
            epoch=self._epoch,
            seconds=perf_counter() - start,
            images_per_second=sums.images / max(sums.seconds, 1e-9),
            data_wait=sums.waited / max(sums.seconds, 1e-9),
            lr=self._fitting.schedule.rate,
            losses=sums.means,
            loss=sum(sums.means.values()),
            ap50=ap50,
            ap=ap,
            objects=sums.objects,
        )
        assert self._results is not None
        # In this order: a row without a state is dropped when it goes on, a state without a row is not.
        self._results.append(row)
        self._save()
        save_curves(self._results.rows, run.folder / CURVES_FILE)
        self._say(_line(row, run.recipe.epochs))
        return row

    def _validate(self) -> tuple[float | None, float | None]:
        """AP and AP50 of the averaged weights where they are due; the best are kept."""
        recipe = self._run.recipe
        if self._epoch % recipe.validate_every and self._epoch != recipe.epochs:
            return None, None
        network = self._fitting.average.network
        found = validate(
            network,
            self._views,
            labels=self._run.data.labels,
            batch=max(recipe.batch // self._run.processes.count, 1),
            device=self._run.processes.device,
        )
        # While nothing is found, the later weights are the better ones.
        if found.ap > self._best_ap or self._best_ap <= 0:
            self._best_ap, self._best_epoch = found.ap, self._epoch
            self._best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return found.ap, found.ap50

    def _reporter(self, epoch: int) -> Callable[[int, EpochSums], None]:
        total, shown = len(self._batches), monotonic()

        def report(step: int, sums: EpochSums) -> None:
            nonlocal shown
            if monotonic() - shown < _LINE_SECONDS:
                return
            shown = monotonic()
            parts = ", ".join(f"{name} {value:.3f}" for name, value in sums.means.items())
            speed = sums.images / max(sums.seconds, 1e-9)
            left = (total - step) * sums.seconds / step
            self._say(
                f"  epoch {epoch + 1}/{self._run.recipe.epochs}, step {step}/{total}: {parts}; "
                f"{speed:.1f} images/s, {left:.0f} s left in this epoch"
            )

        return report

    def _save(self) -> None:
        fitting = self._fitting
        progress = Progress(
            epoch=self._epoch,
            step=fitting.step,
            updates=fitting.average.updates,
            best_epoch=self._best_epoch,
            best_ap=self._best_ap,
            data=self._identity,
            detector=fitting.network.detector,
            recipe=self._run.recipe_record(),
            scaler=fitting.scaler.state_dict(),
        )
        save_state(
            self._run.folder,
            progress,
            network=fitting.network,
            average=fitting.average,
            optimizer=fitting.optimizer,
            best=self._best,
        )

    def _resume(self, detector: str) -> None:
        run, fitting = self._run, self._fitting
        progress = read_progress(run.folder)
        changed = check_same_training(
            progress, run.recipe_record(), detector=detector, data=self._identity, folder=run.folder
        )
        self._best = load_state(
            run.folder,
            progress,
            network=fitting.network,
            average=fitting.average,
            optimizer=fitting.optimizer,
        )
        fitting.step = progress.step
        if progress.scaler:
            fitting.scaler.load_state_dict(dict(progress.scaler))
        self._epoch, self._best_epoch, self._best_ap = progress.epoch, progress.best_epoch, progress.best_ap
        self._say(f"goes on after epoch {progress.epoch} of {run.recipe.epochs}")
        if changed:
            self._say(f"from here on with another {', '.join(changed)} than before")


def _loader(run: Run) -> SampleLoader:
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


def _line(row: EpochRow, epochs: int) -> str:
    parts = ", ".join(f"{name} {value:.3f}" for name, value in row.losses.items())
    figures = "not validated" if row.ap is None else f"AP50 {row.ap50:.3f}, AP {row.ap:.3f}"
    return (
        f"epoch {row.epoch}/{epochs}: {parts}; {figures}; {row.images_per_second:.1f} images/s, "
        f"{row.data_wait:.1%} waiting for data, {row.seconds:.0f} s"
    )
