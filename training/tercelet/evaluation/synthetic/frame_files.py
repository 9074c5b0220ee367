"""The files of one synthetic frame, a picture and a VisDrone annotation, and the COCO file of all frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.visdrone_txt import VISDRONE_CATEGORIES
from tercelet.evaluation.synthetic.scene import Scene, aerial_scene
from tercelet.evaluation.synthetic.settings import SceneSettings
from tercelet.runtime.vision import write_image

PictureFormat = Literal["jpg", "png"]

PICTURES, ANNOTATIONS, COCO_NAME = "images", "annotations", "annotations.json"
# VisDrone's occlusion: 0 none, 1 up to half, 2 more. Neighbours that touch share the pixels of their rims.
_UNHIDDEN, _HALF = 0.95, 0.5
_CUT = 0.98


@dataclass(frozen=True)
class FrameRequest:
    """Scene `seed` of `width` x `height` pixels, to be written below `output`."""

    output: Path
    seed: int
    width: int
    height: int
    format: PictureFormat
    settings: SceneSettings

    @property
    def stem(self) -> str:
        """The files' name without suffix; it names the scene, not its place in a run."""
        return f"aerial_{self.seed:08d}"


@dataclass(frozen=True)
class FrameTruth:
    """What the frame shows, as plain values: boxes xyxy in pixels, shares 0..1."""

    boxes: tuple[tuple[float, float, float, float], ...]
    class_ids: tuple[int, ...]
    visible: tuple[float, ...]
    inside: tuple[float, ...]


def write_frame(request: FrameRequest) -> FrameTruth:
    """Draw the scene and write its picture and its annotation; InputError where that cannot be done."""
    scene = aerial_scene(request.seed, height=request.height, width=request.width, settings=request.settings)
    write_image(request.output / PICTURES / f"{request.stem}.{request.format}", scene.frame)
    write_text(request.output / ANNOTATIONS / f"{request.stem}.txt", visdrone_lines(scene))
    boxes: list[list[float]] = scene.boxes.tolist()
    return FrameTruth(
        boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes),
        class_ids=tuple(scene.class_ids.tolist()),
        visible=tuple(np.round(scene.visible, 4).tolist()),
        inside=tuple(np.round(scene.inside, 4).tolist()),
    )


def visdrone_lines(scene: Scene) -> str:
    """The annotation as VisDrone has it: whole pixels, at least one each way; one line an object."""
    height, width = scene.frame.shape[:2]
    lines = []
    for box, class_id, visible, inside in zip(
        scene.boxes.tolist(), scene.class_ids.tolist(), scene.visible, scene.inside, strict=True
    ):
        left, top = min(round(box[0]), width - 1), min(round(box[1]), height - 1)
        right, bottom = max(round(box[2]), left + 1), max(round(box[3]), top + 1)
        occlusion = 0 if visible >= _UNHIDDEN else 1 if visible >= _HALF else 2
        columns = (left, top, right - left, bottom - top, 1, class_id + 1, int(inside < _CUT), occlusion)
        lines.append(",".join(map(str, columns)) + "\n")
    return "".join(lines)


def write_coco(output: Path, frames: Sequence[tuple[FrameRequest, FrameTruth]]) -> None:
    """DIR/annotations.json: ids from 1, category ids as VisDrone's; boxes to a quarter of a pixel."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (request, truth) in enumerate(frames, 1):
        name = f"{request.stem}.{request.format}"
        images.append({"id": number, "file_name": name, "width": request.width, "height": request.height})
        for (x1, y1, x2, y2), class_id, visible, inside in zip(
            truth.boxes, truth.class_ids, truth.visible, truth.inside, strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": class_id + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "visible": visible,
                    "inside": inside,
                }
            )
    categories = [{"id": place, "name": name} for place, name in enumerate(VISDRONE_CATEGORIES, 1)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    write_text(output / COCO_NAME, json.dumps(data) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file; InputError says why that failed."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
