"""What every 2D detector is: a layer table, a head, and the promises that hold for all families."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from torch import Tensor, nn

from tercelet.contract.errors import InputError
from tercelet.training.candidates import Candidates, TopCandidates
from tercelet.training.detectors.layers import Layer, plan_layers

# Neither is in a state dict; with torch's eps of 1e-5 every output moves by thousands of times the tolerance.
BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.03


class Head(nn.Module, ABC):
    """The last layer of a detector. `levels` below is what forward(maps) returns, P3 first."""

    priors: int = 1
    """Anchors at each place of a map."""

    @abstractmethod
    def raw_outputs(self, levels: Any) -> Any:
        """The numbers before decoding, in the form that losses read."""

    @abstractmethod
    def decode(self, levels: Any) -> Candidates:
        """Every anchor decoded."""

    @abstractmethod
    def top_candidates(self, levels: Any, count: int) -> TopCandidates:
        """The best pairs; nothing but them decoded."""


class Detector(nn.Module, ABC):
    """A 2D detector: module(images), images (B, 3, H, W) float32 RGB in 0..1.

    In eval mode the result is `Candidates`, in training mode `raw_outputs(images)`. The state dict has
    upstream's names in upstream's order. `build(self.detector, **self.options)` makes the same architecture.
    Images whose sides `check_size` refuses raise InputError.
    """

    options_type: ClassVar[type[Any]]
    """Frozen dataclass of the options, with defaults."""
    head_sources: ClassVar[tuple[int, ...]]
    """Layers that the head reads, P3 first."""
    ignored_buffers: ClassVar[tuple[str, ...]] = ()
    """Names in old upstream states that say nothing new."""
    size_multiple: ClassVar[int] = 32
    minimum_size: ClassVar[int] = 32
    """What both sides of an image must be a multiple of and reach, in pixels."""
    suppression_iou: ClassVar[float] = 0.7
    """IoU above which upstream's predictor drops the lesser of two boxes of a class."""

    def __init__(self, detector: str, scale: str, options: Any) -> None:
        super().__init__()
        table = self.layer_table(scale, options)
        plan = plan_layers(table)
        channels = tuple(plan.channels[i] for i in self.head_sources)
        options = self.resolved_options(options, channels)
        self.detector = detector
        self.classes: int = options.classes
        self.options: dict[str, Any] = json.loads(json.dumps(asdict(options)))
        self.strides: tuple[int, ...] = tuple(plan.strides[i] for i in self.head_sources)
        layers = [row.make(count) for row, count in zip(table, plan.inputs, strict=True)]
        self.model = nn.ModuleList([*layers, self.make_head(channels, self.strides, options)])
        self._sources = plan.sources
        self._finished = _finished_after(plan.sources, self.head_sources)
        _set_batch_norm(self)

    @property
    def head(self) -> Head:
        """The last layer."""
        head = self.model[-1]
        assert isinstance(head, Head)
        return head

    @classmethod
    @abstractmethod
    def layer_table(cls, scale: str, options: Any) -> Sequence[Layer]:
        """The rows before the head."""

    @classmethod
    @abstractmethod
    def resolved_options(cls, options: Any, channels: tuple[int, ...]) -> Any:
        """The options with everything filled in that follows from the channels the head reads."""

    @classmethod
    @abstractmethod
    def make_head(cls, channels: tuple[int, ...], strides: tuple[int, ...], options: Any) -> Head:
        """The head for maps of these channels and strides, biases initialised."""

    @classmethod
    @abstractmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that an upstream state reveals; InputError if their tensors contradict each other.

        Empty if the state lacks the tensors that tell.
        """

    @classmethod
    def upstream_state(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        """An upstream state, of tensors or arrays, under the names and in the shapes of the detector here.

        Numbers and their order stay; `ignored_buffers` are left out. What does not fit is left as it is.
        """
        return {name: value for name, value in state.items() if name not in cls.ignored_buffers}

    def check_size(self, height: int, width: int) -> None:
        """InputError if the detector cannot take images of this size, in pixels."""
        if height < self.minimum_size or width < self.minimum_size:
            raise InputError(self._too_small(height, width))
        if height % self.size_multiple or width % self.size_multiple:
            step = self.size_multiple
            near = f"{-(-height // step) * step}x{-(-width // step) * step}"
            raise InputError(
                f"{self.detector}: expected a height and a width that are multiples of {step}, "
                f"got {height}x{width} (height x width); use {near}"
            )

    def anchor_count(self, height: int, width: int) -> int:
        """How many anchors an image of this size, in pixels, has over all levels."""
        places = sum((height // stride) * (width // stride) for stride in self.strides)
        return places * self.head.priors

    def _too_small(self, height: int, width: int) -> str:
        return (
            f"{self.detector}: expected at least {self.minimum_size} pixels per side, got {height}x{width} "
            "(height x width)"
        )

    def forward(self, images: Tensor) -> Any:
        levels = self._levels(images)
        return self.head.raw_outputs(levels) if self.training else self.head.decode(levels)

    def raw_outputs(self, images: Tensor) -> Any:
        """What the head gives before decoding, in the form that losses read (see the head of the family)."""
        return self.head.raw_outputs(self._levels(images))

    def top_candidates(self, images: Tensor, count: int) -> TopCandidates:
        """The `count` best (anchor, class) pairs of each image: exactly those of the full result, ties aside.

        count: at most anchors * classes. All shapes are static, so torch.export traces it; only the chosen
        anchors are decoded.
        """
        return self.head.top_candidates(self._levels(images), count)

    def layer_outputs(self, images: Tensor) -> list[Tensor]:
        """The map (B, C, h, w) that each layer before the head gives, in the order of the table."""
        outputs = self._run(images, keep_all=True)
        return [outputs[index] for index in range(len(self._sources))]

    def _levels(self, images: Tensor) -> Any:
        outputs = self._run(images, keep_all=False)
        return self.head([outputs[index] for index in self.head_sources])

    def _run(self, images: Tensor, *, keep_all: bool) -> dict[int, Tensor]:
        """Outputs by layer, -1 for the image; without keep_all only those that a later layer reads."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(
                f"{self.detector}: expected images (B, 3, H, W) of floats in 0..1, "
                f"got {tuple(images.shape)} of {images.dtype}"
            )
        self.check_size(images.shape[2], images.shape[3])
        outputs = {-1: images}
        x = images
        for index, read in enumerate(self._sources):
            maps = [outputs[source] for source in read]
            x = self.model[index](maps if len(maps) > 1 else maps[0])
            outputs[index] = x
            if not keep_all:
                for finished in self._finished[index]:
                    del outputs[finished]
        return outputs


def _finished_after(
    sources: Sequence[tuple[int, ...]], head_sources: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """For each layer, the outputs that nobody reads after it, so that their memory can go."""
    last_reader = {source: index for index, read in enumerate(sources) for source in read}
    return tuple(
        tuple(
            source for source, reader in last_reader.items() if reader == index and source not in head_sources
        )
        for index in range(len(sources))
    )


def _set_batch_norm(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = BATCH_NORM_EPS
            part.momentum = BATCH_NORM_MOMENTUM
