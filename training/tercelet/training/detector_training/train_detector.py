"""The verb `train` for detectors: frames with boxes in, a checkpoint with its card and curves out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch

from tercelet.contract.artefact import check_output_free
from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.evaluation.class_mapping import ClassMap
from tercelet.evaluation.datasets import DatasetFormat
from tercelet.training.checkpoint import STORED
from tercelet.training.detector_training.data import DataPlaces, TrainingData
from tercelet.training.detector_training.data_checks import checked_data
from tercelet.training.detector_training.finishing import Finished, finish_training
from tercelet.training.detector_training.memory import memory_advice
from tercelet.training.detector_training.processes import Processes, started_processes
from tercelet.training.detector_training.recipe import CacheName, Recipe
from tercelet.training.detector_training.records.epoch_rows import RESULTS_FILE, EpochRow
from tercelet.training.detector_training.records.pictures import SAMPLES_FILE
from tercelet.training.detector_training.running import Reached, Run, run_epochs
from tercelet.training.detector_training.samples import Augmentation, Windows
from tercelet.training.detector_training.starting import Start, check_frozen, start_detector
from tercelet.training.detector_training.state import STATE_FILE, has_state
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.families import find_family


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
    options: Mapping[str, Any] | None = None,
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
    options: of the detector, such as anchors or grid, besides its classes.
    On one process on a CPU the same arguments with the same number of threads give the same weights, resumed
    or not. Raises InputError, MissingDependencyError, or CheckFailedError where the training diverges or
    memory runs out; what was reached before that epoch is kept for `resume`.
    """
    recipe, say = recipe or Recipe(), report or (lambda line: None)
    start = perf_counter()
    _check_request(detector, recipe, device=device, workers=workers, stored=stored)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    with started_processes(device) as processes:
        _check_shares(recipe, processes)
        output = check_output_free(output, kind="checkpoint", overwrite=overwrite)
        folder = output.with_name(output.name + ".training")
        events = None if tensorboard is None else Path(tensorboard)
        settle_folder(folder, events, processes, resume=resume, overwrite=overwrite)
        say = say if processes.leads else (lambda line: None)
        places = DataPlaces(data, val=val, format=format, images=images, split=split, class_map=class_map)
        opened = checked_data(places, strict=strict, say=say)
        torch.manual_seed(recipe.seed)
        begun = _started(detector, recipe, opened, init=init, options=options, say=say)
        run = Run(
            data=opened,
            recipe=recipe,
            augmentation=augmentation or Augmentation(),
            windows=windows,
            processes=processes,
            folder=folder,
            workers=workers,
            cache=cache,
            tensorboard=events,
            weights_before=begun.sha256(),
        )
        with memory_advice(recipe, folder):
            reached = run_epochs(run, begun.detector, resume=resume, say=say)
            finished = None
            if processes.leads:
                finished = finish_training(
                    run,
                    reached,
                    output=output,
                    start=begun,
                    stored=stored,
                    licence=licence,
                    overwrite=overwrite,
                )
                shutil.rmtree(folder)
        processes.wait()
        return _trained(output, reached, finished, seconds=perf_counter() - start)


def _trained(output: Path, reached: Reached, finished: Finished | None, *, seconds: float) -> TrainedDetector:
    return TrainedDetector(
        output=output,
        rows=reached.rows,
        best_epoch=reached.best_epoch,
        ap=0.0 if finished is None else finished.validation.ap,
        ap50=0.0 if finished is None else finished.validation.ap50,
        objects=0 if finished is None else finished.validation.result.ground_truth,
        seconds=seconds,
        leads=finished is not None,
    )


def _started(
    detector: str,
    recipe: Recipe,
    data: TrainingData,
    *,
    init: str | Path | None,
    options: Mapping[str, Any] | None,
    say: Callable[[str], object],
) -> Start[Detector]:
    """The network to train; sizes and frozen layers are checked against it."""
    begun = start_detector(detector, classes=len(data.labels), init=init, options=options)
    begun.detector.check_size(recipe.height, recipe.width)
    check_frozen(begun.detector, recipe.freeze)
    say(begun.text())
    if begun.size not in (None, (recipe.height, recipe.width)):
        height, width = begun.size
        say(
            f"it worked at {height}x{width} pixels so far; this training is at {recipe.height}x{recipe.width}"
        )
    return begun


def _check_request(detector: str, recipe: Recipe, *, device: str, workers: int, stored: str) -> None:
    family, _ = find_family(detector)
    if family.kind == "points":
        raise InputError(
            f"{detector}: expected a detector of pictures, got one of clouds of points; use train_points"
        )
    if family.kind != "detector":
        raise InputError(f"{detector}: expected a detector, got a density network; use train_density")
    check_device(device, recipe)
    if workers < 0:
        raise InputError(f"workers: expected 0 or more, got {workers}")
    if stored not in STORED:
        raise InputError(f"stored: expected one of {', '.join(STORED)}, got {stored!r}")


def check_device(device: str, recipe: Recipe) -> None:
    """InputError or MissingDependencyError for a device that cannot do what the recipe asks for."""
    if device not in ("cpu", "cuda"):
        raise InputError(f"device: expected cpu or cuda, got {device!r}")
    if device == "cpu" and recipe.amp == "fp16":
        raise InputError("amp: expected off or bf16 on a CPU, got fp16, whose gradients would vanish there")
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError("device cuda was asked for, but torch finds none here; use cpu")


def _check_shares(recipe: Recipe, processes: Processes) -> None:
    if recipe.batch % processes.count:
        raise InputError(
            f"batch: expected a multiple of the {processes.count} processes, got {recipe.batch}; "
            "each takes its share"
        )


def settle_folder(
    folder: Path, events: Path | None, processes: Processes, *, resume: bool, overwrite: bool
) -> None:
    """Settle what happens to what lies where this training keeps its state."""
    if events is not None and folder.resolve() in (events.resolve(), *events.resolve().parents):
        raise InputError(f"tensorboard: expected a folder outside {folder}, which is removed at the end")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and names and not names & {STATE_FILE, RESULTS_FILE, SAMPLES_FILE}:
        raise InputError(f"{folder}: expected no folder but that of a training, got another; move it away")
    if resume and not has_state(folder):
        raise InputError(
            f"{folder}: expected the state of an interrupted training there, got none; start without resume "
            "(on several machines the folder must be one that all of them see)"
        )
    if not resume and has_state(folder) and not overwrite:
        raise InputError(
            f"{folder}: an interrupted training lies there; go on with it with --resume, "
            "or start anew with --overwrite"
        )
    processes.wait()  # all have looked
    if not resume and folder.exists() and processes.leads:
        shutil.rmtree(folder)
    processes.wait()  # and it is gone
