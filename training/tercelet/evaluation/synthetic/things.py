"""The objects of a scene before they are drawn, and how often each class occurs where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tercelet.evaluation.datasets.visdrone_txt import VISDRONE_CATEGORIES
from tercelet.evaluation.synthetic import figures, vehicles
from tercelet.evaluation.synthetic.ground import CAR_LENGTH_M
from tercelet.evaluation.synthetic.solids import Part

BUILDERS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "pedestrian": figures.pedestrian,
    "people": figures.seated,
    "bicycle": figures.bicycle,
    "car": vehicles.car,
    "van": vehicles.van,
    "truck": vehicles.truck,
    "tricycle": vehicles.tricycle,
    "awning-tricycle": vehicles.awning_tricycle,
    "bus": vehicles.bus,
    "motor": figures.motor,
}
# Metres; the other classes are shorter than a car.
LENGTH_M = {"car": CAR_LENGTH_M, "van": 5.1, "truck": 8.0, "bus": 10.8}
LOT_MIX = {"car": 0.84, "van": 0.1, "truck": 0.02, "tricycle": 0.02, "awning-tricycle": 0.02}
DEPOT_MIX = {"truck": 0.55, "bus": 0.45}
QUEUE_MIX = {
    "car": 0.7, "van": 0.1, "truck": 0.06, "bus": 0.05, "motor": 0.05, "tricycle": 0.02,
    "awning-tricycle": 0.02,
}  # fmt: skip
CROWD_MIX = {"pedestrian": 0.78, "people": 0.12, "bicycle": 0.04, "motor": 0.06}
LONE_MIX = {
    "car": 0.46, "pedestrian": 0.2, "van": 0.08, "truck": 0.08, "motor": 0.07, "bicycle": 0.04,
    "people": 0.02, "bus": 0.03, "tricycle": 0.01, "awning-tricycle": 0.01,
}  # fmt: skip
# How often somebody sits on it, who is an object of class people.
RIDDEN = {"bicycle": 0.6, "motor": 0.7}
PEOPLE_IDS = (VISDRONE_CATEGORIES.index("pedestrian"), VISDRONE_CATEGORIES.index("people"))


@dataclass(frozen=True)
class Thing:
    """An object to be drawn: class, solid, plan point, world heading in rad, factor on its metres."""

    class_id: int
    parts: tuple[Part, ...]
    u: float
    v: float
    heading: float
    size: float
    # Riders are drawn over what they ride.
    above: bool = False
    # A vehicle in traffic: with its lamps on at night, and no tree in front of it.
    drives: bool = False
    clustered: bool = True


def make_things(
    rng: np.random.Generator,
    name: str,
    place: tuple[float, float],
    heading: float,
    *,
    size: float = 1.0,
    drives: bool = False,
    clustered: bool = True,
) -> list[Thing]:
    """An object of the class at a plan point, with whoever rides it."""
    u, v = place
    parts = tuple(BUILDERS[name](rng))
    number = VISDRONE_CATEGORIES.index(name)
    things = [Thing(number, parts, u, v, heading, size, drives=drives, clustered=clustered)]
    if rng.random() < RIDDEN.get(name, 0.0):
        people = VISDRONE_CATEGORIES.index("people")
        rider = tuple(figures.rider(rng))
        things.append(Thing(people, rider, u, v, heading, size, above=True, clustered=clustered))
    return things
