"""What may be done to a picture before a detector sees it, and which parts of a frame it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tercelet.contract.errors import InputError

# Beyond this a picture no longer shows what the frame showed.
_STEEPEST_SHEAR = 60.0


@dataclass(frozen=True)
class Augmentation:
    """How pictures are varied; every value at 0 leaves them as they are. Raises InputError (a value's range).

    mosaic, mixup: chance that a sample is four pictures side by side, that two samples are blended. hsv: the
    largest turn of the hue, as a share of the colour circle, and the largest relative change of saturation
    and value. degrees, shear: the largest turn and slant, in degrees to either side. translate: the largest
    shift of a whole frame, as a share of the canvas. scale: a whole frame is drawn at 1 - scale to 1 + scale
    of its letterboxed size; windows have a scale of their own. flip_horizontal, flip_vertical: chance that a
    picture is mirrored left to right, upside down.
    """

    mosaic: float = 1.0
    mixup: float = 0.0
    hsv: tuple[float, float, float] = (0.015, 0.7, 0.4)
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.5
    shear: float = 0.0
    flip_horizontal: float = 0.5
    flip_vertical: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mosaic", "mixup", "translate", "flip_horizontal", "flip_vertical"):
            check_range(name, getattr(self, name), 0, 1)
        if len(self.hsv) != 3:
            raise InputError(f"hsv: expected three numbers (hue, saturation, value), got {self.hsv}")
        for name, value in zip(("hue", "saturation", "value"), self.hsv, strict=True):
            check_range(f"hsv, {name}", value, 0, 1)
        check_range("degrees", self.degrees, 0, 180)
        check_range("shear", self.shear, 0, _STEEPEST_SHEAR)
        check_range("scale", self.scale, 0, 0.95)

    @classmethod
    def none(cls) -> Augmentation:
        """Pictures as they are: whole frames come out letterboxed as the runtime does it."""
        return cls(mosaic=0, hsv=(0, 0, 0), translate=0, scale=0, flip_horizontal=0)

    def without_mosaic(self) -> Augmentation:
        """The same with one picture a sample, for the last epochs."""
        return replace(self, mosaic=0.0, mixup=0.0)


@dataclass(frozen=True)
class Windows:
    """Samples that look at a part of a frame, as a detector of tiny objects does. Raises InputError.

    share: of the samples (of a mosaic's pieces) that are windows instead of the whole frame. scale: smallest
    and largest canvas pixels per frame pixel, drawn log-uniformly. per_frame: samples an epoch and frame.
    centred: chance that a window is laid such that a randomly chosen object is in it, anywhere where it fits;
    else the window lies anywhere in the frame. min_visible: an object that the border cuts stays with its
    visible part if that is at least this share of its area, else it is ignored.
    """

    share: float = 1.0
    scale: tuple[float, float] = (0.5, 2.0)
    per_frame: int = 1
    centred: float = 0.8
    min_visible: float = 0.25

    def __post_init__(self) -> None:
        for name in ("share", "centred", "min_visible"):
            check_range(name, getattr(self, name), 0, 1)
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise InputError(
                f"scale: expected the smallest and the largest canvas pixels per frame pixel, above 0, "
                f"such as (0.5, 2.0), got {self.scale}"
            )
        if isinstance(self.per_frame, bool) or not isinstance(self.per_frame, int) or self.per_frame < 1:
            raise InputError(
                f"per_frame: expected at least 1 sample an epoch and frame, got {self.per_frame}"
            )

    @property
    def middle_scale(self) -> float:
        """The geometric mean of the smallest and largest scale: one to validate at."""
        return math.sqrt(self.scale[0] * self.scale[1])


def check_range(name: str, value: float, low: float, high: float) -> None:
    """InputError unless `value` is a number from `low` to `high`, both included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
