"""Where the objects are: car parks, road queues and crowds, each at its own place, and stragglers between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tercelet.evaluation.synthetic.figures import facing
from tercelet.evaluation.synthetic.ground import CAR_BOX_M, Ground, Points
from tercelet.evaluation.synthetic.plan import LANE_M, Street, StreetPlan
from tercelet.evaluation.synthetic.settings import SceneSettings
from tercelet.evaluation.synthetic.things import (
    CROWD_MIX,
    DEPOT_MIX,
    LENGTH_M,
    LONE_MIX,
    LOT_MIX,
    QUEUE_MIX,
    Thing,
    make_things,
)

SiteKind = Literal["lot", "depot", "queue", "crowd"]
Rectangle = tuple[float, float, float, float]

BAY_WIDTH_M, BAY_DEPTH_M, AISLE_M = 2.7, 5.4, 6.0
# A long vehicle needs more: width and depth of its bay.
_DEPOT_BAY = (4.2, 12.6)
_KINDS: tuple[SiteKind, ...] = ("lot", "depot", "queue", "crowd")
_KIND_SHARES = (0.36, 0.08, 0.26, 0.3)
_TRIES = 80


@dataclass(frozen=True)
class Site:
    """A place for a cluster: plan rectangle (u0, v0, u1, v1); columns along plan direction `along`."""

    kind: SiteKind
    count: int
    rectangle: Rectangle
    along: int
    rows: int
    size: float
    street: Street | None = None

    def corners(self, margin: float = 0.0) -> Points:
        """(4, 2) plan corners, `margin` metres further out."""
        u0, v0, u1, v1 = self.rectangle
        return np.array(
            [
                (u0 - margin, v0 - margin),
                (u1 + margin, v0 - margin),
                (u1 + margin, v1 + margin),
                (u0 - margin, v1 + margin),
            ]
        )


def overlaps(a: Rectangle, b: Rectangle, margin: float) -> bool:
    """Whether two rectangles come closer than `margin`."""
    return a[0] < b[2] + margin and b[0] < a[2] + margin and a[1] < b[3] + margin and b[1] < a[3] + margin


class Planner:
    """Places clusters and single objects of one scene."""

    def __init__(
        self, rng: np.random.Generator, ground: Ground, plan: StreetPlan, settings: SceneSettings
    ) -> None:
        self._rng, self._ground, self._plan, self._settings = rng, ground, plan, settings

    def sites(self) -> list[Site]:
        """The clusters that found room; normally all."""
        low, high = self._settings.clusters
        found: list[Site] = []
        for _ in range(int(self._rng.integers(low, high + 1))):
            site = self._site([other.rectangle for other in found])
            if site is not None:
                found.append(site)
        return found

    def _site(self, taken: list[Rectangle]) -> Site | None:
        rng = self._rng
        kind = _KINDS[int(rng.choice(len(_KINDS), p=np.array(_KIND_SHARES)))]
        low, high = self._settings.objects_per_cluster
        count = int(rng.integers(low, high + 1))
        for attempt in range(_TRIES):
            if attempt > _TRIES // 2:  # there is little room: less of it, down to the fewest allowed
                count = max(low, int(count * 0.93))
            if kind == "depot" and self._ground.far * 9 > self._settings.max_px:
                kind = "lot"
            target, row = self._row(kind)
            x = self._ground.width * rng.uniform(0.04, 0.96)
            point = self._ground.plan_from_image(np.array([(x, row)]))[0]
            site = self._fitted(kind, count, target, point, row)
            if site is None or (attempt < _TRIES // 2 and not self._on_dry_land(site)):
                continue
            if any(overlaps(site.rectangle, other, 8.0) for other in taken):
                continue
            if self._inside(site.corners()):
                return site
        return None

    def _row(self, kind: SiteKind) -> tuple[float, float]:
        """Size in px that the main object of a cluster shall have, and the image row where it fits best."""
        low, high = self._settings.min_px, self._settings.max_px
        if kind == "crowd":
            low, high = min(1.25 * low, high), max(1.25 * low, 0.75 * high)
        target = math.exp(self._rng.uniform(math.log(low), math.log(high)))
        metres = {"crowd": 1.75, "depot": 8.0}.get(kind, CAR_BOX_M)
        ground = self._ground
        if ground.near / ground.far < 1.05:
            return target, self._rng.uniform(0.08, 0.95) * ground.height
        row = ground.row_of_scale(target / metres)
        spread = 0.04 * ground.height
        return target, float(
            np.clip(row + self._rng.uniform(-spread, spread), 0.05 * ground.height, 0.94 * ground.height)
        )

    def _inside(self, corners: Points) -> bool:
        image = self._ground.image_from_plan(corners)
        return bool((image > 4).all() and (image < (self._ground.width - 4, self._ground.height - 4)).all())

    def _fitted(self, kind: SiteKind, count: int, target: float, point: Points, row: float) -> Site | None:
        if kind == "queue":
            return self._queue(count, point)
        rng, along, rows, size = self._rng, int(self._rng.integers(2)), 1, 1.0
        if kind == "crowd":
            view = self._ground.view_at(0.5 * self._ground.width, row)
            natural = 1.7 * abs(view.up[1]) + 0.4 * abs(view.away[1])
            size = float(np.clip(target / natural, 0.9, 1.8))
            side = math.sqrt(count / rng.uniform(0.12, 0.4)) * size
            length, depth = side * 1.25, side * 0.8
        else:
            bay = _DEPOT_BAY if kind == "depot" else (BAY_WIDTH_M, BAY_DEPTH_M)
            rows = int(rng.choice((1, 2) if count < 14 else (2, 4) if count < 36 else (4, 6)))
            aisle = AISLE_M * (1.8 if kind == "depot" else 1.0)
            length = math.ceil(count / 0.86 / rows) * bay[0]
            depth = rows * bay[1] + math.ceil(rows / 2) * aisle
        half = (0.5 * length, 0.5 * depth) if along == 0 else (0.5 * depth, 0.5 * length)
        u, v = self._in_block(point, half)
        rectangle = (u - half[0], v - half[1], u + half[0], v + half[1])
        return Site(kind, count, rectangle, along, rows, size)

    def _on_dry_land(self, site: Site) -> bool:
        """Whether a queue stands, or the rectangle lies inside a block that is no lake."""
        u0, v0, u1, v1 = site.rectangle
        return site.kind == "queue" or any(
            block.holds(u0, v0) and block.holds(u1, v1) and block.use != "lake" for block in self._plan.blocks
        )

    def _in_block(self, point: Points, half: tuple[float, float]) -> tuple[float, float]:
        """The point moved so that the rectangle around it lies in its block as far as it can."""
        u, v = float(point[0]), float(point[1])
        block = next((b for b in self._plan.blocks if b.holds(u, v)), None)
        if block is None:
            return u, v
        ranges = ((block.u0, block.u1, half[0]), (block.v0, block.v1, half[1]))
        placed = []
        for value, (low, high, reach) in zip((u, v), ranges, strict=True):
            if high - low <= 2 * reach:
                placed.append(0.5 * (low + high))
            else:
                placed.append(min(max(value, low + reach + 0.5), high - reach - 0.5))
        return placed[0], placed[1]

    def _nearest_street(self, point: Points, least_lanes: int) -> Street | None:
        def distance(street: Street) -> float:
            along, beside = point[street.along], point[1 - street.along]
            beyond = max(street.low - along, along - street.high, 0.0)
            return float(abs(beside - street.at) + beyond)

        fit = [street for street in self._plan.streets if street.lanes >= least_lanes]
        return min(fit, key=distance) if fit else None

    def _queue(self, count: int, point: Points) -> Site | None:
        street = self._nearest_street(point, 4) or self._nearest_street(point, 2)
        if street is None:
            return None
        length = count / street.lanes * self._rng.uniform(7.6, 9.5) + 6
        a = float(point[street.along]) - 0.5 * length
        b, half = a + length, street.half_width
        rectangle = (
            (a, street.at - half, b, street.at + half)
            if street.along == 0
            else (street.at - half, a, street.at + half, b)
        )
        return Site("queue", count, rectangle, street.along, street.lanes, 1.0, street)

    def things_of(self, site: Site) -> list[Thing]:
        """The objects of a cluster."""
        if site.kind == "queue":
            return self._queue_things(site)
        return self._crowd_things(site) if site.kind == "crowd" else self._lot_things(site)

    def _lot_things(self, site: Site) -> list[Thing]:
        rng, things = self._rng, list[Thing]()
        bays = bay_places(site)
        chosen = rng.permutation(len(bays))[: site.count]
        for number in sorted(chosen.tolist()):
            u, v, sign = bays[number]
            name = self._name(DEPOT_MIX if site.kind == "depot" else LOT_MIX, u, v)
            turned = math.pi if rng.random() < 0.5 else 0.0
            place = (u + rng.normal(0, 0.12), v + rng.normal(0, 0.12))
            heading = self._ground.heading(np.array([place]), along=1 - site.along)
            things += make_things(rng, name, place, heading + turned + sign * rng.normal(0, 0.03))
        return things[: site.count]

    def _queue_things(self, site: Site) -> list[Thing]:
        street, rng = site.street, self._rng
        assert street is not None
        low, high = (site.rectangle[site.along], site.rectangle[site.along + 2])
        things: list[Thing] = []
        lanes = [LANE_M * (lane + 0.5 - 0.5 * street.lanes) for lane in range(street.lanes)]
        for lane in lanes:
            at = low + rng.uniform(0.5, 4.0)
            while at < high - 2:
                place = street.point(at, lane + rng.normal(0, 0.15))
                name = self._name(QUEUE_MIX, place[0, 0], place[0, 1])
                long = LENGTH_M.get(name, 2.4)
                place = street.point(at + 0.5 * long, lane + rng.normal(0, 0.15))
                forward = (lane > 0) == (street.along == 0)
                heading = self._ground.heading(place, along=site.along) + (0.0 if forward else math.pi)
                heading += rng.normal(0, 0.02)
                things += make_things(rng, name, (place[0, 0], place[0, 1]), heading, drives=True)
                at += long + rng.uniform(1.0, 5.5)
        return things[: site.count] if len(things) <= site.count else self._some(things, site.count)

    def _some(self, things: list[Thing], count: int) -> list[Thing]:
        kept = sorted(self._rng.permutation(len(things))[:count].tolist())
        return [things[i] for i in kept]

    def _crowd_things(self, site: Site) -> list[Thing]:
        rng, things = self._rng, list[Thing]()
        u0, v0, u1, v1 = site.rectangle
        apart = 0.75 * site.size * (1.25 - self._settings.occlusion)
        places: list[tuple[float, float]] = []
        groups = rng.uniform((u0, v0), (u1, v1), (max(2, site.count // 7), 2))
        for _ in range(site.count * 30):
            middle = groups[int(rng.integers(len(groups)))]
            spread = 0.17 * (np.array([u1 - u0, v1 - v0]))
            u, v = (middle + rng.normal(0, 1, 2) * spread).tolist()
            free = all((u - p) ** 2 + (v - q) ** 2 > apart**2 for p, q in places)
            if free and u0 <= u <= u1 and v0 <= v <= v1:
                places.append((u, v))
                name = self._name(CROWD_MIX, u, v)
                size = site.size * rng.uniform(0.93, 1.07)
                things += make_things(rng, name, (u, v), facing(rng), size=size)
            if len(things) >= site.count:
                break
        return things[: site.count]

    def stragglers(self, count: int, sites: list[Site]) -> list[Thing]:
        """About `count` objects on streets and pavements between the clusters."""
        things: list[Thing] = []
        for _ in range(count * 20):
            if len(things) >= count:
                break
            things += self._straggler(sites)
        return things[:count]

    def _straggler(self, sites: list[Site]) -> list[Thing]:
        """One object on the street that is nearest to a random point; none if that is not free."""
        rng, ground = self._rng, self._ground
        low, high = math.log(ground.far), math.log(ground.near)
        row = ground.row_of_scale(math.exp(rng.uniform(low, high)))
        if high - low < 0.05:
            row = rng.uniform(0, ground.height)
        point = ground.plan_from_image(np.array([(ground.width * rng.random(), row)]))[0]
        street = self._nearest_street(point, 2)
        if street is None:
            return []
        name = self._name(LONE_MIX, point[0], point[1])
        on_foot = name in ("pedestrian", "people")
        lane = LANE_M * (int(rng.integers(street.lanes // 2)) + 0.5)
        side = 1.0 if rng.random() < 0.5 else -1.0
        place = street.point(
            float(point[street.along]), side * (street.half_width + 1.4 if on_foot else lane)
        )
        image = ground.image_from_plan(place)[0]
        u, v = place[0].tolist()
        if any(overlaps((u, v, u, v), site.rectangle, 6.0) for site in sites):
            return []
        if not ((image > 0).all() and (image < (ground.width, ground.height)).all()):
            return []
        forward = (side > 0) == (street.along == 0)
        heading = ground.heading(place, along=street.along) + (0.0 if forward else math.pi)
        heading += rng.normal(0, 0.6 if on_foot else 0.03)
        return make_things(rng, name, (u, v), heading, drives=not on_foot, clustered=False)

    def _name(self, mix: dict[str, float], u: float, v: float) -> str:
        """A class of the mix; long vehicles only where they are no longer than max_px."""
        row = self._ground.image_from_plan(np.array([(u, v)]))[:, 1]
        scale = float(self._ground.scale_at(row)[0])
        fit = {n: s for n, s in mix.items() if LENGTH_M.get(n, 1.0) * scale <= 1.15 * self._settings.max_px}
        fit = fit or {next(iter(mix)): 1.0}
        at = self._rng.random() * sum(fit.values())
        for name, share in fit.items():
            at -= share
            if at < 0:
                return name
        return name


def bay_places(site: Site) -> list[tuple[float, float, float]]:
    """Plan middle of each bay of a lot or depot, and 1 or -1 for the side of the aisle that it lies on."""
    bay = _DEPOT_BAY if site.kind == "depot" else (BAY_WIDTH_M, BAY_DEPTH_M)
    aisle = AISLE_M * (1.8 if site.kind == "depot" else 1.0)
    start = site.rectangle[site.along]
    columns = round((site.rectangle[site.along + 2] - start) / bay[0])
    across = site.rectangle[1 - site.along]
    places = []
    for row in range(site.rows):
        depth = across + (row + 0.5) * bay[1] + (row + 1) // 2 * aisle
        for column in range(columns):
            along = start + (column + 0.5) * bay[0]
            u, v = (along, depth) if site.along == 0 else (depth, along)
            places.append((u, v, 1.0 if row % 2 else -1.0))
    return places


def bay_lines(site: Site) -> Points:
    """(N, 4) plan start and end of the lines between bays."""
    bay = _DEPOT_BAY if site.kind == "depot" else (BAY_WIDTH_M, BAY_DEPTH_M)
    lines = []
    for u, v, _ in bay_places(site):
        w, d = 0.5 * bay[0], 0.5 * bay[1]
        if site.along == 0:
            lines += [(u - w, v - d, u - w, v + d), (u + w, v - d, u + w, v + d)]
        else:
            lines += [(u - d, v - w, u + d, v - w), (u - d, v + w, u + d, v + w)]
    return np.array(sorted(set(lines))).reshape(-1, 4)
