"""What every parser returns: frames with their ground truth in frame pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ProtocolName = Literal["coco", "visdrone"]


@dataclass(frozen=True)
class DatasetImage:
    """One frame and what is in it.

    id: unique in the data set. width, height: pixels. boxes: (N, 4) float64 xyxy in frame pixels. class_ids:
    (N,) int64, index into the data set's categories. ignore: (N,) bool, COCO's iscrowd or VisDrone's score 0:
    finding such a box is neither right nor wrong. areas: (N,) float64, the area that decides small, medium or
    large. ignored_regions: (M, 4) float64 xyxy, parts of the frame that nobody labelled.
    """

    id: int
    path: Path
    width: int
    height: int
    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    areas: NDArray[np.float64]
    ignored_regions: NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """A parsed data set.

    source: what the user named. protocol: the rules it is usually judged by. notes: what a reader of the
    results should know about the files, one sentence each.
    """

    source: Path
    format: Literal["coco", "yolo", "visdrone"]
    protocol: ProtocolName
    categories: tuple[str, ...]
    images: tuple[DatasetImage, ...]
    notes: tuple[str, ...] = ()


def image_with_boxes(
    identity: int,
    path: Path,
    size: tuple[int, int],
    *,
    boxes: NDArray[np.float64],
    class_ids: NDArray[np.int64],
    ignore: NDArray[np.bool_] | None = None,
    areas: NDArray[np.float64] | None = None,
    ignored_regions: NDArray[np.float64] | None = None,
) -> DatasetImage:
    """A DatasetImage from its parts; size is (width, height), areas default to those of the boxes."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if areas is None:
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return DatasetImage(
        id=identity,
        path=path,
        width=size[0],
        height=size[1],
        boxes=boxes,
        class_ids=np.asarray(class_ids, np.int64),
        ignore=np.zeros(len(boxes), bool) if ignore is None else ignore,
        areas=areas,
        ignored_regions=np.zeros((0, 4)) if ignored_regions is None else ignored_regions,
    )
