"""Training samples of data sets: each a function of the seed, the epoch and its number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import Dataset, DatasetImage
from tercelet.training.detector_training.samples.augmentation import Augmentation, Windows
from tercelet.training.detector_training.samples.drawing import blend, change_colors, draw
from tercelet.training.detector_training.samples.frames import CacheName, open_frames
from tercelet.training.detector_training.samples.placing import (
    Area,
    frame_in_area,
    mosaic_areas,
    whole_frame,
    window_in_area,
)
from tercelet.training.detector_training.samples.truth import (
    MIN_AREA_LEFT,
    Placement,
    Truth,
    check_mapping,
    joined,
    placed_truth,
    truth_of_image,
)

# Of mixup's Beta distribution: the two pictures come close to half and half.
_MIXUP = 32.0


@dataclass(frozen=True)
class Sample:
    """A picture on a canvas, and what is on it, in canvas pixels.

    image: (H, W, 3) uint8 RGB. boxes: (N, 4) float32 xyxy, inside the canvas. class_ids: (N,) int64. ignored:
    (M, 4) float32 xyxy, where finding something is neither right nor wrong.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    ignored: NDArray[np.float32]


class SampleSource:
    """Samples of one or more data sets, an epoch of them at a time."""

    def __init__(
        self,
        datasets: Dataset | Sequence[Dataset],
        *,
        canvas: tuple[int, int],
        augmentation: Augmentation | None = None,
        windows: Windows | None = None,
        seed: int = 0,
        classes: ArrayLike | Sequence[ArrayLike | None] | None = None,
        cache: CacheName = "off",
        cache_folder: str | Path | None = None,
    ) -> None:
        """canvas: (height, width) in pixels. augmentation: None takes the defaults. windows: None for whole
        frames. classes: for one data set the detector's class of each category, -1 for what becomes ignored;
        for several a sequence of these; None keeps the categories, which then must be the same in all.
        cache, cache_folder: as for `open_frames`.

        Raises InputError: no frames, a canvas, a mapping or a seed that is none, categories that differ.
        """
        self.images, self._truths = labelled_images(datasets, classes)
        self.canvas = check_canvas(canvas)
        self.augmentation = Augmentation() if augmentation is None else augmentation
        self.windows = windows
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed: expected a whole number of 0 or more, got {seed!r}")
        self.seed = seed
        self._frames = open_frames(self.images, cache=cache, folder=cache_folder)

    def __len__(self) -> int:
        """Samples an epoch."""
        return len(self.images) * (1 if self.windows is None else self.windows.per_frame)

    def sample(self, epoch: int, index: int, *, mosaic: bool = True) -> Sample:
        """The sample `index`, 0 to len - 1, of an epoch: the same whoever asks, whenever.

        mosaic: False for the last epochs, which show one picture a sample. Raises InputError (a picture that
        cannot be read) and IndexError.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"expected a sample from 0 to {len(self) - 1}, got {index}")
        augmentation = self.augmentation if mosaic else self.augmentation.without_mosaic()
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, index)))
        image, truth = self._picture(index % len(self.images), augmentation, rng)
        if rng.random() < augmentation.mixup:
            other, other_truth = self._picture(int(rng.integers(len(self.images))), augmentation, rng)
            image = blend(image, other, rng.beta(_MIXUP, _MIXUP))
            truth = joined((truth, other_truth))
        change_colors(image, augmentation.hsv, rng)
        return sample_from(image, truth)

    def _picture(
        self, number: int, augmentation: Augmentation, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Truth]:
        image = np.empty((*self.canvas, 3), np.uint8)
        if rng.random() >= augmentation.mosaic:
            whole = (0, 0, self.canvas[1], self.canvas[0])
            return image, self._piece(image, number, whole, augmentation, rng)
        areas = mosaic_areas(self.canvas, rng)
        others = rng.integers(len(self.images), size=3).tolist()
        parts = [
            self._piece(image, piece, area, augmentation, rng)
            for piece, area in zip((number, *others), areas, strict=True)
        ]
        return image, joined(parts)

    def _piece(
        self,
        image: NDArray[np.uint8],
        number: int,
        area: Area,
        augmentation: Augmentation,
        rng: np.random.Generator,
    ) -> Truth:
        """Draw a frame or a window of it into the area; what is visible there."""
        truth = self._truths[number]
        place, min_visible = self._place(number, truth, area, augmentation, rng)
        draw(image, self._frames[number], place)
        return placed_truth(truth, place, min_visible=min_visible)

    def _place(
        self, number: int, truth: Truth, area: Area, augmentation: Augmentation, rng: np.random.Generator
    ) -> tuple[Placement, float]:
        size = (self.images[number].height, self.images[number].width)
        windows = self.windows
        if windows is not None and rng.random() < windows.share:
            return window_in_area(size, truth, area, windows, augmentation, rng), windows.min_visible
        if area == (0, 0, self.canvas[1], self.canvas[0]):
            return whole_frame(size, self.canvas, augmentation, rng), MIN_AREA_LEFT
        return frame_in_area(size, self.canvas, area, augmentation, rng), MIN_AREA_LEFT


def sample_from(image: NDArray[np.uint8], truth: Truth) -> Sample:
    """A Sample of a drawn canvas and its truth in canvas pixels."""
    return Sample(image, truth.boxes.astype(np.float32), truth.class_ids, truth.ignored.astype(np.float32))


def labelled_images(
    datasets: Dataset | Sequence[Dataset], classes: ArrayLike | Sequence[ArrayLike | None] | None
) -> tuple[tuple[DatasetImage, ...], tuple[Truth, ...]]:
    """The images of all data sets and their truth in the detector's classes; InputError as SampleSource."""
    joint: Sequence[Dataset]
    mappings: Sequence[ArrayLike | None]
    if isinstance(datasets, Dataset):
        joint, mappings = (datasets,), (classes,)  # type: ignore[assignment]
    else:
        joint = tuple(datasets)
        mappings = (None,) * len(joint) if classes is None else tuple(classes)  # type: ignore[arg-type]
    if len(mappings) != len(joint):
        raise InputError(f"classes: expected one mapping a data set, {len(joint)}, got {len(mappings)}")
    _check_categories(joint, mappings)
    images: list[DatasetImage] = []
    truths: list[Truth] = []
    for dataset, mapping in zip(joint, mappings, strict=True):
        checked = check_mapping(dataset, mapping)
        images.extend(dataset.images)
        truths.extend(truth_of_image(image, checked) for image in dataset.images)
    if not images:
        raise InputError("datasets: expected at least one frame to train on, got none")
    return tuple(images), tuple(truths)


def check_canvas(canvas: tuple[int, int]) -> tuple[int, int]:
    """The canvas; InputError unless it is a height and a width of at least 8 pixels."""
    height, width = canvas
    if min(height, width) < 8:
        raise InputError(f"canvas: expected height and width of at least 8 pixels, got {height}x{width}")
    return int(height), int(width)


def _check_categories(joint: Sequence[Dataset], mappings: Sequence[ArrayLike | None]) -> None:
    kept = [dataset for dataset, mapping in zip(joint, mappings, strict=True) if mapping is None]
    for dataset in kept[1:]:
        if dataset.categories != kept[0].categories:
            raise InputError(
                f"{dataset.source}: expected the categories of {kept[0].source}, {kept[0].categories}, got "
                f"{dataset.categories}; give a mapping of classes for each data set"
            )
