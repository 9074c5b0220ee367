"""The function behind `tercelet evaluate`: run a detector over a data set and judge what it found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import read_manifest
from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_folder, check_json_place, write_json
from tercelet.evaluation.class_mapping import ClassMap, map_classes
from tercelet.evaluation.datasets import Dataset, DatasetFormat, DatasetImage, open_dataset
from tercelet.evaluation.datasets.dataset import ProtocolName
from tercelet.evaluation.drawing import save_comparison
from tercelet.evaluation.judging import evaluate_detections
from tercelet.evaluation.protocol import protocol_named
from tercelet.evaluation.result import EvaluationResult
from tercelet.runtime.given_path import given_path
from tercelet.runtime.opening import open_pipeline
from tercelet.runtime.progress import Progress
from tercelet.runtime.vision import read_image

# Low enough for the tail of the precision curve, high enough to keep noise out of memory.
SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.7


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
    save: str | Path | None = None,
    json: str | Path | None = None,
    quiet: bool = False,
) -> EvaluationResult:
    """Run a bundle or checkpoint over a data set and return AP, AP50, AP75, by size and by class.

    dataset: a COCO .json file (pictures beside it or in `images`), a YOLO folder or data.yaml (`split`), or a
    VisDrone folder; format: None looks. protocol: None takes "visdrone" for VisDrone, "coco" for the rest.
    class_map: see `tercelet.evaluation.class_mapping`; None matches by name. score, iou: thresholds of the
    pipeline. max_detections: of evaluated classes a frame, ignored regions left out; None takes the
    protocol's (coco 300, visdrone 500). limit: the first so many frames. save: folder for pictures, ground
    truth on the left, detections on the right. json: file for the result, "-" for stdout. quiet: no progress
    on stderr.
    Raises InputError (bundle, data set, pictures, class map, options), MissingDependencyError.
    """
    check_json_place(json)
    folder = None if save is None else given_path(save, name="save")
    if folder is not None:
        check_folder(folder)
    labels = read_manifest(given_path(bundle, name="bundle")).labels
    data = open_dataset(dataset, format=format, images=images, split=split, labels=labels, limit=limit)
    rules = protocol_named(data.protocol if protocol is None else protocol)
    kept = rules.limit(max_detections)
    map_classes(labels, data.categories, class_map)
    # The limit of a frame is for the judgement, which knows what is evaluated: here every detection stays.
    with open_pipeline(
        bundle, threads=threads, score_threshold=score, iou_threshold=iou, max_detections=sys.maxsize
    ) as detect:
        found = _detect_all(detect, data, folder, quiet=quiet)
    result = evaluate_detections(
        data,
        found,
        protocol=rules.name,
        class_map=class_map,
        max_detections=kept,
        bundle=str(bundle),
        settings={"score": score, "iou": iou, "max_detections": kept},
    )
    if json is not None:
        write_json(json, result.record())
    return result


def _detect_all(
    detect: Callable[[NDArray[np.uint8]], Detections], data: Dataset, save: Path | None, *, quiet: bool
) -> list[Detections]:
    found = []
    with Progress(len(data.images), "evaluate", silent=quiet) as progress:
        for image in data.images:
            frame = _read(image)
            found.append(detect(frame))
            if save is not None:
                save_comparison(save, image, frame, found[-1], data.categories)
            progress.advance()
    return found


def _read(image: DatasetImage) -> NDArray[np.uint8]:
    frame = read_image(image.path)
    height, width = frame.shape[:2]
    if (width, height) != (image.width, image.height):
        raise InputError(
            f"{image.path}: expected {image.width}x{image.height} pixels, as the data set states, "
            f"got {width}x{height}; are these the pictures that were labelled?"
        )
    return frame
