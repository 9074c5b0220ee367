"""How a family's layer table is stretched in depth and width."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """depth multiplies repeats, width multiplies channels after they were cut at max_channels."""

    depth: float
    width: float
    max_channels: float = math.inf

    def channels(self, base: int) -> int:
        """Channels of a layer whose table entry is `base`, rounded up to a multiple of 8."""
        return math.ceil(min(base, self.max_channels) * self.width / 8) * 8

    def repeats(self, base: int) -> int:
        """How often a block whose table entry is `base` repeats, at least once."""
        return max(round(base * self.depth), 1)
