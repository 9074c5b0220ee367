"""The verb `train` for detectors: frames with boxes in, a checkpoint with its card and curves out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch

from tercelet.contract.artefact import check_output_free
from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.evaluation.class_mapping import ClassMap
from tercelet.evaluation.datasets import DatasetFormat
from tercelet.training.dataset_checks import check_dataset
from tercelet.training.detector_training.data import TrainingData, open_training_data
from tercelet.training.detector_training.finishing import Finished, finish_training
from tercelet.training.detector_training.memory import memory_advice
from tercelet.training.detector_training.processes import Processes, started_processes
from tercelet.training.detector_training.recipe import CacheName, Recipe
from tercelet.training.detector_training.records.epoch_rows import EpochRow
from tercelet.training.detector_training.running import Run, run_epochs
from tercelet.training.detector_training.samples import Augmentation, Windows
from tercelet.training.detector_training.starting import start_detector
from tercelet.training.detector_training.state import has_state
from tercelet.training.detectors.families import find_family

_LEAST_WORKERS = 0


@dataclass(frozen=True)
class TrainedDetector:
    """output: the checkpoint. rows: what each epoch gave. best_epoch: whose weights were written. ap, ap50:
    theirs on the validation views, which hold `objects`. leads: whether this process wrote it (see torchrun);
    the others have no figures."""

    output: Path
    rows: tuple[EpochRow, ...]
    best_epoch: int
    ap: float
    ap50: float
    objects: int
    seconds: float
    leads: bool = True

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "output": str(self.output), "rows": [asdict(row) for row in self.rows]}


def train_detector(
    detector: str,
    *,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    val: str | Path | None = None,
    recipe: Recipe | None = None,
    augmentation: Augmentation | None = None,
    windows: Windows | None = None,
    format: DatasetFormat | None = None,
    images: str | Path | None = None,
    split: str = "train",
    class_map: str | Path | ClassMap | None = None,
    init: str | Path | None = None,
    device: str = "cpu",
    workers: int = 2,
    cache: CacheName = "off",
    stored: Literal["fp32", "fp16"] = "fp32",
    licence: str | None = None,
    resume: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    tensorboard: str | Path | None = None,
    report: Callable[[str], object] | None = None,
) -> TrainedDetector:
    """Train a detector; write the weights of the epoch with the highest AP, with curves, pictures and a card.

    data, val, format, images, split, class_map: see `open_training_data`; a COCO, YOLO or VisDrone data set,
    several are joined. recipe, augmentation, windows: the defaults of each. init: a checkpoint or weight file
    of the same network, whose classes may be others. device: cpu or cuda; under torchrun every process takes
    its share of each batch. workers: processes that prepare images, for each process. cache: decoded frames
    in memory or on disk. stored: precision of the weight file. resume: go on with the training of this output
    that was interrupted: its state lies in OUTPUT.training until the end. strict: refuse data with problems
    that would otherwise be reported. report: gets a line now and then.
    The same arguments on the same machine with the same number of threads give the same weights, resumed or
    not. Raises InputError, MissingDependencyError, or CheckFailedError where the training diverges or memory
    runs out; what was reached before that epoch is kept for `resume`.
    """
    recipe, say = recipe or Recipe(), report or (lambda line: None)
    start = perf_counter()
    _check_request(detector, device=device, workers=workers)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    with started_processes(device) as processes:
        _check_shares(recipe, processes)
        output = check_output_free(output, kind="checkpoint", overwrite=overwrite)
        folder = output.with_name(output.name + ".training")
        _check_folder(folder, resume=resume, overwrite=overwrite, leads=processes.leads)
        say = say if processes.leads else (lambda line: None)
        opened = open_training_data(
            data, val=val, format=format, images=images, split=split, class_map=class_map
        )
        _report_data(opened, strict=strict, say=say)
        torch.manual_seed(recipe.seed)
        begun = start_detector(detector, classes=len(opened.labels), init=init)
        begun.detector.check_size(recipe.height, recipe.width)
        say(begun.text())
        run = Run(
            data=opened,
            recipe=recipe,
            augmentation=augmentation or Augmentation(),
            windows=windows,
            processes=processes,
            folder=folder,
            workers=workers,
            cache=cache,
            tensorboard=None if tensorboard is None else Path(tensorboard),
        )
        with memory_advice(recipe, folder):
            reached = run_epochs(run, begun.detector, resume=resume, say=say)
        if not processes.leads:
            processes.wait()
            return TrainedDetector(output, reached.rows, reached.best_epoch, 0.0, 0.0, 0, 0.0, leads=False)
        finished = finish_training(
            run,
            reached,
            output=output,
            start=begun,
            stored=stored,
            licence=licence,
            seconds=perf_counter() - start,
            overwrite=overwrite,
        )
        shutil.rmtree(folder)
        processes.wait()
        return _trained(output, reached.rows, reached.best_epoch, finished, seconds=perf_counter() - start)


def _trained(
    output: Path, rows: tuple[EpochRow, ...], best_epoch: int, finished: Finished, *, seconds: float
) -> TrainedDetector:
    return TrainedDetector(
        output=output,
        rows=rows,
        best_epoch=best_epoch,
        ap=finished.validation.ap,
        ap50=finished.validation.ap50,
        objects=finished.validation.result.ground_truth,
        seconds=seconds,
    )


def _check_request(detector: str, *, device: str, workers: int) -> None:
    family, _ = find_family(detector)
    if family.kind != "detector":
        raise InputError(f"{detector}: expected a detector, got a density network; use train_density")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device: expected cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError("device cuda was asked for, but torch finds none here; use cpu")
    if workers < _LEAST_WORKERS:
        raise InputError(f"workers: expected 0 or more, got {workers}")


def _check_shares(recipe: Recipe, processes: Processes) -> None:
    if recipe.batch % processes.count:
        raise InputError(
            f"batch: expected a multiple of the {processes.count} processes, got {recipe.batch}; "
            "each takes its share"
        )


def _check_folder(folder: Path, *, resume: bool, overwrite: bool, leads: bool) -> None:
    """Settle what happens to the state of an earlier training of this output."""
    if resume and not has_state(folder):
        raise InputError(
            f"{folder}: expected the state of an interrupted training there, got none; start without resume"
        )
    if not resume and has_state(folder):
        if not overwrite:
            raise InputError(
                f"{folder}: an interrupted training lies there; go on with it with --resume, "
                "or start anew with --overwrite"
            )
        if leads:
            shutil.rmtree(folder)


def _report_data(data: TrainingData, *, strict: bool, say: Callable[[str], object]) -> None:
    for dataset in data.training:
        found = check_dataset(dataset, against=data.validation)
        if found.problems:
            say(found.text())
        found.raise_problems(strict=strict)
