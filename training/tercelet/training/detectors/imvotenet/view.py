"""How a cloud and its picture lie to each other: where a point is in the picture, whatever was done to both.

Frames: clouds upright depth (x right, y forward, z up, metres), pictures in pixels, columns to the right and
rows down. Arithmetic in float64, results float32 as the op VoteFusion takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tercelet.contract.errors import InputError

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class CloudMotion:
    """What augmentation did to a cloud: point @ linear + shift (row vectors). linear (3, 3), shift (3)."""

    linear: Matrix = field(default_factory=lambda: np.eye(3))
    shift: Matrix = field(default_factory=lambda: np.zeros(3))

    def then(self, linear: Matrix | float = 1.0, shift: Sequence[float] = (0.0, 0.0, 0.0)) -> CloudMotion:
        """This motion followed by point @ linear + shift; a number scales."""
        step = np.eye(3) * linear if np.ndim(linear) == 0 else np.asarray(linear, np.float64)
        return CloudMotion(self.linear @ step, self.shift @ step + np.asarray(shift, np.float64))


@dataclass(frozen=True)
class PictureView:
    """depth2img: (3, 3) from a point of the cloud as it was measured to pixels, counted from 1, times depth.

    size: height and width in pixels of the picture that the 2D detector saw, without padding. scale: what the
    original picture was multiplied by, (across, down). offset: pixels added after that, negative for what a
    crop took off. is_mirrored: whether the picture was mirrored left to right after that. motion: of the
    cloud. Raises InputError for a matrix that is no camera or sizes that are none.
    """

    depth2img: Matrix
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    is_mirrored: bool = False
    motion: CloudMotion = field(default_factory=CloudMotion)

    def __post_init__(self) -> None:
        matrix = np.asarray(self.depth2img, np.float64)
        object.__setattr__(self, "depth2img", matrix)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 3:
            raise InputError(
                "depth2img: expected a (3, 3) matrix of finite numbers that can be inverted, got "
                f"{matrix.tolist()}; it is intrinsics @ axes @ Rt.T of the calibration"
            )
        if min(self.size) < 1 or not min(self.scale) > 0:
            raise InputError(
                f"view: expected a size of at least one pixel and scales above 0, got {self.size} and "
                f"{self.scale}"
            )

    def matrix(self) -> Tensor:
        """(3, 4) from a point of the cloud as it is now; the motion is undone in it."""
        linear = self.depth2img @ np.linalg.inv(self.motion.linear).T
        return torch.from_numpy(np.concatenate((linear, -(linear @ self.motion.shift)[:, None]), 1)).float()

    def picture(self) -> Tensor:
        """(2, 3): for columns, then rows, scale and offset from original pixels to those seen, and size."""
        height, width = self.size
        across = [self.scale[0], self.offset[0], width]
        if self.is_mirrored:
            across = [-self.scale[0], width - self.offset[0], width]
        return torch.tensor([across, [self.scale[1], self.offset[1], height]])

    def texture(self, points: Tensor, image: Tensor) -> Tensor:
        """(N, 3): the nearest pixel of each point (N, 3 or more), divided by 255; the image stays as it is.

        image: (3, H, W) as the 2D detector takes it, padding included. A point outside of the picture takes
        the nearest pixel of its border, one that has no place (at the camera, not a number) the first.
        """
        if image.ndim != 3 or image.shape[0] != 3 or image.shape[1:] < torch.Size(self.size):
            raise InputError(
                f"image: expected (3, H, W) of at least {self.size[0]}x{self.size[1]} pixels, got "
                f"{tuple(image.shape)}"
            )
        places = self.pixels(points).to(image.device)
        return (image[:, places[:, 1], places[:, 0]] / 255).T.contiguous()

    def pixels(self, points: Tensor) -> Tensor:
        """(N, 2) int64: column and row of the pixel nearest to each point (N, 3 or more), in the picture."""
        matrix, picture = self.matrix().to(points.device), self.picture().to(points.device)
        u, v, depth = ((points[:, :3] * row[:3]).sum(1) + row[3] for row in matrix)
        original = torch.stack((u / depth - 1, v / depth - 1), 1).round()
        seen = (original * picture[:, 0] + picture[:, 1]).round()
        sound = torch.where(seen.isfinite().all(1, keepdim=True), seen, 0.0)
        return torch.minimum(sound.clamp(min=0), picture[:, 2] - 1).long()
