"""The street plan of a scene in plan metres: main streets, blocks between them and what each block is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tercelet.evaluation.synthetic.ground import Ground, Points

Use = Literal["field", "park", "houses", "flats", "works", "lake", "square"]

LANE_M = 3.5
_USES: tuple[Use, ...] = ("field", "park", "houses", "flats", "works", "lake", "square")
_TOWN = (0.0, 0.14, 0.32, 0.33, 0.14, 0.02, 0.05)
_COUNTRY = (0.62, 0.14, 0.1, 0.02, 0.06, 0.05, 0.01)


@dataclass(frozen=True)
class Street:
    """A street along plan direction `along` (0: u, 1: v) at `at` metres of the other one, low to high."""

    along: int
    at: float
    low: float
    high: float
    lanes: int

    @property
    def half_width(self) -> float:
        """Half the carriageway in metres."""
        return 0.5 * LANE_M * self.lanes

    def corners(self, half: float, *, offset: float = 0.0) -> Points:
        """(4, 2) plan corners of a strip of 2 `half` metres along the street."""
        a, b = self.at + offset - half, self.at + offset + half
        if self.along == 0:
            return np.array([(self.low, a), (self.high, a), (self.high, b), (self.low, b)])
        return np.array([(a, self.low), (a, self.high), (b, self.high), (b, self.low)])

    def point(self, at: float, offset: float) -> Points:
        """(1, 2) the plan point `at` metres along and `offset` metres beside the middle."""
        place = (at, self.at + offset) if self.along == 0 else (self.at + offset, at)
        return np.array([place])


@dataclass(frozen=True)
class Block:
    """A rectangle of the plan between streets, (u0, v0, u1, v1) metres, and its use."""

    u0: float
    v0: float
    u1: float
    v1: float
    use: Use

    def corners(self, inset: float = 0.0) -> Points:
        """(4, 2) plan corners, moved inwards by `inset` metres."""
        u0, v0, u1, v1 = self.u0 + inset, self.v0 + inset, self.u1 - inset, self.v1 - inset
        return np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])

    def holds(self, u: float, v: float) -> bool:
        """Whether the point lies inside."""
        return self.u0 <= u <= self.u1 and self.v0 <= v <= self.v1


@dataclass(frozen=True)
class StreetPlan:
    """All streets, wide ones last, and all blocks."""

    streets: tuple[Street, ...]
    blocks: tuple[Block, ...]


def street_plan(rng: np.random.Generator, ground: Ground) -> StreetPlan:
    """A plan that covers the frame; two main streets cross near its middle."""
    height, width = ground.height, ground.width
    xs, ys = np.linspace(0, width, 9), np.linspace(0, height, 9)
    border = [(x, y) for x in xs for y in ys]
    covered = ground.plan_from_image(np.array(border))
    low, high = covered.min(axis=0) - 60, covered.max(axis=0) + 60
    middle = ground.plan_from_image(
        np.array([(width * rng.uniform(0.3, 0.7), height * rng.uniform(0.45, 0.85))])
    )[0]
    lines = [_lines(rng, low[axis], high[axis], middle[axis]) for axis in (0, 1)]
    streets: list[Street] = []
    for along in (1, 0):
        streets += [
            Street(along, at, low[along], high[along], int(rng.choice((2, 4, 4, 6))))
            for at in lines[1 - along]
        ]
    streets.sort(key=lambda street: street.lanes)
    half = {(street.along, street.at): street.half_width + 3.0 for street in streets}
    town = rng.uniform(0.15, 1.0)
    blocks, small = [], []
    for u0, u1 in zip(lines[0], lines[0][1:], strict=False):
        for v0, v1 in zip(lines[1], lines[1][1:], strict=False):
            outer = (u0 + half[1, u0], v0 + half[0, v0], u1 - half[1, u1], v1 - half[0, v1])
            parts, lanes = _divided(rng, outer, town)
            blocks += parts
            small += lanes
    return StreetPlan((*small, *streets), tuple(blocks))


def _lines(rng: np.random.Generator, low: float, high: float, through: float) -> list[float]:
    """Ascending places of main streets, one of them at `through`."""
    places = [through]
    while places[-1] < high:
        places.append(places[-1] + rng.uniform(110, 240))
    while places[0] > low:
        places.insert(0, places[0] - rng.uniform(110, 240))
    return [float(place) for place in places]


def _divided(
    rng: np.random.Generator, outer: tuple[float, float, float, float], town: float
) -> tuple[list[Block], list[Street]]:
    """One block, or several with lanes between them."""
    use = _USES[int(rng.choice(len(_USES), p=np.array(_TOWN if rng.random() < town else _COUNTRY)))]
    if use in ("park", "lake", "square"):
        return [Block(*outer, use)], []
    pieces = {"field": 70.0, "works": 95.0}.get(use, 60.0)
    gap = 0.6 if use == "field" else LANE_M + 2.0
    u_edges = _edges(rng, outer[0], outer[2], pieces)
    v_edges = _edges(rng, outer[1], outer[3], pieces * (2.2 if use == "field" else 1.0))
    blocks = []
    for i, u0 in enumerate(u_edges[:-1]):
        for j, v0 in enumerate(v_edges[:-1]):
            inner = (
                u0 + (gap if i else 0),
                v0 + (gap if j else 0),
                u_edges[i + 1] - (gap if i < len(u_edges) - 2 else 0),
                v_edges[j + 1] - (gap if j < len(v_edges) - 2 else 0),
            )
            blocks.append(Block(*inner, use if rng.random() < 0.85 or use == "field" else "park"))
    if use == "field":
        return blocks, []
    lanes = [Street(1, at, outer[1] - 3, outer[3] + 3, 2) for at in u_edges[1:-1]]
    lanes += [Street(0, at, outer[0] - 3, outer[2] + 3, 2) for at in v_edges[1:-1]]
    return blocks, lanes


def _edges(rng: np.random.Generator, low: float, high: float, piece: float) -> list[float]:
    count = max(1, round((high - low) / piece))
    inner = low + (high - low) * (np.arange(1, count) + rng.uniform(-0.15, 0.15, count - 1)) / count
    return [low, *inner.tolist(), high]
