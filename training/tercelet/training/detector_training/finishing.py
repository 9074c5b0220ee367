"""The end of a training: the best weights judged once more, and everything written into one checkpoint."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tercelet.contract.manifest import Provenance
from tercelet.evaluation.confusion import confusion_matrix
from tercelet.evaluation.datasets import Dataset
from tercelet.evaluation.plots import save_evaluation_plots
from tercelet.evaluation.precision_recall import precision_recall
from tercelet.training.checkpoint import write_checkpoint
from tercelet.training.detector_training.data import TrainingData
from tercelet.training.detector_training.records.curves import CURVES_FILE
from tercelet.training.detector_training.records.epoch_rows import RESULTS_FILE
from tercelet.training.detector_training.records.model_card import (
    MODEL_CARD_FILE,
    DataFingerprint,
    ModelCard,
    hardware_words,
    library_versions,
    model_card,
)
from tercelet.training.detector_training.records.pictures import (
    PREDICTIONS_FILE,
    SAMPLES_FILE,
    PredictedView,
    save_predictions,
)
from tercelet.training.detector_training.running import Reached, Run
from tercelet.training.detector_training.samples import ValidationView
from tercelet.training.detector_training.starting import Start
from tercelet.training.detector_training.validating import Validation, validate
from tercelet.training.detectors.detector import Detector

CLASS_MAP_FILE = "class_map.json"
_SHOWN_VIEWS = 8
_FILES = {
    "weights.safetensors": "the weights",
    "manifest.json": "what they are, checked whenever they are opened",
    CLASS_MAP_FILE: "which categories each class was learned from, where a class map was given",
    RESULTS_FILE: "a row an epoch: losses, rate, AP, speed",
    CURVES_FILE: "the same as curves",
    SAMPLES_FILE: "the first training images with their boxes, as the network saw them",
    PREDICTIONS_FILE: "validation views, ground truth beside what was found",
    "precision_recall.png": "precision over recall at IoU 0.5, numbers in precision_recall.json",
    "f1.png": "F1 over the score: which --score to take, numbers in precision_recall.json",
    "confusion.png": "which class is taken for which, numbers in confusion.json",
}


@dataclass(frozen=True)
class Finished:
    """validation: of the weights in the file. files: names beside them."""

    validation: Validation
    files: tuple[str, ...]


def finish_training(
    run: Run,
    reached: Reached,
    *,
    output: Path,
    start: Start[Detector],
    stored: Literal["fp32", "fp16"],
    licence: str | None,
    overwrite: bool,
) -> Finished:
    """Write the checkpoint with the best weights, and judge what is in it on the validation views.

    The figures in the card are those of the weights as stored. Raises what write_checkpoint raises.
    """
    detector = reached.detector.cpu()
    detector.load_state_dict(reached.weights)
    detector.eval()
    notes: dict[str, str | bytes] = {}
    with tempfile.TemporaryDirectory(dir=run.folder) as name:
        # Rounded first, so that what is judged is what the file holds.
        trial = Path(name) / "checkpoint"
        provenance = _provenance(run, reached, start=start, licence=licence)
        write_checkpoint(
            trial, detector, labels=run.data.labels, provenance=provenance, canvas=run.canvas, stored=stored
        )
        device = run.processes.device
        validation = validate(
            detector.to(device),
            reached.views,
            labels=run.data.labels,
            batch=max(run.recipe.batch // run.processes.count, 1),
            device=device,
        )
        detector.cpu()
        _save_plots(Path(name), validation, reached.views, run.data)
        for path in (*sorted(Path(name).glob("*.*")), *(run.folder / n for n in _FILES)):
            if path.is_file():
                notes[path.name] = path.read_bytes()
    if run.data.class_map is not None:
        notes[CLASS_MAP_FILE] = json.dumps(run.data.class_map, indent=2) + "\n"
    notes[MODEL_CARD_FILE] = model_card(_card(run, reached, validation, start=start, licence=licence))
    write_checkpoint(
        output,
        detector,
        labels=run.data.labels,
        provenance=provenance,
        canvas=run.canvas,
        notes=notes,
        stored=stored,
        overwrite=overwrite,
    )
    return Finished(validation, tuple(notes))


def _save_plots(
    folder: Path, validation: Validation, views: Sequence[ValidationView], data: TrainingData
) -> None:
    names = [item.name for item in validation.result.classes]
    curves = precision_recall(validation.frames, classes=len(names), max_detections=None)
    save_evaluation_plots(folder, curves, confusion_matrix(validation.frames, classes=names))
    # Spread over the views: the first ones may all be of one frame.
    chosen = np.unique(np.linspace(0, len(views) - 1, min(_SHOWN_VIEWS, len(views))).round().astype(int))
    best = curves.overall.best()
    save_predictions(
        [_predicted(int(index), validation, views) for index in chosen],
        folder / PREDICTIONS_FILE,
        labels=data.labels,
        score=0.25 if best is None else best.score,
    )


def _predicted(index: int, validation: Validation, views: Sequence[ValidationView]) -> PredictedView:
    view, found = views[index], validation.found[index]
    return PredictedView(
        image=view.draw(),
        boxes=view.boxes.astype(np.float32),
        class_ids=view.class_ids,
        found_boxes=found.boxes,
        scores=found.scores,
        found_class_ids=found.class_ids,
    )


def _provenance(run: Run, reached: Reached, *, start: Start[Detector], licence: str | None) -> Provenance:
    names = " + ".join(_name(dataset) for dataset in run.data.training)
    recipe = run.recipe
    begun = "" if start.source is None else f" from {Path(start.source).name}"
    return Provenance(
        source=f"{names} ({run.data.frames} frames)",
        sha256=run.data.training_sha256(),
        format="trained",
        licence=licence or start.licence,
        producer=(
            f"tercelet {library_versions()['tercelet']}, epoch {reached.best_epoch} of {len(reached.rows)}"
            f"{begun}: "
            f"canvas {recipe.height}x{recipe.width}, batch {recipe.batch}, seed {recipe.seed}; "
            f"see {MODEL_CARD_FILE}"
        ),
    )


def _card(
    run: Run,
    reached: Reached,
    validation: Validation,
    *,
    start: Start[Detector],
    licence: str | None,
) -> ModelCard:
    detector, data = reached.detector, run.data
    result = validation.result
    kind = "whole frames" if run.windows is None else "windows of frames"
    options = {name: value for name, value in detector.options.items() if name != "anchors"}
    return ModelCard(
        title=f"{detector.detector} trained on {', '.join(_name(d) for d in data.training)}",
        summary=(
            f"A {detector.detector} that finds {len(data.labels)} classes, trained with `tercelet train` on "
            f"{data.frames} frames."
        ),
        detector=detector.detector,
        options=options,
        labels=data.labels,
        parameters=sum(parameter.numel() for parameter in detector.parameters()),
        canvas=run.canvas,
        start="drawn at random" if start.source is None else start.text(),
        licence=licence or start.licence or "not stated",
        intended_use="Pictures like those it was trained on. Judge it on your own before it flies.",
        limits=(
            f"Figures are those of {len(reached.views)} unaugmented {kind} of {run.canvas[1]}x"
            f"{run.canvas[0]} pixels; on whole frames of other sizes they differ.",
            "The epoch was chosen by the same views that the figures are of.",
        ),
        trained_on=DataFingerprint(
            " + ".join(_name(d) for d in data.training), data.frames, data.objects(), data.training_sha256()
        ),
        validated_on=DataFingerprint(
            _name(data.validation),
            len(data.validation.images),
            {name: item.ground_truth for name, item in result.per_class.items()},
            data.validation_sha256(),
        ),
        recipe=run.recipe_record(),
        seed=run.recipe.seed,
        versions=library_versions(),
        hardware=hardware_words(run.processes.device, processes=run.processes.count),
        seconds=sum(row.seconds for row in reached.rows),
        epochs=len(reached.rows),
        best_epoch=reached.best_epoch,
        metrics={
            "AP": result.precision.ap,
            "AP50": result.precision.ap50,
            "AP75": result.precision.ap75,
            "AP small": result.precision.ap_small,
            "AP medium": result.precision.ap_medium,
            "AP large": result.precision.ap_large,
        },
        per_class=result.per_class,
        files=_FILES,
    )


def _name(dataset: Dataset) -> str:
    """The data set's own name: that of its folder, or of the file."""
    path = dataset.source.resolve()
    return path.parent.name if path.suffix in (".yaml", ".yml") else path.name
