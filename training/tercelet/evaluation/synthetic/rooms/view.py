"""One synthetic room as an RGB-D camera sees it, with the truth of its furniture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.evaluation.synthetic.rooms.furnishing import furnished_plan
from tercelet.evaluation.synthetic.rooms.plan import Plan, Standpoint
from tercelet.evaluation.synthetic.rooms.rendering import SHELL, Camera, cast
from tercelet.evaluation.synthetic.rooms.sensor import drawn_sensor, sensed
from tercelet.evaluation.synthetic.rooms.shading import drawn_look, picture, surfaces
from tercelet.evaluation.synthetic.rooms.solids import Solids, solids_as_arrays
from tercelet.runtime.clouds import (
    Calibration,
    Upright,
    cloud_from_depth,
    made_upright,
    metres_from_samples,
)
from tercelet.runtime.clouds.depth import MILLIMETRES

WIDTH, HEIGHT = 640, 480
POINTS = 20_000
# A piece of furniture gets a box if at least so many of the POINTS points are its own.
LEAST_POINTS = 60


@dataclass(frozen=True, eq=False)
class RoomView:
    """What the camera sees. Boxes, points and votes are in the upright depth frame, whose origin is the
    camera.

    kind: of room. image: (480, 640, 3) uint8 BGR. depth: (480, 640) uint16 millimetres along the optical
    axis, 0 where nothing was seen. owners: (480, 640) int16, which thing each pixel shows, SHELL for floor,
    ceiling and walls. calibration: pixels counted from 1. points: (20000, 6) float32 x, y, z, red, green,
    blue 0..1 in random order. votes: (20000, 10) float32, whether a point was seen on a piece with a box, and
    three times the way to that box's centre. boxes: (K, 7) float64 as in `contract.box3d`. class_ids:
    (K,) int64. boxes_2d: (K, 4) float64 xyxy in pixels, tight round the visible pixels. box_owners: (K,)
    int16. unboxed: pieces of furniture of which too little is seen for a box.
    """

    kind: str
    image: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    owners: NDArray[np.int16]
    calibration: Calibration
    points: NDArray[np.float32]
    votes: NDArray[np.float32]
    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    boxes_2d: NDArray[np.float64]
    box_owners: NDArray[np.int16]
    unboxed: int


def room_view(seed: int) -> RoomView:
    """The room of that seed; the same seed gives the same view. Raises InputError for a negative seed."""
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}")
    rng = np.random.Generator(np.random.PCG64((0x700F, seed)))
    plan, kind = furnished_plan(rng)
    upright = _tilt(plan.camera)
    focal = float(rng.uniform(518, 580))
    middle = ((WIDTH - 1) / 2 + rng.uniform(-6, 6), (HEIGHT - 1) / 2 + rng.uniform(-6, 6))
    camera = Camera(WIDTH, HEIGHT, (focal, focal), middle, _room_from_upright(plan.camera) @ upright)
    intrinsics = np.array([[focal, 0, middle[0] + 1], [0, focal, middle[1] + 1], [0, 0, 1.0]])
    calibration = Calibration(intrinsics, upright, first_pixel=1)
    solids = _solids(plan)
    eye = np.array([plan.camera.x, plan.camera.y, plan.camera.height], np.float32)
    size = np.array([plan.width, plan.depth, plan.height], np.float32)
    directions = camera.directions()
    hits = cast(solids.seen_from(eye), camera, directions, (-eye, size - eye))
    look = drawn_look(rng, (plan.width, plan.depth, plan.height), tiled=kind.name == "bathroom")
    surface = surfaces(solids, hits, directions, eye, size, look)
    image = picture(rng, surface, hits, solids, size, look)
    depth = sensed(rng, drawn_sensor(rng), hits.depth, surface.facing, surface.finish, focal)
    owners = np.where(hits.solids == SHELL, np.int16(SHELL), solids.owners[hits.solids])
    return _with_truth(rng, plan, kind.name, image, depth, owners, calibration)


def _tilt(camera: Standpoint) -> NDArray[np.float64]:
    """(3, 3) upright depth from depth frame: rolled about the optical axis, then pitched down."""
    cp, sp, cr, sr = (f(angle) for angle in (camera.pitch, camera.roll) for f in (math.cos, math.sin))
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    upright: NDArray[np.float64] = pitch @ roll
    return upright


def _room_from_upright(camera: Standpoint) -> NDArray[np.float64]:
    """(3, 3): the columns are right, forward and up in the room."""
    cosine, sine = math.cos(camera.heading), math.sin(camera.heading)
    return np.array([[sine, cosine, 0], [-cosine, sine, 0], [0, 0, 1.0]])


def _solids(plan: Plan) -> Solids:
    placed, owners = [], []
    for number, thing in enumerate(plan.things):
        for solid in thing.piece.solids:
            placed.append(solid.moved(thing.x, thing.y, thing.z, yaw=thing.yaw))
            owners.append(number)
    return solids_as_arrays(placed, owners)


def _upright_boxes(plan: Plan) -> NDArray[np.float64]:
    """(things, 7) in the upright depth frame."""
    boxes = np.array([thing.box() for thing in plan.things], np.float64).reshape(-1, 7)
    boxes[:, :3] -= (plan.camera.x, plan.camera.y, plan.camera.height)
    boxes[:, :3] = boxes[:, :3] @ _room_from_upright(plan.camera)
    turned = boxes[:, 6] - (plan.camera.heading - math.pi / 2)
    boxes[:, 6] = np.arctan2(np.sin(turned), np.cos(turned))
    return boxes


def _with_truth(
    rng: np.random.Generator,
    plan: Plan,
    kind: str,
    image: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    owners: NDArray[np.int16],
    calibration: Calibration,
) -> RoomView:
    metres = metres_from_samples(depth, unit=MILLIMETRES)
    assert calibration.upright is not None
    cloud = cloud_from_depth(metres, calibration, source="synthetic room", image=image)
    cloud = made_upright(cloud, Upright(calibration.upright, "extrinsics"))
    assert cloud.colours is not None
    rows = rng.permutation(len(cloud))
    rows = rows[:POINTS] if len(rows) >= POINTS else np.resize(rows, POINTS)
    own = owners[depth > 0][rows]
    points = np.concatenate((cloud.points[rows], cloud.colours[rows]), axis=1).astype(np.float32)
    counts = np.bincount(own[own != SHELL], minlength=len(plan.things))
    is_furniture = np.array([thing.is_furniture for thing in plan.things], bool)
    chosen = np.flatnonzero(is_furniture & (counts >= LEAST_POINTS))
    boxes = _upright_boxes(plan)
    votes = np.zeros((POINTS, 10), np.float32)
    boxed = np.isin(own, chosen)
    votes[boxed, 0] = 1
    votes[boxed, 1:] = np.tile(boxes[own[boxed], :3] - points[boxed, :3], 3)
    return RoomView(
        kind=kind,
        image=image,
        depth=depth,
        owners=owners,
        calibration=calibration,
        points=points,
        votes=votes,
        boxes=boxes[chosen],
        class_ids=np.array([SUNRGBD_CLASSES.index(plan.things[i].piece.name) for i in chosen], np.int64),
        boxes_2d=np.array([_bounds_2d(owners == i) for i in chosen], np.float64).reshape(-1, 4),
        box_owners=chosen.astype(np.int16),
        unboxed=int(is_furniture.sum()) - len(chosen),
    )


def _bounds_2d(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
