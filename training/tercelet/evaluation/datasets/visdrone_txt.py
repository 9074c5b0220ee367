"""VisDrone-DET: a folder with images/ and annotations/, one text file a frame, eight integers a line.

`left,top,width,height,score,category,truncation,occlusion` in pixels. Score 0 marks a box to be ignored,
category 0 an ignored region, 1 to 10 the evaluated objects, 11 other vehicles, which are not evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.dataset import Dataset, DatasetImage, image_with_boxes
from tercelet.evaluation.datasets.pictures import picture_size, pictures_below

VISDRONE_CATEGORIES = (
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
)
IGNORED_REGION = 0
OTHERS = 11
_COLUMNS = ("left", "top", "width", "height", "score", "category", "truncation", "occlusion")
# Beyond any picture, and such that sums stay exact.
_LARGEST = 2**31


@dataclass(frozen=True)
class VisDroneAnnotation:
    """Every line of one file, nothing left out.

    boxes: (N, 4) float64 xyxy in frame pixels; sides of length 0 occur. scores: (N,) 0 or 1. categories: (N,)
    0 to 11. truncation: (N,) 0, or 1 for 1 to 50 %. occlusion: (N,) 0, 1, or 2 for more than 50 %. All int64.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.int64]
    categories: NDArray[np.int64]
    truncation: NDArray[np.int64]
    occlusion: NDArray[np.int64]

    @property
    def has_extent(self) -> NDArray[np.bool_]:
        """(N,) whether both sides are longer than 0."""
        longer: NDArray[np.bool_] = self.boxes[:, 2:] > self.boxes[:, :2]
        both: NDArray[np.bool_] = longer[:, 0] & longer[:, 1]
        return both

    @property
    def is_region(self) -> NDArray[np.bool_]:
        """(N,) whether the line is an ignored region."""
        region: NDArray[np.bool_] = self.categories == IGNORED_REGION
        return region

    @property
    def is_object(self) -> NDArray[np.bool_]:
        """(N,) whether the line is one of the ten evaluated categories, with score 0 or 1."""
        return (self.categories > IGNORED_REGION) & (self.categories < OTHERS)


def read_visdrone_annotation(path: str | Path) -> VisDroneAnnotation:
    """Parse one file; empty files, CRLF and a comma at the end of a line are fine.

    InputError with the line number where a line is not eight integers or a value is out of its range.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a VisDrone annotation there, got nothing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected a VisDrone annotation, got something unreadable: {error}"
        ) from error
    rows = [annotation_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    table = np.array(rows, np.int64).reshape(-1, len(_COLUMNS))
    corner = table[:, :2]
    return VisDroneAnnotation(
        boxes=np.concatenate((corner, corner + table[:, 2:4]), axis=1).astype(np.float64),
        scores=table[:, 4],
        categories=table[:, 5],
        truncation=table[:, 6],
        occlusion=table[:, 7],
    )


def visdrone_dataset(folder: str | Path, *, limit: int | None = None) -> Dataset:
    """Parse a VisDrone-DET split: `folder`/images and `folder`/annotations.

    Objects are the lines of categories 1 to 10 with an extent; score 0 becomes `ignore`. Ignored regions are
    kept apart. limit: only the first so many frames. Raises InputError (a frame without its file, bad lines).
    """
    folder = Path(folder)
    annotations = folder / "annotations"
    if not annotations.is_dir():
        raise InputError(f"{folder}: expected VisDrone's folders images and annotations, got no annotations")
    pictures = pictures_below(folder / "images")
    spare = {p.stem for p in annotations.glob("*.txt")} - {p.stem for p in pictures}
    images, flat, others = [], 0, 0
    for number, picture in enumerate(pictures[:limit]):
        annotation = read_visdrone_annotation(annotations / f"{picture.stem}.txt")
        flat += int(np.count_nonzero(~annotation.has_extent))
        others += int(np.count_nonzero(annotation.categories == OTHERS))
        images.append(annotated_image(number, picture, annotation))
    notes = []
    if flat:
        notes.append(f"{flat} lines with a side of length 0 were left out")
    if others:
        notes.append(f"{others} boxes of category 11 (others) are not evaluated")
    if spare:
        notes.append(f"{len(spare)} annotations have no picture, for example {min(spare)}.txt; not evaluated")
    return Dataset(
        source=folder,
        format="visdrone",
        protocol="visdrone",
        categories=VISDRONE_CATEGORIES,
        images=tuple(images),
        notes=tuple(notes),
    )


def annotated_image(number: int, picture: Path, annotation: VisDroneAnnotation) -> DatasetImage:
    """The frame with its objects, regions and boxes of score 0 kept apart; InputError for no picture."""
    objects = annotation.is_object & annotation.has_extent
    return image_with_boxes(
        number,
        picture,
        picture_size(picture),
        boxes=annotation.boxes[objects],
        class_ids=annotation.categories[objects] - 1,
        ignore=annotation.scores[objects] == 0,
        ignored_regions=annotation.boxes[annotation.is_region & annotation.has_extent],
    )


def annotation_row(line: str, where: str) -> list[int]:
    """The eight integers of a line; InputError beginning with `where`."""
    texts = line.strip().removesuffix(",").split(",")
    try:
        values = [int(text) for text in texts]
        if max(map(abs, values)) > _LARGEST:
            raise ValueError("beyond any picture")
    except ValueError as error:
        raise InputError(
            f"{where}: expected 8 integers ({','.join(_COLUMNS)}), got {_short(line)}"
        ) from error
    if len(values) != len(_COLUMNS):
        raise InputError(
            f"{where}: expected 8 columns ({','.join(_COLUMNS)}), got {len(values)}: {_short(line)}"
        )
    if values[4] not in (0, 1):
        raise InputError(f"{where}: score: expected 0 (ignored) or 1 (evaluated), got {values[4]}")
    if not IGNORED_REGION <= values[5] <= OTHERS:
        raise InputError(f"{where}: category: expected 0 to 11, got {values[5]}")
    if values[2] < 0 or values[3] < 0:
        raise InputError(f"{where}: width and height: expected 0 or more, got {values[2]} and {values[3]}")
    return values


def _short(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
