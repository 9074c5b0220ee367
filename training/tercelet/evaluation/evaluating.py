"""The function behind `tercelet evaluate`: run a detector over a data set and judge what it found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_folder, check_json_place, write_json
from tercelet.contract.plan import PlanName
from tercelet.evaluation.class_mapping import ClassMap
from tercelet.evaluation.confusion import confusion_matrix
from tercelet.evaluation.datasets import DatasetFormat, DatasetImage, open_dataset
from tercelet.evaluation.datasets.dataset import ProtocolName
from tercelet.evaluation.drawing import save_comparison
from tercelet.evaluation.judging import Judge
from tercelet.evaluation.plots import require_matplotlib, save_evaluation_plots
from tercelet.evaluation.precision_recall import BestScore, precision_recall
from tercelet.evaluation.recall import MATCH_IOU
from tercelet.evaluation.result import EvaluationResult
from tercelet.runtime.fusion import FusionName
from tercelet.runtime.given_path import given_path
from tercelet.runtime.opening import open_pipeline
from tercelet.runtime.pipelines.pipeline import Pipeline
from tercelet.runtime.progress import Progress
from tercelet.runtime.vision import read_image

# Low enough for the tail of the precision curve, high enough to keep noise out of memory.
SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.7


@dataclass(frozen=True)
class DetectorEvaluation(EvaluationResult):
    """best_f1: the score to work with, over all evaluated classes; None where nothing right was found."""

    best_f1: BestScore | None

    def record(self) -> dict[str, Any]:
        """JSON-ready; undefined values are None."""
        return {**super().record(), "best_f1": None if self.best_f1 is None else dict(vars(self.best_f1))}


def evaluate(
    bundle: str | Path,
    dataset: str | Path,
    *,
    format: DatasetFormat | None = None,
    images: str | Path | None = None,
    split: str = "val",
    protocol: ProtocolName | None = None,
    class_map: str | Path | ClassMap | None = None,
    score: float = SCORE_THRESHOLD,
    iou: float = IOU_THRESHOLD,
    max_detections: int | None = None,
    threads: int | None = None,
    limit: int | None = None,
    plan: PlanName | None = None,
    density: str | Path | None = None,
    evidence: Sequence[str] | None = None,
    canvases: int | None = None,
    budget_ms: float | None = None,
    density_threshold: float | None = None,
    overlap: float | None = None,
    fusion: FusionName | None = None,
    object_px: float | None = None,
    enlarging: float | None = None,
    object_size: float | None = None,
    save: str | Path | None = None,
    plots: str | Path | None = None,
    json: str | Path | None = None,
    quiet: bool = False,
) -> DetectorEvaluation:
    """Run a bundle or checkpoint over a data set and return AP, AP50, AP75, by size and by class.

    dataset: a COCO .json file (pictures beside it or in `images`), a YOLO folder or data.yaml (`split`), or a
    VisDrone folder; format: None looks. protocol: None takes "visdrone" for VisDrone, "coco" for the rest.
    class_map: see `tercelet.evaluation.class_mapping`; None matches by name. score, iou: thresholds of the
    pipeline. max_detections: of evaluated classes a frame, ignored regions left out; None takes the
    protocol's (coco 300, visdrone 500). limit: the first so many frames. plan to object_size: as for
    `tercelet.runtime.open_pipeline`; several plans side by side: `evaluate_plans`. save: folder for pictures,
    ground truth on the left, detections on the right. plots: folder for curves of precision and recall and of
    F1 and for the confusion matrix, as pictures and as numbers. json: file for the result, "-" for stdout.
    quiet: no progress on stderr.
    Raises InputError (bundle, data set, pictures, class map, options), MissingDependencyError.
    """
    check_json_place(json)
    folder = None if save is None else given_path(save, name="save")
    plots_folder = None if plots is None else given_path(plots, name="plots")
    for place in (folder, plots_folder):
        if place is not None:
            check_folder(place)
    if plots_folder is not None:
        require_matplotlib()
    labels = read_manifest(given_path(bundle, name="bundle")).labels
    data = open_dataset(dataset, format=format, images=images, split=split, labels=labels, limit=limit)
    judge = Judge(data, labels, protocol=protocol, class_map=class_map, max_detections=max_detections)
    chosen = chosen_options(
        plan=plan,
        density=density,
        evidence=evidence,
        canvases=canvases,
        budget_ms=budget_ms,
        density_threshold=density_threshold,
        overlap=overlap,
        fusion=fusion,
        object_px=object_px,
        enlarging=enlarging,
        object_size=object_size,
    )
    # The limit of a frame is for the judgement, which knows what is evaluated: here every detection stays.
    with open_pipeline(
        bundle,
        threads=threads,
        score_threshold=score,
        iou_threshold=iou,
        max_detections=sys.maxsize,
        **chosen,
    ) as detect:
        _detect_all(detect, judge, folder, quiet=quiet)
    settings = {"score": score, "iou": iou, "max_detections": judge.max_detections, **chosen}
    result = _evaluated(judge, plots_folder, bundle=str(bundle), settings=settings)
    if json is not None:
        write_json(json, result.record())
    return result


def _evaluated(
    judge: Judge, plots: Path | None, *, bundle: str, settings: dict[str, Any]
) -> DetectorEvaluation:
    result = judge.result(bundle=bundle, settings=settings)
    names = [item.name for item in result.classes]
    curves = precision_recall(judge.frames, classes=len(names), max_detections=judge.rules.max_dets[-1])
    if plots is not None:
        save_evaluation_plots(plots, curves, confusion_matrix(judge.frames, classes=names))
    return DetectorEvaluation(**vars(result), best_f1=curves.overall.best())


def chosen_options(**options: Any) -> dict[str, Any]:
    """What was given of the aerial options, JSON-ready; nothing for those left to the bundle."""
    ready = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    return {name: value for name, value in ready.items() if value is not None}


def best_score_text(best: BestScore | None) -> str:
    """One line on the score to work with."""
    if best is None:
        return "best F1: undefined, nothing right was found"
    return (
        f"best F1 {best.f1:.4f} with --score {best.score:.3f}: precision {best.precision:.4f}, "
        f"recall {best.recall:.4f} at IoU {MATCH_IOU:g}, all classes together"
    )


def read_frame(image: DatasetImage) -> NDArray[np.uint8]:
    """The picture, (H, W, 3) uint8 BGR; InputError where its size is not the one that the data set states."""
    frame = read_image(image.path)
    height, width = frame.shape[:2]
    if (width, height) != (image.width, image.height):
        raise InputError(
            f"{image.path}: expected {image.width}x{image.height} pixels, as the data set states, "
            f"got {width}x{height}; are these the pictures that were labelled?"
        )
    return frame


def _detect_all(detect: Pipeline, judge: Judge, save: Path | None, *, quiet: bool) -> None:
    data = judge.dataset
    with Progress(len(data.images), "evaluate", silent=quiet) as progress:
        for image in data.images:
            frame = read_frame(image)
            found = detect(frame)
            judge.add(found)
            if save is not None:
                save_comparison(save, image, frame, found, data.categories)
            progress.advance()
