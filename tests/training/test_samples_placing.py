"""Where frames and windows lie on a canvas, what of their objects is visible, and how they are drawn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.training.detector_training.samples import Augmentation, Windows
from tercelet.training.detector_training.samples.drawing import draw
from tercelet.training.detector_training.samples.placing import mosaic_areas, window_in_area
from tercelet.training.detector_training.samples.truth import Placement, Truth, placed_truth

NOTHING = np.zeros((0, 4))
STILL = Augmentation.none()
# A warp reads at 1/32 of a pixel, which on noise is worth up to 8 levels a side.
WARP_LEVELS = 12


@pytest.mark.parametrize("scale", [0.5, 1, 2, 4])
def test_a_window_is_drawn_as_a_part_of_the_frame_is_resized(scale: float) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    canvas = np.zeros((64, 96, 3), np.uint8)
    left, top = 40, 20
    draw(canvas, frame, Placement(np.eye(2) * scale, np.array((-left, -top)) * scale, (0, 0, 96, 64)))
    part = frame[top : top + round(64 / scale), left : left + round(96 / scale)]
    resized = cv2.resize(part, (96, 64), interpolation=cv2.INTER_LINEAR)
    # At its border the part alone has no neighbours.
    inner = (slice(4, -4), slice(4, -4))
    assert np.abs(canvas[inner].astype(int) - resized[inner]).max() <= WARP_LEVELS


def test_pieces_stay_in_their_area() -> None:
    frame = np.full((50, 50, 3), 200, np.uint8)
    canvas = np.zeros((64, 96, 3), np.uint8)
    draw(canvas, frame, Placement(np.eye(2), np.array((25.0, 10.0)), (30, 0, 70, 40)))
    assert (canvas[10:40, 30:70] == 200).all()
    assert (canvas[:10, 30:70] == 114).all()
    canvas[:40, 30:70] = 0
    assert not canvas.any()


def test_a_mosaic_fills_the_canvas_with_four_areas() -> None:
    for seed in range(20):
        covered = np.zeros((50, 70), int)
        for left, top, right, bottom in mosaic_areas((50, 70), np.random.default_rng(seed)):
            covered[top:bottom, left:right] += 1
            assert right - left >= 17
            assert bottom - top >= 12
        assert (covered == 1).all()


def test_windows_hold_an_object_whole_where_it_fits_and_cover_the_frame() -> None:
    truth = Truth(np.array([[900.0, 500.0, 920.0, 530.0]]), np.zeros(1, np.int64), NOTHING)
    windows = Windows(scale=(0.5, 4), centred=1)
    area = (0, 0, 320, 320)
    corners = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        place = window_in_area((1080, 1920), truth, area, windows, STILL, rng)
        seen = placed_truth(truth, place, min_visible=0.25)
        side = seen.boxes[0, 2:] - seen.boxes[0, :2]
        scale = place.linear[0, 0]
        np.testing.assert_allclose(side, (20 * scale, 30 * scale))
        assert 0.5 <= scale <= 4
        assert (place.shift <= 1e-6).all()
        assert (place.shift + np.array((1920, 1080)) * scale >= 320 - 1e-6).all()
        corners.append(seen.boxes[0, :2])
    assert np.std(corners, axis=0).min() > 40


@pytest.mark.parametrize(
    ("box", "is_kept"),
    [
        ([-70.0, 10.0, 30.0, 40.0], True),  # 30 % inside
        ([-80.0, 10.0, 20.0, 40.0], False),  # 20 % inside
        ([10.0, 10.0, 12.0, 40.0], False),  # 2 px wide
        ([10.0, 10.0, 13.0, 40.0], True),
        ([0.0, 10.0, 300.0, 13.0], False),  # 100 times as long as high
        ([10.0, 10.0, 20.0, 20.0], True),
    ],
)
def test_what_is_hardly_visible_of_an_object_is_ignored(box: list[float], is_kept: bool) -> None:
    truth = Truth(np.array([box]), np.array([4]), NOTHING)
    place = Placement(np.eye(2), np.zeros(2), (0, 0, 320, 64))
    seen = placed_truth(truth, place, min_visible=0.25)
    assert seen.class_ids.tolist() == ([4] if is_kept else [])
    cut = np.clip(box, 0, [320, 64, 320, 64])
    np.testing.assert_allclose(seen.boxes if is_kept else seen.ignored, [cut])
    assert len(seen.ignored) == (not is_kept)


def test_what_is_outside_the_canvas_is_neither_found_nor_ignored() -> None:
    outside = np.array([[-30.0, 0.0, -1.0, 20.0], [330.0, 70.0, 350.0, 80.0]])
    place = Placement(np.eye(2), np.zeros(2), (0, 0, 320, 64))
    seen = placed_truth(Truth(outside, np.zeros(2, np.int64), outside), place, min_visible=0)
    assert seen.boxes.shape == (0, 4)
    assert seen.ignored.shape == (0, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Augmentation(mosaic=1.5), "mosaic: expected a number from 0 to 1, got 1.5"),
        (lambda: Augmentation(scale=1.0), "scale: expected a number from 0 to 0.95"),
        (lambda: Augmentation(hsv=(0.1, 0.1)), "hsv: expected three numbers"),  # type: ignore[arg-type]
        (lambda: Augmentation(hsv=(0.1, float("nan"), 0)), "hsv, saturation: expected"),
        (lambda: Augmentation(degrees=-1), "degrees: expected a number from 0 to 180"),
        (lambda: Augmentation(flip_vertical=True), "flip_vertical: expected a number"),
        (lambda: Windows(share=2), "share: expected a number from 0 to 1"),
        (lambda: Windows(scale=(2, 1)), "scale: expected the smallest and the largest"),
        (lambda: Windows(scale=(0, 1)), "above 0"),
        (lambda: Windows(per_frame=0), "per_frame: expected at least 1 sample"),
    ],
)
def test_values_out_of_their_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
