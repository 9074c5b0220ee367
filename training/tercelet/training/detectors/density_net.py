"""What every density network is: objects a cell from an image, and the promises that hold for all of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

from torch import Tensor, nn

from tercelet.contract.errors import InputError

# The one label of a density network: it counts objects and does not tell them apart.
DENSITY_LABELS = ("object",)


class DensityNet(nn.Module, ABC):
    """A density network: module(images), images (B, 3, H, W) float32 RGB in 0..255.

    The result is (B, 1, h, w) float32, objects a cell: the sum over cells is the number of objects. A cell is
    `cell` by `cell` pixels; rows and columns left over at the bottom and the right belong to no cell.
    `build(self.detector, **self.options)` makes the same architecture. Images that are smaller than
    `minimum_size` on a side raise InputError.
    """

    options_type: ClassVar[type[Any]]
    """Frozen dataclass of the options, with defaults."""
    default_canvas: ClassVar[tuple[int, int]] = (272, 480)
    """Height and width in pixels that the network is recommended to work at."""
    learning_rate: ClassVar[float] = 1e-3
    """Where training starts unless it is told otherwise."""

    def __init__(self, detector: str, scale: str, options: Any) -> None:
        super().__init__()
        self.detector = detector
        self.options: dict[str, Any] = json.loads(json.dumps(asdict(options)))

    @property
    @abstractmethod
    def cell(self) -> int:
        """Side of a cell in pixels of the image."""

    @property
    def size_multiple(self) -> int:
        """What both sides of a canvas must be a multiple of, in pixels."""
        return self.cell

    @property
    def minimum_size(self) -> int:
        """What both sides of an image must reach, in pixels."""
        return self.cell

    @abstractmethod
    def density(self, images: Tensor) -> Tensor:
        """The map of checked images."""

    @classmethod
    @abstractmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that a state reveals; empty if it lacks the tensors that tell."""

    @classmethod
    def upstream_state(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        """An upstream state, of tensors or arrays, under the names of the network here.

        Numbers and their order stay. What does not fit is left as it is.
        """
        return dict(state)

    def check_size(self, height: int, width: int) -> None:
        """InputError if canvases of this size, in pixels, would not be covered by whole cells."""
        self._check_minimum(height, width)
        step = self.size_multiple
        if height % step or width % step:
            near = f"{-(-height // step) * step}x{-(-width // step) * step}"
            raise InputError(
                f"{self.detector}: expected a height and a width that are multiples of {step}, "
                f"got {height}x{width} (height x width); use {near}"
            )

    def _check_minimum(self, height: int, width: int) -> None:
        if min(height, width) < self.minimum_size:
            raise InputError(
                f"{self.detector}: expected at least {self.minimum_size} pixels per side, "
                f"got {height}x{width} (height x width)"
            )

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(
                f"{self.detector}: expected images (B, 3, H, W) of floats in 0..255, "
                f"got {tuple(images.shape)} of {images.dtype}"
            )
        self._check_minimum(images.shape[2], images.shape[3])
        return self.density(images)
