"""The end of a training of a point detector: the best weights judged once more, and a checkpoint with all."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tercelet.contract.manifest import Provenance
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomDataset
from tercelet.evaluation.result import figure_text
from tercelet.evaluation.room_detections import detector_points
from tercelet.training.checkpoint import write_checkpoint
from tercelet.training.detector_training.records.curves import CURVES_FILE
from tercelet.training.detector_training.records.epoch_rows import RESULTS_FILE
from tercelet.training.detector_training.records.model_card import (
    MODEL_CARD_FILE,
    ClassTable,
    DataFingerprint,
    ModelCard,
    hardware_words,
    library_versions,
    model_card,
)
from tercelet.training.detector_training.records.pictures import PREDICTIONS_FILE
from tercelet.training.detector_training.starting import Start
from tercelet.training.detectors.point_detector import PointDetector
from tercelet.training.point_training.pictures import ShownRoom, save_rooms
from tercelet.training.point_training.running import PointRun, PointsReached
from tercelet.training.point_training.validating import RoomValidation, validate_rooms

_SHOWN_ROOMS = 8
_SHOWN_SCORE = 0.3
_FILES = {
    "weights.safetensors": "the weights",
    "manifest.json": "what they are, checked whenever they are opened",
    RESULTS_FILE: "a row an epoch: losses, rate, mAP at IoU 0.25 and 0.5, speed",
    CURVES_FILE: "the same as curves",
    PREDICTIONS_FILE: "validation rooms from above, ground truth beside what was found",
}


def finish_point_training(
    run: PointRun,
    reached: PointsReached,
    *,
    output: Path,
    start: Start[PointDetector],
    licence: str | None,
    overwrite: bool,
) -> RoomValidation:
    """Write the checkpoint with the best weights, judged on the validation rooms. Raises what
    write_checkpoint raises."""
    detector = reached.detector
    detector.load_state_dict(reached.weights)
    detector.eval()
    scenes, device = run.rooms.validation.scenes, run.processes.device
    validation = validate_rooms(detector, scenes, batch=run.recipe.batch, device=device)
    notes: dict[str, str | bytes] = {}
    with tempfile.TemporaryDirectory(dir=run.folder) as name:
        _save_predictions(run, validation, Path(name) / PREDICTIONS_FILE)
        for path in (Path(name) / PREDICTIONS_FILE, run.folder / RESULTS_FILE, run.folder / CURVES_FILE):
            notes[path.name] = path.read_bytes()
    notes[MODEL_CARD_FILE] = model_card(_card(run, reached, validation, start=start, licence=licence))
    write_checkpoint(
        output,
        detector.cpu(),
        labels=run.rooms.labels,
        provenance=_provenance(run, reached, start=start, licence=licence),
        notes=notes,
        overwrite=overwrite,
    )
    return validation


def _save_predictions(run: PointRun, validation: RoomValidation, path: Path) -> None:
    scenes = run.rooms.validation.scenes
    chosen = np.unique(np.linspace(0, len(scenes) - 1, min(_SHOWN_ROOMS, len(scenes))).round().astype(int))
    shown = [
        ShownRoom(
            detector_points(scenes[i].read_cloud().points, run.points)[:, :3],
            scenes[i].boxes,
            scenes[i].class_ids,
            validation.found[i],
        )
        for i in chosen.tolist()
    ]
    save_rooms(shown, path, labels=run.rooms.labels, score=_SHOWN_SCORE)


def _provenance(
    run: PointRun, reached: PointsReached, *, start: Start[PointDetector], licence: str | None
) -> Provenance:
    names = " + ".join(_name(dataset) for dataset in run.rooms.training)
    begun = "" if start.source is None else f" from {Path(start.source).name}"
    return Provenance(
        source=f"{names} ({len(run.rooms.scenes)} rooms)",
        sha256=run.rooms.training_sha256(),
        format="trained",
        licence=licence or start.licence,
        producer=(
            f"tercelet {library_versions()['tercelet']}, epoch {reached.best_epoch} of {len(reached.rows)}"
            f"{begun}: {run.points} points, batch {run.recipe.batch}, seed {run.recipe.seed}; "
            f"see {MODEL_CARD_FILE}"
        ),
    )


def _card(
    run: PointRun,
    reached: PointsReached,
    validation: RoomValidation,
    *,
    start: Start[PointDetector],
    licence: str | None,
) -> ModelCard:
    detector, rooms = reached.detector, run.rooms
    names = " + ".join(_name(dataset) for dataset in rooms.training)
    options = {name: value for name, value in detector.options.items() if name != "mean_sizes"}
    return ModelCard(
        title=f"{detector.detector} trained on {names}",
        summary=(
            f"A {detector.detector} that finds oriented boxes of {len(rooms.labels)} classes in clouds, "
            f"trained with `tercelet train` on {len(rooms.scenes)} rooms."
        ),
        detector=detector.detector,
        options=options,
        labels=rooms.labels,
        parameters=sum(parameter.numel() for parameter in detector.parameters()),
        canvas=None,
        start="drawn at random" if start.source is None else start.text(),
        licence=licence or start.licence or "not stated",
        intended_use="Rooms like those it was trained on. Judge it on your own before a robot relies on it.",
        limits=(
            f"Figures are those of {len(rooms.validation.scenes)} rooms with {run.points} points each.",
            "The epoch was chosen by the same rooms that the figures are of.",
        ),
        trained_on=DataFingerprint(names, len(rooms.scenes), rooms.objects(), rooms.training_sha256()),
        validated_on=DataFingerprint(
            _name(rooms.validation),
            len(rooms.validation.scenes),
            rooms.objects(validation=True),
            rooms.validation_sha256(),
        ),
        recipe=run.recipe_record(),
        seed=run.recipe.seed,
        versions=library_versions(),
        hardware=hardware_words(run.processes.device),
        seconds=sum(row.seconds for row in reached.rows),
        epochs=len(reached.rows),
        best_epoch=reached.best_epoch,
        metrics={"mAP at IoU 0.25": validation.quarter.ap, "mAP at IoU 0.5": validation.half.ap},
        per_class=_by_class(run, validation),
        files=_FILES,
    )


def _by_class(run: PointRun, validation: RoomValidation) -> ClassTable:
    rows = [
        (
            name,
            figure_text(quarter.ap),
            figure_text(half.ap),
            figure_text(quarter.recall),
            str(half.ground_truth),
        )
        for name, quarter, half in zip(
            run.rooms.labels, validation.quarter.per_class, validation.half.per_class, strict=True
        )
    ]
    return ClassTable(("class", "AP at 0.25", "AP at 0.5", "recall at 0.25", "objects"), tuple(rows))


def _name(dataset: RoomDataset) -> str:
    """The data set's own name: that of its folder or file."""
    return dataset.source.resolve().name
