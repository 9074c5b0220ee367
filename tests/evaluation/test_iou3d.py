"""IoU of oriented 3D boxes: exact numbers, identical and odd boxes, the fixture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_cases import load_case

from tercelet.evaluation.iou3d import pairwise_iou_3d, pairwise_overlap_from_above

EXACT = 1e-12  # float64 and a few operations
FLOAT32_BOXES = 1e-5  # upstream computed in float32
GRID = 5e-3  # 400 x 400 cells over a square of 4 m

UNIT = [0, 0, 0, 2, 2, 2, 0]


def iou(first: list[float], second: list[float]) -> float:
    return float(pairwise_iou_3d(np.array([first], float), np.array([second], float))[0, 0])


def test_no_boxes_give_an_empty_table() -> None:
    none, two = np.zeros((0, 7)), np.ones((2, 7))
    assert pairwise_iou_3d(none, two).shape == (0, 2)
    assert pairwise_iou_3d(two, none).shape == (2, 0)
    assert pairwise_iou_3d(none, none).shape == (0, 0)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (UNIT, 1.0),
        ([1, 0, 0, 2, 2, 2, 0], 1 / 3),
        ([2, 0, 0, 2, 2, 2, 0], 0.0),  # side by side
        ([0, 0, 2, 2, 2, 2, 0], 0.0),  # one on the other
        ([0, 0, 1, 2, 2, 2, 0], 1 / 3),
        ([0, 0, 0, 1, 1, 1, 0.7], 1 / 8),  # inside
        ([0, 0, 0, 2, 2, 2, math.pi / 2], 1.0),
        # a square on a square turned by an eighth: a regular octagon of area 8 (sqrt 2 - 1)
        ([0, 0, 0, 2, 2, 2, math.pi / 4], 8 * (math.sqrt(2) - 1) / (8 - 8 * (math.sqrt(2) - 1))),
        ([0, 0, 0, 0, 2, 2, 0], 0.0),  # no volume
        ([0, 0, 0, -2, 2, 2, 0], 0.0),
        ([0, 0, 0, -2, -2, 2, 0], 0.0),
        ([50, 0, 0, 2, 2, 2, 0.3], 0.0),
    ],
)
def test_iou_of_known_pairs(second: list[float], expected: float) -> None:
    assert iou(UNIT, second) == pytest.approx(expected, abs=EXACT)
    assert iou(second, UNIT) == pytest.approx(expected, abs=EXACT)


def test_two_boxes_without_volume_share_nothing() -> None:
    assert iou([0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]) == 0.0


COORDINATE = st.floats(-8, 8)
SIZE = st.floats(0.01, 4)
BOX = st.tuples(COORDINATE, COORDINATE, COORDINATE, SIZE, SIZE, SIZE, st.floats(-7, 7)).map(list)


@given(BOX)
def test_a_box_is_itself_and_never_more(box: list[float]) -> None:
    assert 1 - EXACT <= iou(box, box) <= 1.0
    turned = [*box[:6], box[6] + math.pi]
    assert 1 - 1e-9 <= iou(box, turned) <= 1.0
    swapped = [*box[:3], box[4], box[3], box[5], box[6] - math.pi / 2]
    assert 1 - 1e-9 <= iou(box, swapped) <= 1.0


@given(BOX, BOX)
def test_iou_is_symmetric_and_between_0_and_1(first: list[float], second: list[float]) -> None:
    value = iou(first, second)
    assert 0.0 <= value <= 1.0
    assert value == pytest.approx(iou(second, first), abs=1e-9)


@given(BOX, st.floats(0.1, 1), st.floats(-1e-9, 1e-9))
def test_coaxial_boxes_share_the_smaller_one(box: list[float], share: float, turn: float) -> None:
    smaller = [*box[:3], box[3] * share, box[4], box[5], box[6] + turn]
    assert iou(box, smaller) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_the_overlap_from_above_is_that_of_cells_counted(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pair = np.zeros((2, 7))
    pair[:, :2], pair[:, 3:5] = generator.uniform(-0.5, 0.5, (2, 2)), generator.uniform(0.3, 2, (2, 2))
    pair[:, 5], pair[:, 6] = 1, generator.uniform(-4, 4, 2)
    steps = (np.arange(400) + 0.5) / 100 - 2
    x, y = np.meshgrid(steps, steps)
    inside = np.ones_like(x, bool)
    for cx, cy, _, dx, dy, _, yaw in pair:
        along = (x - cx) * math.cos(yaw) + (y - cy) * math.sin(yaw)
        across = (y - cy) * math.cos(yaw) - (x - cx) * math.sin(yaw)
        inside &= (abs(along) < dx / 2) & (abs(across) < dy / 2)
    overlap = pairwise_overlap_from_above(pair[:1], pair[1:])[0, 0]
    assert overlap == pytest.approx(inside.sum() / 1e4, abs=GRID)


def test_a_large_table_is_computed_in_parts_and_is_the_same() -> None:
    generator = np.random.default_rng(0)
    boxes = np.concatenate((generator.uniform(-2, 2, (700, 3)), generator.uniform(0.5, 2, (700, 4))), axis=1)
    table = pairwise_iou_3d(boxes, boxes)
    np.testing.assert_array_equal(table[650:660], pairwise_iou_3d(boxes[650:660], boxes))
    np.testing.assert_allclose(table, table.T, atol=1e-9)


def test_iou_is_the_fixtures(shared: Path) -> None:
    _, _, inputs, outputs = load_case(shared, "imv_eval3d")
    got = pairwise_iou_3d(inputs["boxes_a"], inputs["boxes_b"])
    np.testing.assert_allclose(got, outputs["iou3d_exact"], atol=FLOAT32_BOXES)
    np.testing.assert_allclose(got, outputs["iou3d"], atol=FLOAT32_BOXES)
