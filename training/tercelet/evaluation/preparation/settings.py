"""What a prepared folder was made with; the same folder takes no frame that was made with anything else."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tercelet.contract.errors import InputError

DENSITY_SCALES = (1, 4)


@dataclass(frozen=True)
class PrepareSettings:
    """window: side in pixels. threshold: objects a window. sigma: pixels. density_scale: pixels a cell's
    side.

    min_visible: share of an object that a crop must show for the object to be mentioned. crops: whether to
    make any. parity: density, plan and crop annotations as upstream makes them.
    """

    window: int
    threshold: float
    sigma: float
    density_scale: int
    min_visible: float
    drop_heavy_occlusion: bool
    keep_score0: bool
    crops: bool
    parity: bool

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"window: expected at least 1 pixel, got {self.window}")
        if not math.isfinite(self.threshold):
            raise InputError(f"threshold: expected a number of objects, got {self.threshold}")
        if not 0 < self.sigma < math.inf:
            raise InputError(f"sigma: expected a standard deviation above 0 pixels, got {self.sigma}")
        if self.density_scale not in DENSITY_SCALES:
            raise InputError(f"density_scale: expected 1 or 4, got {self.density_scale}")
        if not 0 <= self.min_visible <= 1:
            raise InputError(f"min_visible: expected a share from 0 to 1, got {self.min_visible}")
        if self.parity and (self.drop_heavy_occlusion or self.keep_score0):
            raise InputError(
                "parity: expected without drop_heavy_occlusion and keep_score0; "
                "upstream goes by the split's name"
            )
