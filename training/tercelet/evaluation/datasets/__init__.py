"""Data sets with boxes: one parser a format, one structure for all of them."""

from __future__ import annotations

from tercelet.evaluation.datasets.coco_json import coco_dataset
from tercelet.evaluation.datasets.dataset import Dataset, DatasetImage
from tercelet.evaluation.datasets.opening import FORMATS, DatasetFormat, open_dataset
from tercelet.evaluation.datasets.visdrone_txt import (
    VISDRONE_CATEGORIES,
    VisDroneAnnotation,
    read_visdrone_annotation,
    visdrone_dataset,
)
from tercelet.evaluation.datasets.yolo_txt import yolo_dataset

__all__ = [
    "FORMATS",
    "VISDRONE_CATEGORIES",
    "Dataset",
    "DatasetFormat",
    "DatasetImage",
    "VisDroneAnnotation",
    "coco_dataset",
    "open_dataset",
    "read_visdrone_annotation",
    "visdrone_dataset",
    "yolo_dataset",
]
