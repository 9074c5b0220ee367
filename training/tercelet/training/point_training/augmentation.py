"""What is done at random to a room: mirrored, turned about z, made larger or smaller; all of it at once.

Frame: upright depth, metres. Ranges of mmdetection3d's SUN RGB-D recipe (facts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.training.detectors.imvotenet.view import CloudMotion


@dataclass(frozen=True)
class RoomAugmentation:
    """flip: chance that x changes its sign. degrees: largest turn about z either way. scale: smallest and
    largest factor. InputError for what is none."""

    flip: float = 0.5
    degrees: float = 30.0
    scale: tuple[float, float] = (0.85, 1.15)

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (0 <= self.flip <= 1 and 0 <= self.degrees <= 180 and 0 < low <= high < math.inf):
            raise InputError(
                "augmentation: expected flip 0 to 1, degrees 0 to 180 and scale 0 < low <= high, got "
                f"{self.flip}, {self.degrees} and {self.scale}"
            )

    def drawn(self, generator: np.random.Generator) -> RoomMotion:
        """What happens to one room."""
        return RoomMotion(
            is_mirrored=bool(generator.random() < self.flip),
            turn=math.radians(float(generator.uniform(-self.degrees, self.degrees))),
            scale=float(generator.uniform(*self.scale)),
        )


@dataclass(frozen=True)
class RoomMotion:
    """is_mirrored: x changes its sign, first. turn: then about z, radians, counter-clockwise from above.
    scale: then everything is multiplied by it."""

    is_mirrored: bool = False
    turn: float = 0.0
    scale: float = 1.0

    @property
    def linear(self) -> NDArray[np.float64]:
        """(3, 3): point @ linear."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        turned = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        mirrored = np.diag([-1.0 if self.is_mirrored else 1.0, 1.0, 1.0])
        moved: NDArray[np.float64] = mirrored @ turned * self.scale
        return moved

    def points(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Points, or offsets between them, (..., 3) -> where they are now."""
        moved: NDArray[np.float32] = (points.astype(np.float64) @ self.linear).astype(np.float32)
        return moved

    def boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes (K, 7) -> where they are now."""
        yaw = boxes[:, 6]
        if self.is_mirrored:
            yaw = math.pi - yaw
        yaw = np.mod(yaw + self.turn + math.pi, 2 * math.pi) - math.pi
        return np.concatenate((boxes[:, :3] @ self.linear, boxes[:, 3:6] * self.scale, yaw[:, None]), axis=1)

    def of_cloud(self) -> CloudMotion:
        """The same, as the picture's view undoes it."""
        return CloudMotion().then(self.linear)
