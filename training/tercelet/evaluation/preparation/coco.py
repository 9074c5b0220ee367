"""COCO JSON of frames and crops: ids from 1, images without objects kept, ignored regions as crowds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.datasets.visdrone_txt import VISDRONE_CATEGORIES, VisDroneAnnotation
from tercelet.evaluation.preparation.writing import written_whole


@dataclass(frozen=True)
class CocoImage:
    """file_name: as the JSON states it. width, height: pixels. counted: (N,) which lines are objects."""

    file_name: str
    width: int
    height: int
    annotation: VisDroneAnnotation
    counted: NDArray[np.bool_]


def write_coco(path: Path, images: Iterable[CocoImage]) -> None:
    """Write one file, image by image, whole or not at all; raises InputError.

    Category ids are VisDrone's, 1 to 10. An object that does not count has iscrowd 1. A crowd belongs to one
    category, and in an ignored region nothing counts: it is written once for each, with "ignored_region" 1.
    """
    with written_whole(path) as file:
        _write(file, images)


def _write(file: BinaryIO, images: Iterable[CocoImage]) -> None:
    listed: list[dict[str, Any]] = []
    identity = 0
    file.write(b'{"annotations": [')
    for number, image in enumerate(images, 1):
        listed.append(
            {"id": number, "file_name": image.file_name, "width": image.width, "height": image.height}
        )
        for entry in _entries(image):
            identity += 1
            line = json.dumps({"id": identity, "image_id": number, **entry})
            file.write(f"{',' if identity > 1 else ''}\n{line}".encode())
    lines = ",\n".join(json.dumps(image) for image in listed)
    categories = [{"id": place, "name": name} for place, name in enumerate(VISDRONE_CATEGORIES, 1)]
    file.write(f'],\n"images": [\n{lines}],\n"categories": {json.dumps(categories)}}}\n'.encode())


def _entries(image: CocoImage) -> Iterable[dict[str, Any]]:
    annotation = image.annotation
    objects = annotation.is_object & annotation.has_extent
    regions = annotation.is_region & annotation.has_extent
    corner, size = annotation.boxes[:, :2], annotation.boxes[:, 2:] - annotation.boxes[:, :2]
    bounds = np.concatenate((corner, size), axis=1).astype(np.int64).tolist()
    for index in np.flatnonzero(objects | regions).tolist():
        box = bounds[index]
        entry = {"bbox": box, "area": box[2] * box[3]}
        if objects[index]:
            crowd = int(not image.counted[index])
            yield {"category_id": int(annotation.categories[index]), **entry, "iscrowd": crowd}
            continue
        for category in range(1, len(VISDRONE_CATEGORIES) + 1):
            yield {"category_id": category, **entry, "iscrowd": 1, "ignored_region": 1}
