"""The frames of bench_slicing.py with their ground truth: VisDrone's large ones, and 4K made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tercelet.evaluation.datasets import Dataset, DatasetImage, open_dataset
from tercelet.runtime.vision import read_image

SIZE_NAMES = ("1080p", "2000x1500", "4K enlarged", "4K mosaic")
ALL_FRAMES = "as they are"


@dataclass(frozen=True)
class BenchFrame:
    """One frame. group: of SIZE_NAMES. pixels: (H, W, 3) uint8 BGR. truth: its boxes in its own pixels."""

    name: str
    group: str
    pixels: NDArray[np.uint8]
    truth: DatasetImage


def bench_frames(folder: Path, groups: Sequence[str]) -> tuple[Dataset, list[BenchFrame]]:
    """The VisDrone folder's data set without images, and the frames of those groups.

    1080p: as they are. 2000x1500: as they are. 4K enlarged: 1080p twice as large by bicubic interpolation,
    as if the same scenes had been filmed in 4K. 4K mosaic: four 1080p frames side by side, as many in turn as
    there are, beginning with another one each time; small objects all over, the hardest case for a plan.
    ALL_FRAMES: every frame of the folder in one group, whatever its size.
    """
    dataset = open_dataset(folder)
    if ALL_FRAMES in groups:
        whole = [
            BenchFrame(image.path.stem, ALL_FRAMES, read_image(image.path), image) for image in dataset.images
        ]
        return replace(dataset, images=()), whole
    read = [(image, read_image(image.path)) for image in dataset.images if image.width >= 1920]
    full_hd = [pair for pair in read if pair[1].shape[:2] == (1080, 1920)]
    frames: list[BenchFrame] = []
    for image, pixels in read:
        group = "1080p" if pixels.shape[:2] == (1080, 1920) else f"{image.width}x{image.height}"
        frames.append(BenchFrame(image.path.stem, group, pixels, image))
    for image, pixels in full_hd:
        doubled = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        frames.append(
            BenchFrame(image.path.stem, "4K enlarged", doubled.astype(np.uint8), _moved(image, scale=2.0))
        )
    if full_hd:
        for turn in range(len(full_hd)):
            frames.append(_mosaic([full_hd[(turn + place) % len(full_hd)] for place in range(4)]))
    return replace(dataset, images=()), [frame for frame in frames if frame.group in groups]


def _mosaic(parts: Sequence[tuple[DatasetImage, NDArray[np.uint8]]]) -> BenchFrame:
    rows = [np.concatenate([parts[2 * row + column][1] for column in (0, 1)], axis=1) for row in (0, 1)]
    pixels = np.ascontiguousarray(np.concatenate(rows, axis=0))
    moved = [
        _moved(image, left=1920.0 * (place % 2), top=1080.0 * (place // 2))
        for place, (image, _) in enumerate(parts)
    ]
    truth = replace(
        moved[0],
        width=pixels.shape[1],
        height=pixels.shape[0],
        boxes=np.concatenate([part.boxes for part in moved]),
        class_ids=np.concatenate([part.class_ids for part in moved]),
        ignore=np.concatenate([part.ignore for part in moved]),
        areas=np.concatenate([part.areas for part in moved]),
        ignored_regions=np.concatenate([part.ignored_regions for part in moved]),
    )
    name = "+".join(image.path.stem.split("_")[0] for image, _ in parts)
    return BenchFrame(name, "4K mosaic", pixels, truth)


def _moved(image: DatasetImage, *, scale: float = 1.0, left: float = 0.0, top: float = 0.0) -> DatasetImage:
    shift = np.array((left, top, left, top))
    return replace(
        image,
        width=round(image.width * scale),
        height=round(image.height * scale),
        boxes=image.boxes * scale + shift,
        areas=image.areas * scale**2,
        ignored_regions=image.ignored_regions * scale + shift,
    )
