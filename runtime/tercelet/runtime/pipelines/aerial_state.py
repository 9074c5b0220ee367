"""What the pipeline density_crops keeps between stages and frames."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.geometry import Letterbox
from tercelet.runtime.planning.budget import CostModel
from tercelet.runtime.planning.evidence import Evidence


@dataclass(frozen=True)
class AerialView:
    """The last frame as the pipeline saw it, for drawing. Copies.

    mass: (gh, gw) float32 objects expected by cell of `cell` frame pixels. canvases: (n, height, width, 3)
    uint8 in the channel order of the network, the full frame's first.
    """

    mass: NDArray[np.float32]
    cell: int
    canvases: NDArray[np.uint8]


class FrameState:
    """What belongs to one size of frame, made when the first of that size comes.

    place: where the full frame lies on its canvas. seen: boxes and scores of the last frame, None before.
    """

    def __init__(self, height: int, width: int, limit: int) -> None:
        self.height = height
        self.width = width
        self.limit = limit
        self.evidence = Evidence(height, width)
        self.cost = CostModel()
        self.place = Letterbox(height, width, 1, 1, 0, 0)
        self.seen: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


class StageClock:
    """Milliseconds by stage, in the order of work; a stage that comes twice is added up."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._start = self._last = perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to `stage`."""
        now = perf_counter()
        self.spent[stage] = self.spent.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now

    @property
    def total(self) -> float:
        """Milliseconds from the start to the last lap."""
        return (self._last - self._start) * 1e3
