"""Colours of rooms: red, green, blue in 0..1, varied a little each time they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tercelet.evaluation.synthetic.rooms.solids import Colour

WOODS: tuple[Colour, ...] = (
    (0.62, 0.44, 0.28), (0.45, 0.29, 0.18), (0.74, 0.60, 0.42), (0.33, 0.22, 0.15), (0.80, 0.71, 0.56),
    (0.54, 0.33, 0.20),
)  # fmt: skip
PAINTED: tuple[Colour, ...] = ((0.88, 0.87, 0.84), (0.20, 0.20, 0.21), (0.55, 0.57, 0.58), (0.80, 0.76, 0.68))
FABRICS: tuple[Colour, ...] = (
    (0.28, 0.33, 0.42), (0.55, 0.50, 0.44), (0.36, 0.22, 0.20), (0.62, 0.60, 0.57), (0.23, 0.36, 0.33),
    (0.48, 0.18, 0.17), (0.20, 0.21, 0.24), (0.66, 0.55, 0.38), (0.40, 0.44, 0.52),
)  # fmt: skip
LINEN: tuple[Colour, ...] = (
    (0.90, 0.89, 0.86), (0.78, 0.83, 0.88), (0.88, 0.80, 0.74), (0.62, 0.68, 0.74), (0.72, 0.50, 0.45),
    (0.45, 0.52, 0.62), (0.83, 0.80, 0.62),
)  # fmt: skip
VIVID: tuple[Colour, ...] = (
    (0.70, 0.18, 0.15), (0.16, 0.32, 0.58), (0.86, 0.66, 0.20), (0.20, 0.45, 0.28), (0.83, 0.80, 0.74),
    (0.16, 0.16, 0.18), (0.52, 0.26, 0.42), (0.80, 0.43, 0.18), (0.36, 0.55, 0.66),
)  # fmt: skip
WALLS: tuple[Colour, ...] = (
    (0.87, 0.85, 0.80), (0.80, 0.83, 0.84), (0.86, 0.80, 0.70), (0.74, 0.80, 0.74), (0.83, 0.75, 0.72),
    (0.90, 0.90, 0.89), (0.70, 0.75, 0.82),
)  # fmt: skip
CARPETS: tuple[Colour, ...] = ((0.52, 0.48, 0.42), (0.42, 0.43, 0.46), (0.60, 0.55, 0.48), (0.36, 0.40, 0.42))
CERAMIC: tuple[Colour, ...] = ((0.93, 0.93, 0.92), (0.90, 0.88, 0.83), (0.86, 0.90, 0.91))
METAL: Colour = (0.62, 0.63, 0.65)
DARK: Colour = (0.12, 0.12, 0.13)
CARDBOARD: Colour = (0.66, 0.52, 0.36)
LEAVES: Colour = (0.20, 0.40, 0.18)


def one_of(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """One of the colours, lighter or darker by up to a tenth and a little off in hue."""
    return varied(rng, colours[int(rng.integers(len(colours)))])


def varied(rng: np.random.Generator, colour: Colour, *, by: float = 0.10) -> Colour:
    """The colour, lighter or darker by up to `by`."""
    scale = 1 + rng.uniform(-by, by)
    red, green, blue = np.clip(np.array(colour) * scale + rng.uniform(-0.02, 0.02, 3), 0.02, 0.97).tolist()
    return red, green, blue


def shaded(colour: Colour, by: float) -> Colour:
    """The colour times `by`, at most white."""
    red, green, blue = (min(channel * by, 0.98) for channel in colour)
    return red, green, blue
