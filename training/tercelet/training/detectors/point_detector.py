"""What every detector of boxes in point clouds is, and the promises that hold for all of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn


class Proposals(NamedTuple):
    """What a point detector proposes, before any selection; P proposals of each of B clouds.

    boxes: (B, P, 7) float32 as in `contract.box3d`: centre of gravity, full sizes, metres, yaw in radians, in
    the frame of the cloud. A size may be negative where the network says so. objectness: (B, P) in 0..1.
    class_scores: (B, P, C), each row sums to 1. raw: (B, P, 5 + 2H + 5C) the numbers before decoding, in the
    order of `raw_parts`.
    """

    boxes: Tensor
    objectness: Tensor
    class_scores: Tensor
    raw: Tensor


class PointDetector(nn.Module, ABC):
    """A detector of oriented boxes in clouds of the upright depth frame (x right, y forward, z up, metres).

    In eval mode the result is `Proposals`. The state dict has mmdetection3d's names.
    `build(self.detector, **self.options)` makes the same architecture. What does not fit raises InputError.
    """

    options_type: ClassVar[type[Any]]
    """Frozen dataclass of the options, with defaults."""

    def __init__(self, detector: str, scale: str, options: Any) -> None:
        super().__init__()
        self.detector = detector
        self.classes: int = options.classes
        self.points: int = options.points
        """How many points of a cloud the network is recommended to work at."""
        self.options: dict[str, Any] = json.loads(json.dumps(asdict(options)))

    @property
    @abstractmethod
    def default_labels(self) -> tuple[str, ...] | None:
        """The class names that follow from the options; None if none do."""

    @abstractmethod
    def probe(self) -> tuple[Tensor, ...]:
        """A small input to try the network on, the same every time: `detector(*detector.probe())`."""

    @classmethod
    @abstractmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that an upstream state reveals; InputError if their tensors contradict each other.

        Empty if the state lacks the tensors that tell.
        """

    @classmethod
    def upstream_state(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        """An upstream state, of tensors or arrays, under the names and in the shapes of the detector here.

        What does not fit is left as it is.
        """
        return dict(state)
