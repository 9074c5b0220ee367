"""Synthetic rooms: boxes, votes, labels and calibration agree with the pixels that are seen."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tercelet.contract.box3d import SUNRGBD_CLASSES, SUNRGBD_MEAN_SIZES, corners_of_boxes
from tercelet.contract.errors import InputError
from tercelet.evaluation.iou3d import pairwise_iou_3d
from tercelet.evaluation.synthetic.rooms import LEAST_POINTS, POINTS, RoomView, room_view
from tercelet.evaluation.synthetic.rooms.cases import (
    bookshelf,
    coffee_table,
    desk,
    dresser,
    night_stand,
    table,
)
from tercelet.evaluation.synthetic.rooms.rendering import SHELL, Camera, cast
from tercelet.evaluation.synthetic.rooms.seats import bathtub, bed, chair, sofa, toilet
from tercelet.evaluation.synthetic.rooms.sensor import Sensor, noise_deviation, sensed
from tercelet.evaluation.synthetic.rooms.solids import (
    Finish,
    Piece,
    Shape,
    Solid,
    bounds,
    solids_as_arrays,
)

SEEDS = range(40)
BUILDERS = {
    "bed": bed, "table": table, "sofa": sofa, "chair": chair, "toilet": toilet, "desk": desk,
    "dresser": dresser, "night_stand": night_stand, "bookshelf": bookshelf, "bathtub": bathtub,
}  # fmt: skip
# Half of a pixel each way where a surface's rim is drawn, and the pixel that a rounded edge adds.
PIXEL = 1.5
# Depth is written in millimetres, and noise of five standard deviations hardly occurs.
ROUNDING_M, DEVIATIONS = 0.002, 5.0


@cache
def view_of(seed: int) -> RoomView:
    return room_view(seed)


def own_pixels(view: RoomView, number: int) -> NDArray[Any]:
    """(n, 2) column and row of what the picture shows of a box's object."""
    rows, columns = np.nonzero(view.owners == view.box_owners[number])
    return np.stack((columns, rows), axis=1)


def beyond_box(points: NDArray[Any], box: NDArray[Any]) -> NDArray[Any]:
    """(n,) how far points lie outside a box, metres, 0 inside."""
    offset = points[:, :3].astype(np.float64) - box[:3]
    cosine, sine = math.cos(box[6]), math.sin(box[6])
    local = np.stack((offset[:, 0] * cosine + offset[:, 1] * sine,
                      offset[:, 1] * cosine - offset[:, 0] * sine, offset[:, 2]), axis=1)  # fmt: skip
    outside = np.maximum(np.abs(local) - box[3:6] / 2, 0)
    return np.asarray(np.linalg.norm(outside, axis=1))


