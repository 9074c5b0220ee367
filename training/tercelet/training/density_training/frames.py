"""The frames that a density network learns from, and reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.evaluation.datasets.visdrone_txt import visdrone_dataset


@dataclass(frozen=True)
class LabelledFrame:
    """A picture and where its objects are, all in frame pixels.

    centres: (N, 2) float64 x, y. ignored: (M, 4) float64 xyxy, parts that nobody labelled.
    """

    path: Path
    centres: NDArray[np.float64]
    ignored: NDArray[np.float64]


def frames_from_visdrone(folder: str | Path) -> tuple[LabelledFrame, ...]:
    """The frames of a folder with images/ and annotations/, by path.

    Objects are those of categories 1 to 10 with score 1; boxes of score 0 count as ignored. InputError as
    `visdrone_dataset` raises it.
    """
    return tuple(
        LabelledFrame(
            image.path,
            centres=(image.boxes[~image.ignore, :2] + image.boxes[~image.ignore, 2:]) / 2,
            ignored=np.concatenate((image.ignored_regions, image.boxes[image.ignore])),
        )
        for image in visdrone_dataset(folder).images
    )


def identity_of_frames(frames: Sequence[LabelledFrame]) -> str:
    """Hex sha256 over names, centres and ignored parts: which data a network was trained on."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.path.name}\0{len(frame.centres)}\0{len(frame.ignored)}\0".encode())
        digest.update(frame.centres.astype("<f8").tobytes() + frame.ignored.astype("<f8").tobytes())
    return digest.hexdigest()


def read_pixels(frame: LabelledFrame) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) uint8 BGR, turned upright; InputError if it cannot be read."""
    found = opencv().imread(str(frame.path), opencv().IMREAD_COLOR)
    if found is None:
        raise InputError(f"{frame.path}: expected a picture, got something that OpenCV cannot read")
    pixels: NDArray[np.uint8] = found
    return pixels


def opencv() -> Any:
    """The module cv2; MissingDependencyError without it."""
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            f"frames are read with OpenCV, which cannot be imported ({error}): pip install 'tercelet[train]'"
        ) from error
    return cv2
