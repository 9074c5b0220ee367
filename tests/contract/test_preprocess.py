"""The canvas: filled as the data say, refused where the frame is not one."""

from __future__ import annotations

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.contract.preprocess import Preprocess, fill_canvas, resize_bilinear_into
from tercelet.contract.scenes import synthetic_frame, synthetic_frames


def canvas_for(preprocess: Preprocess) -> np.ndarray:
    return np.full((preprocess.height, preprocess.width, 3), 7, np.uint8)


def test_padding_surrounds_the_frame_and_nothing_old_remains() -> None:
    preprocess = Preprocess(64, 96, pad_value=200)
    canvas = canvas_for(preprocess)
    place = fill_canvas(canvas, np.full((30, 30, 3), 50, np.uint8), preprocess)
    inner = canvas[place.top : place.top + place.height, place.left : place.left + place.width]
    assert (inner == 50).all()
    assert (canvas == 200).sum() == canvas.size - inner.size


def test_a_frame_of_the_canvas_size_is_copied_unchanged() -> None:
    preprocess = Preprocess(32, 32)
    frame = synthetic_frame(3, height=32, width=32)
    canvas = canvas_for(preprocess)
    fill_canvas(canvas, frame, preprocess)
    np.testing.assert_array_equal(canvas, frame)


@pytest.mark.parametrize(("given", "wanted"), [("BGR", "RGB"), ("RGB", "BGR")])
def test_channels_are_reversed_only_where_the_orders_differ(given: str, wanted: str) -> None:
    frame = synthetic_frame(0, height=40, width=20)
    same, other = canvas_for(Preprocess(32, 32)), canvas_for(Preprocess(32, 32))
    fill_canvas(same, frame, Preprocess(32, 32, color=given), color=given)  # type: ignore[arg-type]
    fill_canvas(other, frame, Preprocess(32, 32, color=wanted), color=given)  # type: ignore[arg-type]
    np.testing.assert_array_equal(same, other[..., ::-1])


def test_resizing_keeps_a_ramp_a_ramp() -> None:
    ramp = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[None, :, None], 5, 0).repeat(3, 2)
    target = np.zeros((10, 50, 3), np.uint8)
    resize_bilinear_into(ramp, target)
    steps = np.diff(target[0, :, 0].astype(int))
    assert target.min() == 0
    assert target.max() == 240
    assert ((steps >= 0) & (steps <= 6)).all()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("picture.jpg", "got str"),
        (np.zeros((10, 10), np.uint8), r"\(10, 10\) uint8"),
        (np.zeros((10, 10, 4), np.uint8), r"\(10, 10, 4\)"),
        (np.zeros((10, 10, 3), np.uint16), "uint16; convert grey, 16-bit"),
        (np.zeros((0, 10, 3), np.uint8), r"\(0, 10, 3\)"),
    ],
)
def test_what_is_no_frame_is_refused_by_name(frame: object, message: str) -> None:
    preprocess = Preprocess(32, 32)
    with pytest.raises(InputError, match=message):
        fill_canvas(canvas_for(preprocess), frame, preprocess)  # type: ignore[arg-type]


def test_a_canvas_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected a canvas \(32, 32, 3\) uint8, got \(32, 64, 3\)"):
        fill_canvas(np.zeros((32, 64, 3), np.uint8), np.zeros((5, 5, 3), np.uint8), Preprocess(32, 32))


@pytest.mark.parametrize("values", [{"height": 0}, {"pad_value": 256}, {"pad_value": -1}])
def test_impossible_preprocessing_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected"):
        Preprocess(**{"height": 32, "width": 32, **values})  # type: ignore[arg-type]


def test_synthetic_frames_are_the_same_every_time_and_differ_from_each_other() -> None:
    assert synthetic_frames(0, height=8, width=8) == []
    first, second = synthetic_frames(2, height=48, width=64)
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.uint8
    assert first.std() > 20
    np.testing.assert_array_equal(first, synthetic_frame(0, height=48, width=64))
    assert (first != second).mean() > 0.5
