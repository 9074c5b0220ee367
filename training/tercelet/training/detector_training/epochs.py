"""All epochs of any training: train, validate, write down, save the state; until the end or an early one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, ClassVar, Generic

from torch import Tensor

from tercelet.training.detector_training.records.curves import CURVES_FILE, save_curves
from tercelet.training.detector_training.records.epoch_rows import (
    RESULTS_FILE,
    EpochRow,
    PrecisionName,
    ResultsFile,
)
from tercelet.training.detector_training.state import (
    Progress,
    check_same_training,
    load_state,
    read_progress,
    save_state,
)
from tercelet.training.detector_training.stepping import EpochSums, Given, StepFitting, Trained

# Without a terminal that could show a bar, a line now and then says that it is alive.
_LINE_SECONDS = 20.0
Say = Callable[[str], object]


@dataclass(frozen=True)
class EpochPlan:
    """folder: for the state and what people look at meanwhile. identity: of the data. record: everything that
    decides what comes out, JSON-ready."""

    folder: Path
    identity: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class EpochsEnd:
    """Where the epochs ended. weights: the best ones, those of best_epoch."""

    rows: tuple[EpochRow, ...]
    best_epoch: int
    weights: dict[str, Tensor]
    is_early: bool


class EpochLoop(ABC, Generic[Trained, Given]):
    """The state that the epochs hand on to each other. What a kind of network does its own way is abstract.

    images_word: what there are so many a second of. precisions: names of the figures of an epoch, the one
    that tells which epoch is best last.
    """

    images_word: ClassVar[str]
    precisions: ClassVar[tuple[PrecisionName, ...]]

    def __init__(
        self,
        fitting: StepFitting[Trained, Given],
        plan: EpochPlan,
        *,
        steps_per_epoch: int,
        resume: bool,
        say: Say,
    ) -> None:
        self.fitting: StepFitting[Trained, Given] = fitting
        self._plan, self._say = plan, say
        self._recipe, self._leads = fitting.recipe, fitting.processes.leads
        self._steps_per_epoch = steps_per_epoch
        self._epoch, self._best_epoch, self._best_ap = 0, 0, -1.0
        self._best: dict[str, Tensor] = {}
        if resume:
            self._resume()
        self._results = (
            ResultsFile(
                plan.folder / RESULTS_FILE,
                parts=fitting.names,
                precisions=self.precisions,
                resume_after=self._epoch,
            )
            if self._leads
            else None
        )

    @abstractmethod
    def batches(self, epoch: int) -> Iterable[Given]:
        """What an epoch, counted from 0, is trained on."""

    @abstractmethod
    def judged(self, network: Trained) -> Mapping[PrecisionName, float]:
        """The figures of the averaged weights, by the names of `precisions`."""

    def noted(self, row: EpochRow) -> None:
        """An epoch is over and written down."""

    def run(self) -> EpochsEnd:
        """All epochs that are left."""
        early = self._is_over()
        while self._epoch < self._recipe.epochs and not early:
            row = self._one_epoch()
            if row is not None:
                self.noted(row)
            early = self._is_over()
        if early:
            self._say(f"no better AP for {self._recipe.patience} epochs: the training ends here")
        rows = self._results.rows if self._results is not None else ()
        return EpochsEnd(rows, self._best_epoch, self._best, early)

    def _is_over(self) -> bool:
        """Whether nothing has got better for the recipe's patience; the leader decides for all."""
        patience = self._recipe.patience
        waited = self._epoch - self._best_epoch
        has_best = bool(self._best) and self._epoch < self._recipe.epochs
        over = patience is not None and self._leads and has_best and waited >= patience
        return self.fitting.processes.any(over)

    def _one_epoch(self) -> EpochRow | None:
        start, number = perf_counter(), self._epoch
        sums = self.fitting.epoch(self.batches(number), number, self._reporter(number))
        self._epoch += 1
        if not self._leads:
            return None
        figures = self._validate()
        row = EpochRow(
            epoch=self._epoch,
            seconds=perf_counter() - start,
            images_per_second=sums.images / max(sums.seconds, 1e-9),
            data_wait=sums.waited / max(sums.seconds, 1e-9),
            lr=self.fitting.schedule.rate,
            losses=sums.means,
            loss=sum(sums.means.values()),
            objects=sums.objects,
            **{name: figures.get(name) for name in self.precisions},
        )
        assert self._results is not None
        # In this order: a row without a state is dropped when it goes on, a state without a row is not.
        self._results.append(row)
        self._save()
        save_curves(self._results.rows, self._plan.folder / CURVES_FILE, images_word=self.images_word)
        self._say(self._line(row))
        return row

    def _validate(self) -> Mapping[PrecisionName, float]:
        """The figures of the averaged weights where they are due; the best are kept."""
        if self._epoch % self._recipe.validate_every and self._epoch != self._recipe.epochs:
            return {}
        network = self.fitting.average.network
        found = self.judged(network)
        ap = found[self.precisions[-1]]
        # While nothing is found, the later weights are the better ones.
        if ap > self._best_ap or self._best_ap <= 0:
            self._best_ap, self._best_epoch = ap, self._epoch
            self._best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return found

    def _reporter(self, epoch: int) -> Callable[[int, EpochSums], None]:
        total, shown = self._steps_per_epoch, monotonic()

        def report(step: int, sums: EpochSums) -> None:
            nonlocal shown
            if monotonic() - shown < _LINE_SECONDS:
                return
            shown = monotonic()
            speed = sums.images / max(sums.seconds, 1e-9)
            left = (total - step) * sums.seconds / step
            self._say(
                f"  epoch {epoch + 1}/{self._recipe.epochs}, step {step}/{total}: {_parts(sums.means)}; "
                f"{speed:.1f} {self.images_word}/s, {left:.0f} s left in this epoch"
            )

        return report

    def _line(self, row: EpochRow) -> str:
        known = [(name, getattr(row, name)) for name in self.precisions]
        figures = ", ".join(f"{name.upper()} {value:.3f}" for name, value in known if value is not None)
        return (
            f"epoch {row.epoch}/{self._recipe.epochs}: {_parts(row.losses)}; {figures or 'not validated'}; "
            f"{row.images_per_second:.1f} {self.images_word}/s, {row.data_wait:.1%} waiting for data, "
            f"{row.seconds:.0f} s"
        )

    def _save(self) -> None:
        fitting = self.fitting
        progress = Progress(
            epoch=self._epoch,
            step=fitting.step,
            updates=fitting.average.updates,
            best_epoch=self._best_epoch,
            best_ap=self._best_ap,
            data=self._plan.identity,
            detector=fitting.network.detector,
            recipe=self._plan.record,
            scaler=fitting.scaler.state_dict(),
        )
        save_state(
            self._plan.folder,
            progress,
            network=fitting.network,
            average=fitting.average,
            optimizer=fitting.optimizer,
            best=self._best,
        )

    def _resume(self) -> None:
        plan, fitting = self._plan, self.fitting
        progress = read_progress(plan.folder)
        changed = check_same_training(
            progress,
            plan.record,
            detector=fitting.network.detector,
            data=plan.identity,
            folder=plan.folder,
        )
        self._best = load_state(
            plan.folder,
            progress,
            network=fitting.network,
            average=fitting.average,
            optimizer=fitting.optimizer,
        )
        fitting.step = progress.step
        if progress.scaler:
            fitting.scaler.load_state_dict(dict(progress.scaler))
        self._epoch, self._best_epoch, self._best_ap = progress.epoch, progress.best_epoch, progress.best_ap
        self._say(f"goes on after epoch {progress.epoch} of {self._recipe.epochs}")
        if changed:
            self._say(f"from here on with another {', '.join(changed)} than before")


def _parts(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
