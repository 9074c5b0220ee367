"""The fixed views of a data set that a detector is validated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import Dataset, DatasetImage
from tercelet.training.detector_training.samples.augmentation import Windows
from tercelet.training.detector_training.samples.drawing import draw
from tercelet.training.detector_training.samples.frames import CacheName, Frames, open_frames
from tercelet.training.detector_training.samples.placing import letterboxed
from tercelet.training.detector_training.samples.source import check_canvas, labelled_images
from tercelet.training.detector_training.samples.truth import (
    MIN_AREA_LEFT,
    Placement,
    Truth,
    placed_truth,
)


@dataclass(frozen=True)
class ValidationView:
    """A frame, or a window of it, on a canvas of height x width pixels, drawn when it is asked for.

    image: the frame shown. boxes: (N, 4) float64 xyxy, class_ids: (N,) int64 and ignored: (M, 4) float64 xyxy
    are what is to be found, in canvas pixels.
    """

    image: DatasetImage
    height: int
    width: int
    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    ignored: NDArray[np.float64]
    place: Placement = field(repr=False)
    frames: Frames = field(repr=False)
    number: int = field(repr=False)

    def draw(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB, the same every time; InputError if the picture cannot be read."""
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        draw(canvas, self.frames[self.number], self.place)
        return canvas


def validation_views(
    datasets: Dataset | Sequence[Dataset],
    *,
    canvas: tuple[int, int],
    classes: ArrayLike | Sequence[ArrayLike | None] | None = None,
    windows: Windows | None = None,
    per_frame: int = 4,
    cache: CacheName = "off",
    cache_folder: str | Path | None = None,
) -> tuple[ValidationView, ...]:
    """Unaugmented views with their ground truth, in the order of the frames.

    windows: None shows whole frames, letterboxed as the runtime does it; else those windows of a grid that
    hold an object, at the windows' middle scale, at most `per_frame` of each frame, spread evenly over it.
    The rest as for SampleSource. Raises InputError as it does, and where no window holds an object.
    """
    if per_frame < 1:
        raise InputError(f"per_frame: expected at least 1 view a frame, got {per_frame}")
    images, truths = labelled_images(datasets, classes)
    size = check_canvas(canvas)
    frames = open_frames(images, cache=cache, folder=cache_folder)
    views: list[ValidationView] = []
    for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
        if windows is None:
            places = [letterboxed((image.height, image.width), size)]
            least = MIN_AREA_LEFT
        else:
            places, least = _windows_with_objects(image, truth, size, windows, per_frame), windows.min_visible
        for place in places:
            seen = placed_truth(truth, place, min_visible=least)
            views.append(
                ValidationView(image, *size, seen.boxes, seen.class_ids, seen.ignored, place, frames, number)
            )
    if not views:
        raise InputError(
            f"{images[0].path}: expected an object in at least one of {len(images)} frames to validate "
            "windows on, got none"
        )
    return tuple(views)


def _windows_with_objects(
    image: DatasetImage, truth: Truth, canvas: tuple[int, int], windows: Windows, limit: int
) -> list[Placement]:
    scale = windows.middle_scale
    area = (0, 0, canvas[1], canvas[0])
    places = [
        Placement(np.eye(2) * scale, np.array((-left * scale, -top * scale)), area)
        for top in _starts(image.height, canvas[0] / scale)
        for left in _starts(image.width, canvas[1] / scale)
    ]
    holding = [
        place for place in places if len(placed_truth(truth, place, min_visible=windows.min_visible).boxes)
    ]
    count = min(limit, len(holding))
    return [holding[round(index)] for index in np.linspace(0, len(holding) - 1, count)]


def _starts(length: int, window: float) -> list[float]:
    """First pixels of windows that cover a side of a frame, evenly spread; centred where it is shorter."""
    if window >= length:
        return [(length - window) / 2]
    count = int(np.ceil(length / window))
    return [float(start) for start in np.linspace(0, length - window, count)]
