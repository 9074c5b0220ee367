"""Layer tables: what a layer is made of and where it reads, and the channels and strides that follow.

A table is a tuple of `Layer`, one row a top-level module of the network in upstream's order, head excluded.
The functions below make the rows that several families share; a family may add rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from tercelet.training.detectors.attention import C2PSA
from tercelet.training.detectors.blocks import C3, SPPF, C2f, C3k2, Concat, Conv


@dataclass(frozen=True)
class Layer:
    """One row of a layer table.

    make: builds the module from its number of input channels (the sum over sources). channels: output
    channels, None where they equal the input's. sources: the layers it reads, counted from 0, or -1 for the
    one before. A module with several sources takes a list of maps. downsample and upsample: how the
    module changes the size of a map.
    """

    make: Callable[[int], nn.Module]
    channels: int | None = None
    sources: tuple[int, ...] = (-1,)
    downsample: int = 1
    upsample: int = 1


@dataclass(frozen=True)
class Plan:
    """What follows from a table: of every layer absolute sources, channels in and out, stride in pixels."""

    sources: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]


def plan_layers(table: Sequence[Layer], *, image_channels: int = 3) -> Plan:
    """Work out sources, channels and strides of every row; source -1 of row 0 is the image."""
    sources: list[tuple[int, ...]] = []
    inputs: list[int] = []
    channels: list[int] = []
    strides: list[int] = []
    for index, row in enumerate(table):
        read = tuple(index + source if source < 0 else source for source in row.sources)
        sources.append(read)
        inputs.append(sum(channels[i] if i >= 0 else image_channels for i in read))
        channels.append(inputs[-1] if row.channels is None else row.channels)
        stride = strides[read[0]] if read[0] >= 0 else 1
        strides.append(stride * row.downsample // row.upsample)
    return Plan(tuple(sources), tuple(inputs), tuple(channels), tuple(strides))


def conv(channels: int, kernel: int = 3, *, stride: int = 1, padding: int | None = None) -> Layer:
    """Row of a `Conv`."""
    make = partial(Conv, outputs=channels, kernel=kernel, stride=stride, padding=padding)
    return Layer(make, channels, downsample=stride)


def c3(channels: int, repeats: int, *, shortcut: bool = True) -> Layer:
    """Row of a `C3`."""
    return Layer(partial(C3, outputs=channels, repeats=repeats, shortcut=shortcut), channels)


def c2f(channels: int, repeats: int, *, shortcut: bool) -> Layer:
    """Row of a `C2f`."""
    return Layer(partial(C2f, outputs=channels, repeats=repeats, shortcut=shortcut), channels)


def c3k2(channels: int, repeats: int, *, c3k: bool, expansion: float = 0.5) -> Layer:
    """Row of a `C3k2`."""
    return Layer(partial(C3k2, outputs=channels, repeats=repeats, c3k=c3k, expansion=expansion), channels)


def sppf(channels: int) -> Layer:
    """Row of an `SPPF`."""
    return Layer(partial(SPPF, outputs=channels), channels)


def c2psa(channels: int, repeats: int) -> Layer:
    """Row of a `C2PSA`."""
    return Layer(partial(C2PSA, outputs=channels, repeats=repeats), channels)


def upsample() -> Layer:
    """Row that doubles height and width, nearest neighbour."""
    return Layer(lambda _: nn.Upsample(scale_factor=2, mode="nearest"), upsample=2)


def concat(source: int) -> Layer:
    """Row that stacks the layer before and layer `source`."""
    return Layer(lambda _: Concat(), sources=(-1, source))