def voting(view: RoomView, box: NDArray[Any]) -> NDArray[Any]:
    """(N,) whether a point's vote leads to the middle of this box."""
    led = view.points[:, :3] + view.votes[:, 1:4]
    return np.asarray((view.votes[:, 0] == 1) & (np.abs(led - box[:3]).max(axis=1) < 1e-4))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
        room_view(-1)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = view_of(3), room_view(3), view_of(4)
    for name in ("image", "depth", "owners", "points", "votes", "boxes", "boxes_2d"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
        assert getattr(first, name).tobytes() != getattr(other, name).tobytes()
    assert first.calibration.depth2img().tobytes() == again.calibration.depth2img().tobytes()


def test_arrays_have_the_shapes_and_types_that_are_promised() -> None:
    view, count = view_of(0), len(view_of(0).boxes)
    promised: list[tuple[NDArray[Any], tuple[int, ...], str]] = [
        (view.image, (480, 640, 3), "uint8"),
        (view.depth, (480, 640), "uint16"),
        (view.owners, (480, 640), "int16"),
        (view.points, (POINTS, 6), "float32"),
        (view.votes, (POINTS, 10), "float32"),
        (view.boxes, (count, 7), "float64"),
        (view.class_ids, (count,), "int64"),
        (view.boxes_2d, (count, 4), "float64"),
        (view.box_owners, (count,), "int16"),
    ]
    for array, shape, kind in promised:
        assert array.shape == shape
        assert array.dtype == kind
    assert view.points[:, 3:].min() >= 0
    assert view.points[:, 3:].max() <= 1


def test_every_class_is_there_in_forty_rooms_and_most_rooms_hold_several_objects() -> None:
    views = [view_of(seed) for seed in SEEDS]
    found = np.bincount(np.concatenate([view.class_ids for view in views]), minlength=10)
    assert (found >= 3).all(), dict(zip(SUNRGBD_CLASSES, found, strict=True))
    assert np.mean([len(view.boxes) for view in views]) > 4
    assert sum(len(view.boxes) == 0 for view in views) <= 1
    assert sum(view.unboxed for view in views) < 0.15 * found.sum()


def test_no_two_boxes_of_a_room_intersect() -> None:
    for seed in SEEDS:
        shared = pairwise_iou_3d(view_of(seed).boxes, view_of(seed).boxes)
        np.fill_diagonal(shared, 0)
        assert shared.max(initial=0) < 1e-9, seed


def test_boxes_stand_on_the_floor_below_a_camera_at_the_height_of_a_hand_or_an_eye() -> None:
    for seed in SEEDS:
        view = view_of(seed)
        bottom = view.boxes[:, 2] - view.boxes[:, 5] / 2
        assert np.ptp(bottom) < 1e-6 if len(bottom) else True
        assert ((-bottom >= 1.2 - 1e-6) & (-bottom <= 1.7 + 1e-6)).all()
        low = np.percentile(view.points[:, 2], 0.99)
        assert np.abs(low - bottom).max(initial=0) < 0.25, seed


def test_points_of_an_object_lie_in_or_on_its_box() -> None:
    for seed in SEEDS:
        view = view_of(seed)
        for box in view.boxes:
            points = view.points[voting(view, box)]
            allowed = ROUNDING_M + DEVIATIONS * noise_deviation(np.linalg.norm(points[:, :3], axis=1))
            assert len(points) >= LEAST_POINTS
            assert (beyond_box(points, box) <= allowed).all(), seed


def test_every_vote_leads_to_the_centre_of_a_box_and_all_three_are_one() -> None:
    for seed in SEEDS:
        view = view_of(seed)
        votes = view.votes[:, 1:].reshape(POINTS, 3, 3)
        assert (votes == votes[:, :1]).all()
        assert not votes[view.votes[:, 0] == 0].any()
        of_some = np.zeros(POINTS, int)
        for box in view.boxes:
            of_some += voting(view, box)
        assert (of_some == view.votes[:, 0]).all(), seed


def test_boxes_project_to_where_the_picture_shows_their_objects() -> None:
    tight = 0
    for seed in SEEDS:
        view = view_of(seed)
        for number, corners in enumerate(corners_of_boxes(view.boxes)):
            u, v, w = view.calibration.depth2img() @ corners.T
            if w.min() < 0.1:
                continue  # a corner behind the camera projects nowhere
            columns, rows = u / w - 1, v / w - 1  # the calibration counts pixels from 1
            pixels = own_pixels(view, number)
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            assert low[0] >= columns.min() - PIXEL, seed
            assert low[1] >= rows.min() - PIXEL, seed
            assert high[0] <= columns.max() + PIXEL, seed
            assert high[1] <= rows.max() + PIXEL, seed
            x1, y1, x2, y2 = view.boxes_2d[number]
            assert (low == (x1, y1)).all()
            assert (high + 1 == (x2, y2)).all()
            # Objects fill their boxes: one that nothing hides has about the outline of its box.
            wide = (high[0] - low[0] + 1) / (columns.max() - columns.min())
            high_ = (high[1] - low[1] + 1) / (rows.max() - rows.min())
            tight += min(wide, high_) > 0.85
    assert tight > 60


def test_a_point_falls_on_a_pixel_of_its_own_depth() -> None:
    view = view_of(2)
    u, v, w = view.calibration.depth2img() @ view.points[:, :3].astype(np.float64).T
    columns, rows = np.round(u / w - 1).astype(int), np.round(v / w - 1).astype(int)
    assert np.abs(w * 1000 - view.depth[rows, columns]).max() < 0.1
    np.testing.assert_allclose(view.points[:, 5:2:-1] * 255, view.image[rows, columns], atol=1e-3)
    owners = view.owners[rows, columns]
    boxed = np.isin(owners, view.box_owners)
    assert (boxed == (view.votes[:, 0] == 1)).all()


def test_depth_has_holes_of_many_kinds_but_most_of_it_is_seen() -> None:
    shares = [float((view_of(seed).depth == 0).mean()) for seed in SEEDS]
    assert min(shares) > 0.01
    assert max(shares) < 0.4
    assert max(int(view_of(seed).depth.max()) for seed in SEEDS) < 7600


FLAT = np.full((60, 80), 2.0, np.float32)
CALM = Sensor(range_m=6.0, scale=1.0, spill=0.0)


def sense(
    depth: NDArray[Any], *, facing: float = 1.0, finish: Finish = Finish.PLAIN, sensor: Sensor = CALM
) -> NDArray[Any]:
    rng = np.random.Generator(np.random.PCG64(5))
    return sensed(rng, sensor, depth, np.full(depth.shape, facing, np.float32),
                  np.full(depth.shape, finish, np.uint8), 540.0)  # fmt: skip


def test_noise_grows_with_the_square_of_the_distance() -> None:
    spreads = []
    for distance in (1.0, 2.0, 4.0):
        depth = np.full((240, 320), distance, np.float32)
        measured = sense(depth)
        spreads.append(float(measured[measured > 0].std()) / 1000)
    wanted = noise_deviation(np.array([1.0, 2.0, 4.0], np.float32))
    np.testing.assert_allclose(spreads, wanted, rtol=0.06)
    assert all(second > 2.5 * first for first, second in pairwise(spreads))


@pytest.mark.parametrize(
    ("depth", "facing", "finish", "least", "most"),
    [
        (2.0, 1.0, Finish.PLAIN, 0.0, 0.06),
        (6.5, 1.0, Finish.PLAIN, 1.0, 1.0),
        (0.4, 1.0, Finish.PLAIN, 1.0, 1.0),
        (2.0, 0.06, Finish.PLAIN, 0.6, 0.9),
        (2.0, 1.0, Finish.GLOW, 0.9, 1.0),
        (2.0, 1.0, Finish.GLASS, 0.65, 0.85),
    ],
)
def test_what_is_too_far_too_near_grazing_or_shiny_is_not_seen(
    depth: float, facing: float, finish: Finish, least: float, most: float
) -> None:
    lost = float((sense(np.full((240, 320), depth, np.float32), facing=facing, finish=finish) == 0).mean())
    assert least <= lost <= most


def test_a_thing_before_a_wall_has_a_shadow_on_one_side_and_a_rim() -> None:
    depth = np.full((120, 320), 3.0, np.float32)
    depth[:, 140:180] = 1.5
    lost = (sense(depth) == 0).mean(axis=0)
    # The projector's parallax: 540 px * 7.5 cm * (1 / 1.5 m - 1 / 3 m) = 13.5 pixels.
    sides = sorted((float(lost[128:138].mean()), float(lost[182:192].mean())))
    assert sides[0] < 0.1
    assert sides[1] > 0.95
    assert max(lost[139], lost[180]) > 0.5
    assert lost[150:170].mean() < 0.1


@pytest.mark.parametrize("name", BUILDERS)
def test_a_piece_stands_on_its_origin_fills_its_size_and_is_about_as_large_as_its_class(name: str) -> None:
    sizes = []
    for seed in range(20):
        made = BUILDERS[name](np.random.Generator(np.random.PCG64(seed)))
        low, high = bounds(made.solids)
        np.testing.assert_allclose(high - low, made.size, atol=1e-9)
        np.testing.assert_allclose(low, (-made.size[0] / 2, -made.size[1] / 2, 0), atol=1e-9)
        assert made.name == name
        sizes.append(made.size)
    mean = SUNRGBD_MEAN_SIZES[SUNRGBD_CLASSES.index(name)]
    np.testing.assert_allclose(np.mean(sizes, axis=0), mean, rtol=0.2)
    assert (np.std(sizes, axis=0) / mean > 0.03).all()


def test_a_coffee_table_is_a_low_table() -> None:
    made: Piece = coffee_table(np.random.Generator(np.random.PCG64(0)))
    assert made.name == "table"
    assert made.size[2] < 0.55


AHEAD = Camera(41, 31, (40.0, 40.0), (20.0, 15.0), np.eye(3))
ROOM = (np.array([-3, -1, -1.5], np.float32), np.array([3, 5, 1.5], np.float32))


def test_rays_into_an_empty_room_meet_its_walls() -> None:
    hits = cast(solids_as_arrays([], []), AHEAD, AHEAD.directions(), ROOM)
    assert (hits.solids == SHELL).all()
    assert hits.depth[15, 20] == 5
    assert hits.depth[30, 20] == pytest.approx(1.5 / (15 / 40))


@pytest.mark.parametrize(
    ("shape", "yaw", "depth"),
    [
        (Shape.BOX, 0.0, 1.5),
        (Shape.BOX, math.pi / 4, 2 - math.sqrt(0.5)),
        (Shape.CYLINDER, 0.3, 1.5),
        (Shape.ELLIPSOID, 0.3, 1.5),
    ],
)
def test_the_middle_ray_meets_the_near_side_of_a_solid(shape: Shape, yaw: float, depth: float) -> None:
    solid = Solid((0.0, 2.0, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), shape, yaw=yaw)
    hits = cast(solids_as_arrays([solid], [0]), AHEAD, AHEAD.directions(), ROOM)
    assert hits.depth[15, 20] == pytest.approx(depth, abs=1e-5)
    assert hits.solids[15, 20] == 0
    assert hits.solids[15, 0] == SHELL
    # Towards the upper left corner of the near face only an upright box is met.
    assert (hits.solids[3, 8] == 0) == (shape is Shape.BOX and yaw == 0)
