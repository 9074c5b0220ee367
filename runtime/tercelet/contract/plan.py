"""Plans: which parts of a frame are looked at again, at which scale, and where they lie on which canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

PlanName = Literal["full", "grid", "dmnet", "canvas"]
PLAN_NAMES: tuple[PlanName, ...] = ("full", "grid", "dmnet", "canvas")


class Region(NamedTuple):
    """A rectangle of the frame and the rectangle of a canvas that it is resized to; whole pixels, half open.

    left, top, right, bottom: in the frame. canvas: which one, from 0, see Plan.shares_full. x, y, width,
    height: on the canvas. mass: objects that were expected in it, 0 where nobody asked.
    """

    left: int
    top: int
    right: int
    bottom: int
    canvas: int
    x: int
    y: int
    width: int
    height: int
    mass: float = 0.0

    @property
    def scale(self) -> float:
        """Canvas pixels a frame pixel, the mean of both axes."""
        across, down = self.width / (self.right - self.left), self.height / (self.bottom - self.top)
        return math.sqrt(across * down)


@dataclass(frozen=True)
class Plan:
    """What is looked at besides the full frame, and what is not.

    shares_full: the full frame lies in the upper left corner of canvas 0, and regions beside it; otherwise
    canvas 0 is the first one after the full frame's. canvases: how many are used, the full frame's not
    counted. limit: how many there might have been. threshold: the least evidence a cell had to hold, None
    where the plan has no such thing. expected: objects that the evidence promises, covered: those of them in
    a region. left_out: (left, top, right, bottom) of parts that were wanted, for which no canvas was left.
    """

    name: PlanName
    regions: tuple[Region, ...] = ()
    canvases: int = 0
    limit: int = 0
    threshold: float | None = None
    expected: float = 0.0
    covered: float = 0.0
    left_out: tuple[tuple[int, int, int, int], ...] = ()
    shares_full: bool = False

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "canvases": self.canvases,
            "limit": self.limit,
            "shares_full": self.shares_full,
            "threshold": None if self.threshold is None else round(self.threshold, 5),
            "expected": round(self.expected, 3),
            "covered": round(self.covered, 3),
            "regions": [
                {
                    "box": [region.left, region.top, region.right, region.bottom],
                    "canvas": region.canvas,
                    "at": [region.x, region.y, region.x + region.width, region.y + region.height],
                }
                for region in self.regions
            ],
            "left_out": [list(box) for box in self.left_out],
        }


@dataclass(frozen=True)
class AerialReport:
    """What one frame cost and why.

    inferences: canvases that went through the detector, the full frame's included; pixels: of those canvases.
    evidence: which sources told where to look. counted: objects in the frame as the density network has it,
    None without one. budget_ms: what was allowed, predicted_ms: what the plan was expected to take; None
    where there is no budget.
    """

    plan: Plan
    inferences: int
    pixels: int
    evidence: tuple[str, ...] = ()
    counted: float | None = None
    budget_ms: float | None = None
    predicted_ms: float | None = None

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        record = {
            **self.plan.record(),
            "inferences": self.inferences,
            "pixels": self.pixels,
            "evidence": list(self.evidence),
        }
        for name in ("counted", "budget_ms", "predicted_ms"):
            value = getattr(self, name)
            if value is not None:
                record[name] = round(value, 3)
        return record


def plan_named(name: str) -> PlanName | None:
    """The name itself where there is a plan of that name, else None."""
    return next((known for known in PLAN_NAMES if known == name), None)


def canvases_of(regions: Sequence[Region]) -> int:
    """How many canvases the regions lie on."""
    return 1 + max((region.canvas for region in regions), default=-1)
