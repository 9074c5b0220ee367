"""The verb `train` for point detectors: rooms with boxes in, a checkpoint with its card and curves out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from tercelet.contract.artefact import check_output_free
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.ops.bindings.cpu_call import use_native_ops
from tercelet.ops.building import build_library
from tercelet.training.detector_training.memory import memory_advice
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.records.epoch_rows import EpochRow
from tercelet.training.detector_training.train_detector import check_device, settle_folder
from tercelet.training.detectors.families import find_family
from tercelet.training.point_training.augmentation import RoomAugmentation
from tercelet.training.point_training.finishing import finish_point_training
from tercelet.training.point_training.recipe import point_recipe
from tercelet.training.point_training.rooms import open_training_rooms, say_rooms
from tercelet.training.point_training.running import PointRun, run_point_epochs
from tercelet.training.point_training.starting import start_point_detector


@dataclass(frozen=True)
class TrainedPoints:
    """output: the checkpoint. rows: what each epoch gave. best_epoch: whose weights were written. ap25, ap50:
    their mean AP on the validation rooms, which hold `objects`."""

    output: Path
    rows: tuple[EpochRow, ...]
    best_epoch: int
    ap25: float
    ap50: float
    objects: int
    seconds: float

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "output": str(self.output), "rows": [asdict(row) for row in self.rows]}


def train_points(
    detector: str,
    *,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    val: str | Path | None = None,
    points: int | None = None,
    recipe: Recipe | None = None,
    augmentation: RoomAugmentation | None = None,
    init: str | Path | None = None,
    device: str = "cpu",
    workers: int = 2,
    licence: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
    report: Callable[[str], object] | None = None,
) -> TrainedPoints:
    """Train a votenet or imvotenet; write the weights of the epoch with the highest mAP at IoU 0.25.

    data, val: SUN RGB-D in any of its forms, or what `tercelet synth rooms` wrote; see `open_training_rooms`.
    Votes come from the data's files of votes, and from the boxes where there are none. points: of a cloud,
    drawn anew each time it is seen; None takes the network's. recipe: None takes `point_recipe()`.
    augmentation: that of `RoomAugmentation` by default. init: a checkpoint or weight file of that network.
    device: cpu or cuda. workers: processes that prepare rooms. resume: go on with the training of this output
    that was interrupted: its state lies in OUTPUT.training until the end. options: of the detector, besides
    its classes. report: gets a line now and then.
    On a CPU the same arguments with the same number of threads give the same weights, resumed or not. Raises
    InputError, MissingDependencyError, or CheckFailedError where the training diverges or memory runs out;
    what was reached before that epoch is kept for `resume`.
    """
    recipe, say = recipe or point_recipe(), report or (lambda line: None)
    begin = perf_counter()
    _check_request(detector, recipe, device=device, workers=workers)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    processes = Processes(0, 1, torch.device(device))
    output = check_output_free(output, kind="checkpoint", overwrite=overwrite)
    folder = output.with_name(output.name + ".training")
    settle_folder(folder, None, processes, resume=resume, overwrite=overwrite)
    torch.manual_seed(recipe.seed)
    rooms = open_training_rooms(data, val=val, needs_picture=detector == "imvotenet")
    say_rooms(rooms, say)
    start = start_point_detector(
        detector, classes=len(rooms.labels), points=points, init=init, options=options
    )
    say(start.text())
    run = PointRun(
        rooms=rooms,
        recipe=recipe,
        augmentation=augmentation or RoomAugmentation(),
        points=start.detector.points,
        processes=processes,
        folder=folder,
        workers=workers,
        weights_before=start.sha256(),
    )
    before = _use_quick_ops(device, say)
    try:
        with memory_advice(recipe, folder, points=run.points):
            reached = run_point_epochs(run, start.detector, resume=resume, say=say)
            validation = finish_point_training(
                run, reached, output=output, start=start, licence=licence, overwrite=overwrite
            )
    finally:
        use_native_ops(before)
    shutil.rmtree(folder)
    return TrainedPoints(
        output=output,
        rows=reached.rows,
        best_epoch=reached.best_epoch,
        ap25=validation.ap25,
        ap50=validation.ap50,
        objects=sum(rooms.objects(validation=True).values()),
        seconds=perf_counter() - begin,
    )


def _use_quick_ops(device: str, say: Callable[[str], object]) -> Path | None:
    """The native point operators from here on, where a compiler is there; returns the library before."""
    if device != "cpu":
        return use_native_ops(None)
    try:
        return use_native_ops(build_library("onnxruntime", report=say).path)
    except (MissingDependencyError, CheckFailedError, InputError) as error:
        say(f"points are searched by torch, which takes several times as long: {error}")
        return use_native_ops(None)


def _check_request(detector: str, recipe: Recipe, *, device: str, workers: int) -> None:
    family, _ = find_family(detector)
    if family.kind != "points":
        raise InputError(f"{detector}: expected a detector of clouds of points; use train_detector")
    check_device(device, recipe)
    if workers < 0:
        raise InputError(f"workers: expected 0 or more, got {workers}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"{detector}: expected one process, got WORLD_SIZE={os.environ['WORLD_SIZE']}; point detectors "
            "are trained without torchrun"
        )
