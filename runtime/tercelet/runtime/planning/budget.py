"""How many canvases a budget of milliseconds buys: measured at the start, corrected with every frame."""

from __future__ import annotations

from collections import deque

# Frames that are remembered; of their times the upper quartile is counted with, so that most frames keep
# the budget and not just half of them.
_REMEMBERED = 24
_QUANTILE = 0.75


class CostModel:
    """Milliseconds of a frame: a part that every frame pays, and one that each canvas adds.

    Not for use from several threads.
    """

    def __init__(self) -> None:
        self._fixed: deque[float] = deque(maxlen=_REMEMBERED)
        self._each: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def fixed_ms(self) -> float:
        """What a frame costs besides its canvases."""
        return _upper(self._fixed)

    @property
    def each_ms(self) -> float:
        """What a canvas costs in the network, the copying into it included."""
        return _upper(self._each)

    def learn(self, *, canvases: int, canvases_ms: float, frame_ms: float) -> None:
        """Take in a frame: how many canvases, how long they took together, and the whole frame."""
        if canvases > 0:
            self._each.append(canvases_ms / canvases)
        self._fixed.append(max(frame_ms - canvases_ms, 0.0))

    def predicted_ms(self, canvases: int) -> float:
        """What a frame with so many canvases is expected to take."""
        return self.fixed_ms + canvases * self.each_ms

    def affordable(self, budget_ms: float) -> int:
        """How many canvases, the full frame's among them, keep a frame within the budget; 0 for none."""
        left = budget_ms - self.fixed_ms
        # A hundredth of a canvas is no reason to leave one out.
        return max(int(left / self.each_ms + 0.01), 0) if self.each_ms > 0 else 0


def _upper(values: deque[float]) -> float:
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * _QUANTILE), len(ordered) - 1)]
