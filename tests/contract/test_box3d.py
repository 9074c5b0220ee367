"""Oriented boxes: corners, bounds, membership and bins, against upstream's numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_cases import load_case

from tercelet.contract import box3d

CORNER_M = 2e-6  # float32 rounding of coordinates of a few metres
ANGLE_RAD = 2e-6  # float32 rounding of angles up to 2 pi and a half
NO_BOXES = np.zeros((0, 7), np.float32)


def test_no_boxes_and_no_points_give_nothing() -> None:
    assert box3d.corners_of_boxes(NO_BOXES).shape == (0, 8, 3)
    assert box3d.bounds_of_boxes(NO_BOXES).shape == (0, 6)
    assert box3d.points_in_boxes(np.zeros((5, 3), np.float32), NO_BOXES).shape == (5, 0)
    assert box3d.points_in_boxes(np.zeros((0, 3), np.float32), np.ones((2, 7), np.float32)).shape == (0, 2)
    assert box3d.count_points_in_boxes(np.zeros((0, 3), np.float32), NO_BOXES).shape == (0,)


def test_yaw_turns_counter_clockwise_seen_from_above() -> None:
    box = np.array([[0, 0, 0, 4, 2, 2, math.pi / 2]])
    far_x_low = box3d.corners_of_boxes(box)[0, 4]
    np.testing.assert_allclose(far_x_low, [1, 2, -1], atol=1e-12)  # local (2, -1) turned by a quarter
    assert box3d.yaw_from_heading(np.array([0.3])).tolist() == [-0.3]


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ([0, 0, 1], True),  # the top belongs to the box
        ([0, 0, -1], True),
        ([0, 0, 1.001], False),
        ([2, 0, 0], False),  # a side does not
        ([1.999, 0, 0], True),
        ([0, 3, 0], False),
        ([0, -2.999, 0], True),
        ([math.nan, 0, 0], False),
    ],
)
def test_bottom_and_top_belong_to_a_box_and_the_sides_do_not(point: list[float], inside: bool) -> None:
    box = np.array([[0, 0, 0, 4, 6, 2, 0]], np.float32)
    points = np.array([point], np.float32)
    assert box3d.points_in_boxes(points, box).tolist() == [[inside]]
    assert box3d.count_points_in_boxes(points, box).tolist() == [int(inside)]


@pytest.mark.parametrize("column", [3, 4, 5])
def test_nothing_lies_in_a_box_of_negative_size_or_of_numbers_that_are_none(column: int) -> None:
    box = np.array([[0, 0, 0, 4, 6, 2, 0], [0, 0, 0, 4, 6, 2, 0]], np.float32)
    box[0, column], box[1, column] = -1, math.nan
    assert not box3d.points_in_boxes(np.zeros((3, 3), np.float32), box).any()


def test_corners_bounds_and_members_are_upstreams(shared: Path) -> None:
    _, _, inputs, outputs = load_case(shared, "imv_box3d_ops")
    boxes, points = inputs["boxes"], inputs["points"]
    np.testing.assert_allclose(box3d.bounds_of_boxes(boxes), outputs["aabb"], atol=CORNER_M)
    expected = outputs["points_in_boxes"].astype(bool)
    np.testing.assert_array_equal(box3d.points_in_boxes(points, boxes), expected)
    np.testing.assert_array_equal(box3d.count_points_in_boxes(points, boxes), expected.sum(axis=0))
    _, _, inputs, outputs = load_case(shared, "imv_eval3d")
    np.testing.assert_allclose(box3d.corners_of_boxes(inputs["boxes_a"]), outputs["corners"], atol=CORNER_M)


def test_bins_of_yaw_are_upstreams(shared: Path) -> None:
    _, _, inputs, outputs = load_case(shared, "imv_box3d_ops")
    number, left = box3d.bins_from_yaw(inputs["yaw"])
    np.testing.assert_array_equal(number, outputs["angle_class"])
    np.testing.assert_allclose(left, outputs["angle_res"], atol=ANGLE_RAD)
    np.testing.assert_allclose(box3d.yaw_from_bins(number, left), outputs["angle_back"], atol=ANGLE_RAD)


def test_boxes_come_back_from_upstreams_bins(shared: Path) -> None:
    _, _, inputs, outputs = load_case(shared, "imv_box3d_ops")
    number, left = box3d.bins_from_yaw(inputs["boxes"][:, 6])
    np.testing.assert_array_equal(number, outputs["enc_dir_class"])
    np.testing.assert_allclose(left, outputs["enc_dir_res"], atol=ANGLE_RAD)
    back = box3d.boxes_from_bins(
        outputs["enc_center"],
        outputs["enc_dir_class"],
        outputs["enc_dir_res"],
        outputs["enc_size_class"],
        outputs["enc_size_res"],
        mean_sizes=np.array(box3d.SUNRGBD_MEAN_SIZES),
    )
    np.testing.assert_allclose(back[:, :6], inputs["boxes"][:, :6], atol=CORNER_M)
    turns = (back[:, 6] - inputs["boxes"][:, 6]) / (2 * math.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=ANGLE_RAD)


@given(st.floats(-1e4, 1e4), st.integers(1, 40))
def test_any_yaw_has_a_bin_and_comes_back_to_within_whole_turns(yaw: float, bins: int) -> None:
    number, left = box3d.bins_from_yaw(np.array([yaw]), bins=bins)
    assert 0 <= number[0] < bins
    assert abs(left[0]) <= math.pi / bins * (1 + 1e-9)
    back = float(box3d.yaw_from_bins(number, left, bins=bins)[0])
    turns = (back - yaw) / (2 * math.pi)
    assert turns == pytest.approx(round(turns), abs=1e-9)
    assert -math.pi <= back <= math.pi * (1 + 1e-9) or bins == 1


@pytest.mark.parametrize("seed", range(3))
def test_membership_by_sorted_points_equals_membership_by_corner_planes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = generator.uniform(-2, 2, (500, 3))
    boxes = np.concatenate(
        (
            generator.uniform(-2, 2, (30, 3)),
            generator.uniform(0.1, 2, (30, 3)),
            generator.uniform(-4, 4, (30, 1)),
        ),
        axis=1,
    )
    corners = box3d.corners_of_boxes(boxes)
    axes = corners[:, [4, 3, 1]] - corners[:, :1]  # along x, y and z from corner 0
    along = np.einsum("npk,pak->npa", points[:, None] - corners[None, :, 0], axes)
    expected = ((along > 0) & (along < (axes**2).sum(axis=-1))).all(axis=-1)
    np.testing.assert_array_equal(box3d.points_in_boxes(points, boxes), expected)
