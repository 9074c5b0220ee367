"""Where a frame, or a window of it, comes to lie on a canvas, drawn by lot."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import letterbox_for
from tercelet.training.detector_training.samples.augmentation import Augmentation, Windows
from tercelet.training.detector_training.samples.truth import Placement, Truth

Area = tuple[int, int, int, int]
# A mosaic's pieces meet in the middle half of the canvas, so that none is a sliver.
_MEETING = (0.25, 0.75)


def letterboxed(frame: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """The whole frame, both (height, width), as the runtime letterboxes it."""
    box = letterbox_for(*frame, height=canvas[0], width=canvas[1])
    linear = np.diag((box.width / box.frame_width, box.height / box.frame_height))
    return Placement(linear, np.array((box.left, box.top), np.float64), (0, 0, canvas[1], canvas[0]))


def whole_frame(
    frame: tuple[int, int], canvas: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator
) -> Placement:
    """The letterboxed frame, (height, width), resized, turned, slanted, mirrored and shifted."""
    plain = letterboxed(frame, canvas)
    linear = random_linear(augmentation, rng) * rng.uniform(1 - augmentation.scale, 1 + augmentation.scale)
    if augmentation.translate == 0 and np.array_equal(linear, np.eye(2)):
        return plain
    middle = np.array((frame[1], frame[0])) / 2
    size = np.array((canvas[1], canvas[0]))
    target = plain.linear @ middle + plain.shift
    target = target + size * rng.uniform(-augmentation.translate, augmentation.translate, 2)
    turned = linear @ plain.linear
    return Placement(turned, target - turned @ middle, plain.area)


def frame_in_area(
    frame: tuple[int, int],
    canvas: tuple[int, int],
    area: Area,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Placement:
    """The frame at the size it has when it is letterboxed on the whole canvas, varied, as a mosaic's piece.

    It lies anywhere in the area; along a side where it is longer, any part of it fills the area.
    """
    ratio = min(canvas[0] / frame[0], canvas[1] / frame[1])
    ratio *= rng.uniform(1 - augmentation.scale, 1 + augmentation.scale)
    linear = random_linear(augmentation, rng) * ratio
    return Placement(linear, _anywhere(linear, frame, area, rng), area)


def window_in_area(
    frame: tuple[int, int],
    truth: Truth,
    area: Area,
    windows: Windows,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Placement:
    """A window of the frame, (height, width), that fills the area; all of the frame where it is smaller."""
    low, high = np.log(windows.scale)
    linear = random_linear(augmentation, rng) * math.exp(rng.uniform(low, high))
    anywhere = _anywhere(linear, frame, area, rng)
    if rng.random() >= windows.centred or not len(truth.boxes):
        return Placement(linear, anywhere, area)
    box = truth.boxes[rng.integers(len(truth.boxes))]
    half = np.abs(linear) @ (box[2:] - box[:2]) / 2
    size = np.array((area[2] - area[0], area[3] - area[1]), np.float64)
    half = np.minimum(half, size / 2)
    target = area[:2] + rng.uniform(half, size - half)
    lowest, highest = _range(linear, frame, area)
    shift = target - linear @ (box[:2] + box[2:]) / 2
    return Placement(linear, shift.clip(lowest, highest), area)


def mosaic_areas(canvas: tuple[int, int], rng: np.random.Generator) -> tuple[Area, Area, Area, Area]:
    """Four areas that fill the canvas (height, width) and meet in a point drawn by lot."""
    height, width = canvas
    x, y = (rng.uniform(*_MEETING, 2) * (width, height)).round().astype(int).clip(1).tolist()
    return (0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)


def random_linear(augmentation: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 2) turn, slant and mirroring, of determinant 1 or -1."""
    flips = rng.random(2) < (augmentation.flip_horizontal, augmentation.flip_vertical)
    linear = np.diag(np.where(flips, -1.0, 1.0))
    if augmentation.shear:
        slant = np.tan(np.radians(rng.uniform(-augmentation.shear, augmentation.shear, 2)))
        slanted = np.array(((1.0, slant[0]), (0.0, 1.0))) @ np.array(((1.0, 0.0), (slant[1], 1.0)))
        linear = slanted @ linear
    if augmentation.degrees:
        angle = math.radians(rng.uniform(-augmentation.degrees, augmentation.degrees))
        cosine, sine = math.cos(angle), math.sin(angle)
        linear = np.array(((cosine, -sine), (sine, cosine))) @ linear
    return linear


def _anywhere(
    linear: NDArray[np.float64], frame: tuple[int, int], area: Area, rng: np.random.Generator
) -> NDArray[np.float64]:
    return rng.uniform(*_range(linear, frame, area))


def _range(
    linear: NDArray[np.float64], frame: tuple[int, int], area: Area
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(2,) smallest and largest shift with which the frame lies in the area, or covers it where longer."""
    side = np.array((frame[1], frame[0]), np.float64)
    half = np.abs(linear) @ side / 2
    first = linear @ side / 2 - half
    at_start = area[:2] - first
    at_end = area[2:] - first - 2 * half
    return np.minimum(at_start, at_end), np.maximum(at_start, at_end)
