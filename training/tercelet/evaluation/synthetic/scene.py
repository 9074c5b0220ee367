"""One synthetic aerial scene and its ground truth: frame, boxes, classes, how much of each object is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.synthetic.clusters import Planner, Site, bay_lines
from tercelet.evaluation.synthetic.ground import CAR_BOX_M, Ground, LocalView
from tercelet.evaluation.synthetic.land import LOT, PAVING, Land, cover_land
from tercelet.evaluation.synthetic.markings import LinePainter, paint_bays, paint_streets
from tercelet.evaluation.synthetic.painting import (
    Frame,
    Patch,
    Points,
    blend,
    convex_coverage,
    overlap,
    soften,
    window_of,
)
from tercelet.evaluation.synthetic.plan import StreetPlan, street_plan
from tercelet.evaluation.synthetic.settings import (
    DEFAULT,
    LARGEST_SIDE,
    SMALLEST_SIDE,
    SceneSettings,
)
from tercelet.evaluation.synthetic.solids import Drawing, draw, longer_side
from tercelet.evaluation.synthetic.surroundings import Surroundings
from tercelet.evaluation.synthetic.things import PEOPLE_IDS, Thing
from tercelet.evaluation.synthetic.weather import Lamp, Weather, draw_weather, finished

# Less of an object than this share cannot be told from its surroundings: it is no ground truth.
_LEAST_VISIBLE = 0.2
# An object whose middle is in the frame may still have most of it outside; that much must be inside.
_LEAST_INSIDE = 0.35


@dataclass(frozen=True)
class Scene:
    """A frame and all that there is to find in it, in no particular order.

    frame: (H, W, 3) uint8 BGR. boxes: (N, 4) float64 xyxy in pixels, tight around the pixels that belong to
    the object, to a quarter of a pixel, whether something else hides them or not, cut at the frame's edges.
    class_ids: (N,) int64 into VISDRONE_CATEGORIES. visible: (N,) float64, share of the object's pixels in the
    frame that nothing hides, 0.2 to 1. inside: (N,) float64, share of the object that lies in the frame.
    clustered: (N,) bool, whether it belongs to a cluster.
    """

    frame: Frame
    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    visible: NDArray[np.float64]
    inside: NDArray[np.float64]
    clustered: NDArray[np.bool_]


@dataclass(frozen=True)
class _Drawn:
    """An object on its way into the frame."""

    thing: Thing
    drawing: Drawing
    view: LocalView
    row: float


def aerial_scene(
    seed: int, *, height: int = 1080, width: int = 1920, settings: SceneSettings = DEFAULT
) -> Scene:
    """Scene number `seed`, 0 or more: the same bytes for the same arguments.

    A plane with streets, fields, parks, water and buildings is seen from a drone; car parks, queues and
    crowds stand on it, and stragglers between them. The longer side of a box lies between settings.min_px and
    settings.max_px unless the frame's edge cuts it. Nothing in a scene depends on the machine but rounding
    of sines, which may move a grey level on another one. InputError: a seed below 0, a side out of range.
    """
    _check(seed, height, width)
    weather = draw_weather(_stream(seed, 0), settings)
    ground = _ground(_stream(seed, 1), height, width, settings)
    plan = street_plan(_stream(seed, 2), ground)
    planner = Planner(_stream(seed, 3), ground, plan, settings)
    sites = planner.sites()
    things = [thing for site in sites for thing in planner.things_of(site)]
    lone = round(len(things) * settings.stragglers / (1 - settings.stragglers))
    things += planner.stragglers(lone, sites)

    rng = _stream(seed, 4)
    drawn = _draw_all(rng, ground, things, settings, weather)
    around = Surroundings(_stream(seed, 5), ground, weather.sun, sites)
    around.fill(plan)
    for item in drawn:
        parked = item.thing.clustered and not item.thing.drives and not item.thing.above
        share = settings.occlusion * (0.25 if item.thing.class_id in PEOPLE_IDS else 1.0)
        if parked and rng.random() < share:
            around.shade_tree(item.view)

    frame = _ground_frame(_stream(seed, 6), ground, plan, sites)
    shadows = [item.drawing.shadow for item in drawn] + [s.shadow for s in around.standing]
    _cast(frame, shadows, weather.sun.strength)
    owners = _paint(frame, drawn, around)
    lamps = _lamps(ground, plan, drawn) if weather.night else []
    far = 1 - ground.far / ground.near
    frame = finished(frame, weather, _stream(seed, 7), lamps, min(1.0, 1.2 * far))
    return _with_truth(frame, drawn, owners)


def _check(seed: int, height: int, width: int) -> None:
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}")
    for name, side in (("height", height), ("width", width)):
        if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
            raise InputError(f"{name}: expected {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, got {side}")


def _stream(seed: int, purpose: int) -> np.random.Generator:
    """Random numbers for one purpose, so that a change to one leaves the others as they are."""
    return np.random.Generator(np.random.PCG64([seed, purpose]))


def _ground(rng: np.random.Generator, height: int, width: int, settings: SceneSettings) -> Ground:
    span = settings.max_px / settings.min_px
    low, high = (min(value, span) for value in settings.depth)
    depth = math.exp(rng.uniform(math.log(low), math.log(high)))
    far = settings.min_px * math.exp(rng.uniform(0, math.log(span / depth)))
    return Ground(
        height=height,
        width=width,
        far=far / CAR_BOX_M,
        near=far * depth / CAR_BOX_M,
        elevation=math.radians(rng.uniform(*settings.elevation)),
        turn=rng.uniform(0, 2 * math.pi),
        bend=(rng.uniform(-14, 14), rng.uniform(-14, 14)),
        period=rng.uniform(110, 200),
    )


def _ground_frame(rng: np.random.Generator, ground: Ground, plan: StreetPlan, sites: list[Site]) -> Frame:
    """The empty land with its paint."""
    land = Land(ground)
    cover_land(rng, land, plan)
    for site in sites:
        if site.kind == "crowd":
            land.cover(site.corners(3.0), PAVING)
        elif site.kind != "queue":
            land.cover(site.corners(1.5), LOT)
    frame = soften(land.coloured(rng))
    painter = LinePainter(frame, ground)
    paint_streets(painter, plan)
    for site in sites:
        if site.kind in ("lot", "depot"):
            paint_bays(painter, bay_lines(site))
    return frame


def _draw_all(
    rng: np.random.Generator, ground: Ground, things: list[Thing], settings: SceneSettings, weather: Weather
) -> list[_Drawn]:
    """All things that lie in the frame, from the far to the near."""
    drawn: list[_Drawn] = []
    if not things:
        return drawn
    places = ground.image_from_plan(np.array([(thing.u, thing.v) for thing in things]))
    for thing, (x, y) in zip(things, places.tolist(), strict=True):
        if not (0 <= x < ground.width and 0 <= y < ground.height):
            continue
        view = ground.view_at(x, y)
        drawing = _fitted(rng, thing, view, settings, weather)
        if drawing is not None:
            drawn.append(_Drawn(thing, drawing, view, y + (0.25 if thing.above else 0.0)))
    return sorted(drawn, key=lambda item: item.row)


def _fitted(
    rng: np.random.Generator, thing: Thing, view: LocalView, settings: SceneSettings, weather: Weather
) -> Drawing | None:
    """The drawing, its longer side between min_px and max_px."""
    natural = longer_side(thing.parts, view.matrix(thing.heading) * thing.size)
    wanted = natural
    if natural < settings.min_px:
        wanted = settings.min_px * rng.uniform(1.02, 1.2)
    elif natural > settings.max_px:
        wanted = settings.max_px * rng.uniform(0.86, 0.99)
    wanted = min(max(wanted, settings.min_px), settings.max_px)
    size = thing.size * wanted / natural
    for _ in range(8):
        drawing = draw(thing.parts, view, thing.heading, weather.sun, size=size)
        if drawing is None:
            return None
        x1, y1, x2, y2 = drawing.box
        longer = max(x2 - x1, y2 - y1)
        if longer < settings.min_px:
            size *= 1.03 * settings.min_px / longer
        elif longer > settings.max_px:
            size *= 0.97 * settings.max_px / longer
        else:
            return drawing
    return None


def _cast(frame: Frame, shadows: list[Points], strength: float) -> None:
    """Darken the frame below the hulls once, however many lie on one another."""
    height, width = frame.shape[:2]
    shade = np.zeros((height, width), np.uint8)
    for hull in shadows:
        window = window_of(hull, height, width)
        if window is None or len(hull) < 3:
            continue
        cover = convex_coverage(hull, window, softness=1.4) * np.float32(255)
        part = shade[window[1] : window[3], window[0] : window[2]]
        np.maximum(part, cover.astype(np.uint8), out=part)
    for top in range(0, height, 64):
        rows = shade[top : top + 64]
        if rows.any():
            gain = 256 - (rows.astype(np.uint16) * int(strength * 256) >> 8)
            frame[top : top + 64] = frame[top : top + 64].astype(np.uint16) * gain[:, :, None] >> 8


def _paint(frame: Frame, drawn: list[_Drawn], around: Surroundings) -> NDArray[np.uint16]:
    """Draw everything from the far to the near; returns whose each pixel is, 0 or 1 + index in `drawn`."""
    owners = np.zeros(frame.shape[:2], np.uint16)
    queue: list[tuple[float, int, tuple[Patch, ...]]] = [
        (item.row, number + 1, (item.drawing.patch,)) for number, item in enumerate(drawn)
    ]
    queue += [(standing.row, 0, standing.patches) for standing in around.standing]
    for _, owner, patches in sorted(queue, key=lambda entry: entry[0]):
        for patch in patches:
            place = blend(frame, patch)
            if place is not None:
                mine = patch.alpha[place[2], place[3]] >= 0.5
                owners[place[0], place[1]][mine] = owner
    return owners


def _lamps(ground: Ground, plan: StreetPlan, drawn: list[_Drawn]) -> list[Lamp]:
    """Street lamps, and the light before the cars that drive."""
    lamps: list[Lamp] = []
    for street in plan.streets:
        if street.lanes > 2:
            at = np.arange(street.low, street.high, 32.0).tolist()
            points = np.concatenate(
                [street.point(a, (street.half_width + 1) * (-1) ** i) for i, a in enumerate(at)]
            )
            image = ground.image_from_plan(points)
            scales = ground.scale_at(image[:, 1])
            lamps += [
                Lamp(x, y, 15 * scale, 0.8)
                for (x, y), scale in zip(image.tolist(), scales.tolist(), strict=True)
                if -400 < x < ground.width + 400 and -400 < y < ground.height + 400
            ]
    for item in drawn:
        c, s = math.cos(item.thing.heading), math.sin(item.thing.heading)
        if item.thing.drives:
            x, y = item.view.on_ground(7 * c, 7 * s)
            lamps.append(Lamp(x, y, 7 * item.view.scale, 1.2))
        else:
            lamps.append(Lamp(item.view.x, item.view.y, 9 * item.view.scale, 0.22))
    return lamps


def _with_truth(frame: Frame, drawn: list[_Drawn], owners: NDArray[np.uint16]) -> Scene:
    height, width = owners.shape
    shown = np.bincount(owners.ravel(), minlength=len(drawn) + 1)[1:].tolist()
    rows = []
    for item, left in zip(drawn, shown, strict=True):
        patch = item.drawing.patch
        place = overlap(height, width, patch)
        if place is None:
            continue
        solid = patch.alpha >= 0.5
        whole, inside = int(solid.sum()), int(solid[place[2], place[3]].sum())
        if not inside or inside < _LEAST_INSIDE * whole or left < _LEAST_VISIBLE * inside:
            continue
        x1, y1, x2, y2 = item.drawing.box
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        thing = item.thing
        rows.append((*box, thing.class_id, left / inside, inside / whole, thing.clustered))
    table = np.array(rows, np.float64).reshape(-1, 8)
    return Scene(
        frame=frame,
        boxes=table[:, :4].copy(),
        class_ids=table[:, 4].astype(np.int64),
        visible=table[:, 5].copy(),
        inside=table[:, 6].copy(),
        clustered=table[:, 7] > 0,
    )
