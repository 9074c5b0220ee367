"""Oriented boxes in the picture and from above: where they must be seen, and what must not stop it."""

from __future__ import annotations

import numpy as np
import pytest
from cloud_bundle import SIDE, THING, room

from tercelet.contract.detections3d import Detections3d
from tercelet.contract.labels import color_for
from tercelet.runtime.clouds.calibration import depth2img
from tercelet.runtime.clouds.cloud import Cloud
from tercelet.runtime.clouds.upright import Upright
from tercelet.runtime.rgbd_drawing import draw_boxes_3d, draw_rgbd, view_from_above
from tercelet.runtime.sources.rgbd import RgbdFrame

pytest.importorskip("cv2")

# 320 x 240, looking along +y; a pixel is counted from 1.
INTRINSICS = np.array([[200.0, 0, 161], [0, 200, 121], [0, 0, 1]])
PROJECTION = depth2img(INTRINSICS, None)
BLACK = np.zeros((240, 320, 3), np.uint8)
LINE = 2  # pixels that a smooth line may reach beyond its middle


def found(*boxes: tuple[float, ...]) -> Detections3d:
    count = len(boxes)
    return Detections3d(
        boxes=np.array(boxes, np.float32).reshape(count, 7),
        scores=np.linspace(0.9, 0.5, count).astype(np.float32),
        class_ids=np.zeros(count, np.int64),
        labels=("chair",),
    )


def drawn_at(picture: np.ndarray) -> np.ndarray:
    """(n, 2) x, y of all pixels in the colour of class 0."""
    return np.argwhere((picture == color_for(0)).all(axis=2))[:, ::-1]


def test_without_boxes_the_picture_stays_and_the_view_shows_the_points() -> None:
    assert np.array_equal(draw_boxes_3d(BLACK, found(), PROJECTION), BLACK)
    view = view_from_above(room(), found())
    assert view.shape[0] == 720
    assert len(drawn_at(view)) == 0
    assert (view.min(axis=2) > 70).sum() > 2000  # points, brighter than ground and grid


def test_a_box_is_drawn_where_its_corners_are_seen() -> None:
    # Front face at y = 2: x = -0.5..0.5 there is -50..50 pixels from the middle, z = -0.4..0.4 is -40..40.
    picture = draw_boxes_3d(BLACK, found((0, 2.5, 0, 1, 1, 0.8, 0)), PROJECTION)
    seen = np.argwhere(picture.any(axis=2))[:, ::-1]
    middle = (160, 120)  # counted from 0
    edges = seen[seen[:, 1] >= middle[1]]  # below the label
    assert abs(edges[:, 0].min() - (middle[0] - 50)) <= LINE
    assert abs(edges[:, 0].max() - (middle[0] + 50)) <= LINE
    assert abs(edges[:, 1].max() - (middle[1] + 40)) <= LINE
    assert not np.array_equal(picture, BLACK)
    assert not BLACK.any()


@pytest.mark.parametrize(
    "box",
    [
        (0.0, -3.0, 0.0, 1.0, 1.0, 1.0, 0.0),
        (np.nan, 2.0, 0.0, 1.0, 1.0, 1.0, 0.0),
        (50.0, 2.0, 0.0, 1.0, 1.0, 1.0, 0.0),
    ],
    ids=["behind the camera", "no number", "far outside"],
)
def test_a_box_that_cannot_be_seen_leaves_the_picture_alone(box: tuple[float, ...]) -> None:
    assert np.array_equal(draw_boxes_3d(BLACK, found(box), PROJECTION), BLACK)


def test_a_box_round_the_camera_is_cut_off_and_drawn_as_far_as_it_is_before_it() -> None:
    picture = draw_boxes_3d(BLACK, found((0, 0, 0, 1, 6, 0.8, 0)), PROJECTION)
    # Its far face, at y = 3, is 67 by 53 pixels; its long edges come out at the corners of the picture.
    assert picture[120, 160 - 35 : 160 - 31].any()
    assert not picture[110:130, 150:170].any()
    assert picture[-1].any()


def test_the_view_from_above_has_y_upwards_and_turns_boxes_counter_clockwise() -> None:
    cloud = room()
    long = (*THING[:2], THING[2], 2.0, 0.2, SIDE, np.pi / 4)
    seen = drawn_at(view_from_above(cloud, found(long))).astype(float)
    x, y = (seen - seen.mean(axis=0)).T
    assert np.corrcoef(x, -y)[0, 1] > 0.6  # towards +x and +y: up to the right
    thing = drawn_at(view_from_above(cloud, found((*THING, SIDE, SIDE, SIDE, 0)))).mean(axis=0)
    farther = drawn_at(view_from_above(cloud, found((THING[0], 3.5, 0.4, SIDE, SIDE, SIDE, 0)))).mean(axis=0)
    assert farther[1] < thing[1] - 100


def test_a_box_outside_the_cloud_does_not_shrink_the_view() -> None:
    plain = view_from_above(room(), found())
    assert view_from_above(room(), found((900.0, 2, 0, 1, 1, 1, 0))).shape == plain.shape


def test_the_picture_stands_beside_the_view_and_without_one_the_view_stands_alone() -> None:
    cloud, upright = Cloud("room", room()), Upright(np.eye(3), "identity")
    boxes = found((*THING, SIDE, SIDE, SIDE, 0.3))
    above = view_from_above(cloud.points, boxes)
    alone = draw_rgbd(RgbdFrame("room", cloud, upright), boxes)
    assert np.array_equal(alone, above)
    both = draw_rgbd(RgbdFrame("room", cloud, upright, BLACK, PROJECTION), boxes)
    assert both.shape == (720, 960 + above.shape[1], 3)
    assert both[:, :960].any()
    uncalibrated = draw_rgbd(RgbdFrame("room", cloud, upright, BLACK), boxes)
    assert not uncalibrated[:, :960].any()
    assert np.array_equal(uncalibrated[:, 960:], above)
