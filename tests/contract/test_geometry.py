"""Geometry: one implementation for numpy and torch, exact maps between frame and canvas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tercelet.contract import geometry

SIDE = st.integers(min_value=1, max_value=5000)
ROUND_TRIP_PX = 1e-3  # float64 there and back over a scale of at most 5000


def test_no_boxes_give_no_boxes() -> None:
    none = np.zeros((0, 4), np.float32)
    assert geometry.xyxy_from_cxcywh(none).shape == (0, 4)
    assert geometry.pairwise_iou(none, np.ones((3, 4), np.float32)).shape == (0, 3)
    assert geometry.box_area(none).shape == (0,)


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),
        ([0, 0, 10, 10], [2, 2, 4, 4], 0.04),
        ([5, 5, 5, 5], [5, 5, 5, 5], 0.0),
        ([10, 10, 0, 0], [0, 0, 10, 10], 0.0),
    ],
)
def test_iou_of_known_pairs(first: list[float], second: list[float], iou: float) -> None:
    got = geometry.pairwise_iou(np.array([first], float), np.array([second], float))
    assert got[0, 0] == pytest.approx(iou)


@pytest.mark.parametrize("name", ["xyxy_from_cxcywh", "cxcywh_from_xyxy", "box_area"])
def test_numpy_and_torch_give_the_same_numbers(name: str) -> None:
    boxes = np.random.default_rng(0).uniform(-50, 700, (40, 4)).astype(np.float32)
    function = getattr(geometry, name)
    tensor = function(torch.from_numpy(boxes))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(function(boxes), tensor.numpy())


def test_clipping_ltrb_and_maps_are_the_same_in_numpy_and_torch() -> None:
    boxes = np.random.default_rng(1).uniform(-50, 700, (40, 4)).astype(np.float32)
    place = geometry.letterbox_for(480, 640, height=640, width=640)
    for function in (
        lambda b: geometry.clip_boxes(b, height=300, width=200),
        place.to_canvas,
        place.to_frame,
        lambda b: geometry.xyxy_from_ltrb(b[..., :2], b),
        lambda b: geometry.pairwise_iou(b, b),
    ):
        np.testing.assert_allclose(function(boxes), function(torch.from_numpy(boxes)).numpy(), rtol=1e-6)


def test_centre_form_and_corner_form_are_inverse() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 60.0]])
    np.testing.assert_allclose(geometry.cxcywh_from_xyxy(boxes), [[20, 40, 20, 40]])
    np.testing.assert_allclose(geometry.xyxy_from_cxcywh(geometry.cxcywh_from_xyxy(boxes)), boxes)


@pytest.mark.parametrize(
    ("frame", "canvas", "expected"),
    [
        # frame (h, w), canvas (h, w), then resized height, width, top, left
        ((640, 640), (640, 640), (640, 640, 0, 0)),
        ((720, 1280), (640, 640), (360, 640, 140, 0)),
        ((1080, 810), (640, 640), (640, 480, 0, 80)),
        ((720, 1280), (384, 640), (360, 640, 12, 0)),
        ((765, 1360), (640, 640), (360, 640, 140, 0)),
        (
            (101, 100),
            (64, 64),
            (64, 63, 0, 0),
        ),  # one spare column: round(0.5 - 0.1) = 0, it goes to the right
        ((1, 5000), (64, 64), (1, 64, 31, 0)),
        ((3, 3), (64, 96), (64, 64, 0, 16)),
    ],
)
def test_letterbox_places_the_frame(
    frame: tuple[int, int], canvas: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    place = geometry.letterbox_for(*frame, height=canvas[0], width=canvas[1])
    assert (place.height, place.width, place.top, place.left) == expected


@given(SIDE, SIDE, SIDE, SIDE)
def test_a_box_comes_back_from_any_canvas(height: int, width: int, canvas_h: int, canvas_w: int) -> None:
    place = geometry.letterbox_for(height, width, height=canvas_h, width=canvas_w)
    assert 0 <= place.top <= canvas_h - place.height
    assert 0 <= place.left <= canvas_w - place.width
    whole = np.array([[0.0, 0.0, width, height]])
    on_canvas = place.to_canvas(whole)
    np.testing.assert_allclose(
        on_canvas,
        [[place.left, place.top, place.left + place.width, place.top + place.height]],
        atol=ROUND_TRIP_PX,
    )
    np.testing.assert_allclose(place.to_frame(on_canvas), whole, atol=ROUND_TRIP_PX)
