"""Kinds of rooms, and what stands in each of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tercelet.evaluation.synthetic.rooms import clutter
from tercelet.evaluation.synthetic.rooms.cases import (
    bookshelf,
    coffee_table,
    desk,
    dresser,
    night_stand,
    table,
)
from tercelet.evaluation.synthetic.rooms.plan import Plan, Thing, drawn_standpoint
from tercelet.evaluation.synthetic.rooms.seats import bathtub, bed, chair, sofa, toilet
from tercelet.evaluation.synthetic.rooms.solids import Piece, Span

Rng = np.random.Generator


@dataclass(frozen=True)
class RoomKind:
    """share: of all rooms. width, depth: metres, (lowest, highest). furnish: what puts the furniture in."""

    name: str
    share: float
    width: tuple[float, float]
    depth: tuple[float, float]
    furnish: Callable[[Plan], None]
    pieces: tuple[int, int]
    more: tuple[Callable[[Rng], Piece], ...]


def furnished_plan(rng: Rng) -> tuple[Plan, RoomKind]:
    """A room of some kind with furniture, and clutter on and between it."""
    kind = KINDS[int(rng.choice(len(KINDS), p=[kind.share for kind in KINDS]))]
    width, depth = rng.uniform(*kind.width), rng.uniform(*kind.depth)
    plan = Plan(rng, width, depth, rng.uniform(2.35, 2.8), drawn_standpoint(rng, width, depth))
    if kind.name != "bathroom" and rng.random() < 0.45:
        plan.flat(clutter.rug(rng, rng.uniform(0.6, 0.9), rng.uniform(0.8, 1.1)))
    kind.furnish(plan)
    _fill(plan, kind)
    _put_on_tops(plan)
    for _ in range(int(rng.integers(0, 4))):
        piece = _one_of(rng, clutter.ON_FLOOR)
        place = plan.against_wall if rng.random() < 0.6 else plan.in_the_open
        place(piece, is_furniture=False)
    _hang_on_walls(plan)
    return plan, kind


def _bedroom(plan: Plan) -> None:
    rng = plan.rng
    bed_ = plan.against_wall(bed(rng))
    if bed_ is not None:
        for side in (1, -1):
            if rng.random() < 0.75:
                stand = night_stand(rng)
                aside = side * (bed_.piece.size[1] + stand.size[1]) / 2
                ahead = (stand.size[0] - bed_.piece.size[0]) / 2
                near, far = sorted((aside + side * 0.03, aside + side * 0.14))
                plan.beside(
                    bed_, stand, ahead=(ahead - 0.01, ahead + 0.06), aside=(near, far), turn=(-0.03, 0.03)
                )
    if rng.random() < 0.75:
        plan.against_wall(dresser(rng))
    _work_place(plan, chance=0.5)
    if rng.random() < 0.4:
        plan.against_wall(bookshelf(rng))
    if rng.random() < 0.35:
        plan.in_the_open(chair(rng))


def _living_room(plan: Plan) -> None:
    rng = plan.rng
    for _ in range(int(rng.integers(1, 3))):
        sofa_ = plan.against_wall(sofa(rng))
        if sofa_ is not None and rng.random() < 0.75:
            low = coffee_table(rng)
            ahead = (sofa_.piece.size[0] + low.size[0]) / 2
            plan.beside(sofa_, low, ahead=(ahead + 0.25, ahead + 0.5), aside=(-0.2, 0.2), turn=(-0.08, 0.08))
    if rng.random() < 0.7:
        plan.against_wall(bookshelf(rng))
    if rng.random() < 0.6:
        plan.against_wall(dresser(rng))
    if rng.random() < 0.4:
        plan.against_wall(night_stand(rng))
    for _ in range(int(rng.integers(0, 3))):
        plan.in_the_open(chair(rng))


def _dining_room(plan: Plan) -> None:
    rng = plan.rng
    for _ in range(int(rng.integers(1, 3))):
        _dining_group(plan)
    for piece, chance in ((bookshelf, 0.5), (dresser, 0.6), (chair, 0.5)):
        if rng.random() < chance:
            plan.against_wall(piece(rng))


def _dining_group(plan: Plan) -> None:
    rng = plan.rng
    table_ = plan.in_the_open(table(rng))
    if table_ is None:
        return
    dx, dy, _ = table_.piece.size
    state = rng.bit_generator.state
    sides = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    places = [(x, y, off) for x, y in sides
              for off in ((-dy / 4, dy / 4) if x and dy > 1.3 else (0.0,))]  # fmt: skip
    for x, y, off in places:
        if rng.random() < 0.2:
            continue
        # All chairs of a table are alike: drawn from one state.
        later = rng.bit_generator.state
        rng.bit_generator.state = state
        seat = chair(rng)
        rng.bit_generator.state = later
        reach = ((dx if x else dy) + seat.size[0]) / 2
        facing = math.atan2(-y, -x)
        plan.beside(
            table_,
            seat,
            ahead=_beyond(x, reach, off),
            aside=_beyond(y, reach, off),
            turn=(facing - 0.18, facing + 0.18),
        )


def _beyond(side: int, reach: float, off: float) -> Span:
    """Where along one axis the middle of a chair stands that is drawn up to that side, or to none (0)."""
    if not side:
        return off - 0.05, off + 0.05
    near, far = sorted((side * (reach + 0.03), side * (reach + 0.22)))
    return near, far


def _office(plan: Plan) -> None:
    rng = plan.rng
    for _ in range(int(rng.integers(1, 4))):
        _work_place(plan, chance=1.0)
    for piece, chance in ((bookshelf, 0.8), (bookshelf, 0.35), (dresser, 0.4), (night_stand, 0.35)):
        if rng.random() < chance:
            plan.against_wall(piece(rng))
    if rng.random() < 0.4:
        _dining_group(plan)
    if rng.random() < 0.4:
        plan.in_the_open(chair(rng))


def _work_place(plan: Plan, *, chance: float) -> None:
    rng = plan.rng
    if rng.random() >= chance:
        return
    desk_ = plan.against_wall(desk(rng))
    if desk_ is None or rng.random() < 0.12:
        return
    seat = chair(rng)
    ahead = (desk_.piece.size[0] + seat.size[0]) / 2
    plan.beside(desk_, seat, ahead=(ahead + 0.03, ahead + 0.4), aside=(-0.3, 0.3),
                turn=(math.pi - 0.5, math.pi + 0.5))  # fmt: skip


def _bathroom(plan: Plan) -> None:
    rng = plan.rng
    order = [bathtub, toilet]
    if rng.random() < 0.5:
        order.reverse()
    for make in order:
        if rng.random() < 0.93:
            plan.against_wall(make(rng))
    if rng.random() < 0.8:
        plan.against_wall(clutter.basin(rng), is_furniture=False)
    if rng.random() < 0.3:
        plan.against_wall(night_stand(rng))
    if rng.random() < 0.2:
        plan.in_the_open(chair(rng))


def _fill(plan: Plan, kind: RoomKind) -> None:
    """More of what such a room has, until there are enough pieces or no place is found."""
    rng = plan.rng
    wanted = int(rng.integers(kind.pieces[0], kind.pieces[1] + 1))
    for _ in range(5):
        if len(furniture(plan)) >= wanted:
            return
        make = kind.more[int(rng.integers(len(kind.more)))]
        if make is chair or make is table:
            plan.in_the_open(make(rng))
        else:
            plan.against_wall(make(rng))


def _put_on_tops(plan: Plan) -> None:
    rng = plan.rng
    kinds = {"desk": (clutter.ON_DESK, 4), "table": (clutter.ON_TABLE, 3), "dresser": (clutter.ON_CHEST, 3),
             "night_stand": (clutter.ON_NIGHT_STAND, 2)}  # fmt: skip
    for thing in [thing for thing in plan.things if thing.piece.name in kinds]:
        makers, most = kinds[thing.piece.name]
        if thing.piece.name == "desk" and rng.random() < 0.7:
            plan.on_top(thing, clutter.monitor(rng))
        for _ in range(int(rng.integers(0, most + 1))):
            plan.on_top(thing, _one_of(rng, makers))


def _hang_on_walls(plan: Plan) -> None:
    rng = plan.rng
    if rng.random() < 0.75:
        plan.on_wall(clutter.window(rng), behind=True)
    if rng.random() < 0.4:
        plan.on_wall(clutter.door(rng))
    for _ in range(int(rng.integers(0, 4))):
        plan.on_wall(clutter.picture(rng))


def _one_of(rng: Rng, makers: tuple[Callable[[Rng], Piece], ...]) -> Piece:
    return makers[int(rng.integers(len(makers)))](rng)


def furniture(plan: Plan) -> list[Thing]:
    """What is of the ten classes."""
    return [thing for thing in plan.things if thing.is_furniture]


KINDS = (
    RoomKind(
        "bedroom", 0.26, (3.4, 4.8), (3.8, 5.4), _bedroom, (4, 7), (dresser, chair, bookshelf, night_stand)
    ),
    RoomKind(
        "living room", 0.18, (3.8, 5.6), (4.0, 5.8), _living_room, (4, 7), (chair, sofa, bookshelf, table)
    ),
    RoomKind("dining room", 0.10, (3.4, 5.0), (3.8, 5.6), _dining_room, (4, 8), (dresser, chair, bookshelf)),
    RoomKind("office", 0.18, (3.4, 5.4), (3.8, 5.6), _office, (4, 8), (desk, chair, bookshelf, table)),
    RoomKind("bathroom", 0.28, (2.4, 3.6), (3.2, 4.4), _bathroom, (2, 3), (bathtub, toilet, night_stand)),
)
