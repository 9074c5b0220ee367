"""Trees and buildings of a scene: in which block, and never where they would hide a cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tercelet.evaluation.synthetic.clusters import Rectangle, Site, overlaps
from tercelet.evaluation.synthetic.ground import Ground, LocalView
from tercelet.evaluation.synthetic.plan import Block, StreetPlan
from tercelet.evaluation.synthetic.scenery import (
    Building,
    Standing,
    Trees,
    block_of_flats,
    hall,
    house,
    stand_building,
    tall_window,
)
from tercelet.evaluation.synthetic.solids import Sun

_MOST_TREES, _MOST_BUILDINGS = 900, 260


class Surroundings:
    """Collects what stands about in one scene."""

    def __init__(self, rng: np.random.Generator, ground: Ground, sun: Sun, sites: Sequence[Site]) -> None:
        self._rng, self._ground, self._sun = rng, ground, sun
        self._sites = [site.rectangle for site in sites]
        self._windows = [_image_window(ground, site) for site in sites]
        self._trees = Trees(rng, sun)
        self._footprints: list[Rectangle] = []
        self.standing: list[Standing] = []
        self._buildings = self._planted = 0

    def fill(self, plan: StreetPlan) -> None:
        """Build on and plant all blocks, then line the streets with trees."""
        order = self._rng.permutation(len(plan.blocks)).tolist()
        seen = [plan.blocks[i] for i in order if self._in_frame(plan.blocks[i])]
        for block in seen:
            self._build(block)
        for block in seen:
            self._plant(block)
        for street in plan.streets:
            if street.lanes > 2 and self._rng.random() < 0.6:
                for side in (-1.0, 1.0):
                    spacing = self._rng.uniform(9, 16)
                    for at in np.arange(street.low, street.high, spacing).tolist():
                        point = street.point(at + self._rng.normal(0, 0.8), side * (street.half_width + 3.2))
                        crossing = any(
                            abs(at - other.at) < other.half_width + 5
                            for other in plan.streets
                            if other.along != street.along and other.low <= street.at <= other.high
                        )
                        if not crossing and self._rng.random() < 0.8:
                            self._tree(point[0, 0], point[0, 1], 1.3, 2.6)

    def shade_tree(self, view: LocalView) -> None:
        """A tree that hides part of what stands at the view's point."""
        rng = self._rng
        x, y = view.on_ground(rng.uniform(-1.6, 1.6), -rng.uniform(1.2, 2.2))
        near = self._ground.view_at(x, y)
        tree = self._trees.tree(near, radius=rng.uniform(1.0, 1.7), height=3.2, variety=int(rng.integers(99)))
        self.standing.append(tree)

    def _in_frame(self, block: Block) -> bool:
        image = self._ground.image_from_plan(block.corners())
        low, high = image.min(axis=0), image.max(axis=0)
        size = (self._ground.width, self._ground.height)
        return bool((high > 0).all() and (low < size).all())

    def _build(self, block: Block) -> None:
        rng = self._rng
        if block.use == "houses":
            for u in np.arange(block.u0 + 11, block.u1 - 8, rng.uniform(18, 24)).tolist():
                for v in np.arange(block.v0 + 10, block.v1 - 8, rng.uniform(17, 22)).tolist():
                    if rng.random() < 0.85:
                        self._building(house(rng), u + rng.normal(0, 1), v + rng.normal(0, 1), 0)
        elif block.use in ("flats", "works"):
            along = 0 if block.u1 - block.u0 > block.v1 - block.v0 else 1
            long, deep = (block.u1 - block.u0, block.v1 - block.v0)[:: 1 if along == 0 else -1]
            rows = max(1, int(deep // (26 if block.use == "flats" else 48)))
            for row in range(rows):
                half = 0.5 * long * rng.uniform(0.6, 0.86)
                thick = 0.5 * deep / rows * rng.uniform(0.5, 0.7)
                building = (
                    block_of_flats(rng, min(half, 32)) if block.use == "flats" else hall(rng, half, thick)
                )
                beside = (row + 0.5) * deep / rows
                middle = 0.5 * long
                u, v = (middle, beside) if along == 0 else (beside, middle)
                self._building(building, block.u0 + u, block.v0 + v, along)

    def _building(self, building: Building, u: float, v: float, along: int) -> None:
        half = (building.half_length, building.half_width)[:: 1 if along == 0 else -1]
        footprint = (u - half[0], v - half[1], u + half[0], v + half[1])
        if self._buildings >= _MOST_BUILDINGS or any(overlaps(footprint, s, 3.0) for s in self._sites):
            return
        plan = np.array([(u, v)])
        x, y = self._ground.image_from_plan(plan)[0].tolist()
        view, heading = self._ground.view_at(x, y), self._ground.heading(plan, along=along)
        window = tall_window(building, view, heading)
        size = (self._ground.height, self._ground.width)
        if window[2] < 0 or window[0] > size[1] or window[3] < 0 or window[1] > size[0]:
            return
        if any(overlaps(window, other, 2.0) for other in self._windows):
            return
        self._footprints.append(footprint)
        self._buildings += 1
        self.standing.append(stand_building(self._rng, building, view, heading, self._sun, size=size))

    def _plant(self, block: Block) -> None:
        rng = self._rng
        area = (block.u1 - block.u0) * (block.v1 - block.v0)
        if block.use == "field":
            if rng.random() < 0.35:  # a hedge along one side
                edge = block.v0 - 0.3
                for u in np.arange(block.u0, block.u1, 3.0).tolist():
                    self._tree(u, edge + rng.normal(0, 0.3), 0.9, 1.7)
            return
        density = {"park": 1 / 130, "houses": 1 / 260, "flats": 1 / 380, "square": 1 / 900, "lake": 1 / 500}
        count = int(min(200, area * density.get(block.use, 1 / 2500) * rng.uniform(0.4, 1.3)))
        for _ in range(count):
            u, v = rng.uniform(block.u0, block.u1), rng.uniform(block.v0, block.v1)
            du, dv = u - 0.5 * (block.u0 + block.u1), v - 0.5 * (block.v0 + block.v1)
            reach = 0.55 * min(block.u1 - block.u0, block.v1 - block.v0)
            if block.use == "lake" and du * du + dv * dv < reach * reach:
                continue
            self._tree(u, v, 1.5, 3.8 if block.use == "park" else 3.0)

    def _tree(self, u: float, v: float, low: float, high: float) -> None:
        """A tree with a crown radius between low and high metres, unless something is in the way."""
        rng = self._rng
        radius, variety = rng.uniform(low, high), int(rng.integers(1000))
        place = (u - 0.6 * radius, v - 0.6 * radius, u + 0.6 * radius, v + 0.6 * radius)
        x, y = self._ground.image_from_plan(np.array([(u, v)]))[0].tolist()
        reach = 6 * radius * self._ground.near
        if not (-reach < x < self._ground.width + reach and -reach < y < self._ground.height + reach):
            return
        if self._planted >= _MOST_TREES or any(overlaps(place, s, 1.0) for s in self._sites):
            return
        if any(overlaps(place, f, 0.3) for f in self._footprints):
            return
        view = self._ground.view_at(x, y)
        height = radius * rng.uniform(2.0, 2.8)
        top = y + view.up[1] * height
        crown = (x - radius * view.scale, top, x + radius * view.scale, y)
        if any(overlaps(crown, window, 0.0) for window in self._windows):
            return
        self._planted += 1
        self.standing.append(self._trees.tree(view, radius=radius, height=height, variety=variety))


def _image_window(ground: Ground, site: Site) -> Rectangle:
    image = ground.image_from_plan(site.corners())
    low, high = image.min(axis=0), image.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
