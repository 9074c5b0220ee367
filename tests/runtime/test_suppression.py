"""Suppression block by block keeps what plain greedy suppression keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tercelet.runtime.suppression import Suppressor


def plain(
    boxes: NDArray[np.float64], iou: float, cut: NDArray[np.bool_] | None = None, covered: float = 1.0
) -> list[int]:
    """One box after the other against all that were kept."""
    kept: list[int] = []
    for index, box in enumerate(boxes.tolist()):
        for other in (boxes[j].tolist() for j in kept):
            wide = max(min(box[2], other[2]) - max(box[0], other[0]), 0)
            high = max(min(box[3], other[3]) - max(box[1], other[1]), 0)
            shared = wide * high
            areas = [max(b[2] - b[0], 0) * max(b[3] - b[1], 0) for b in (box, other)]
            if shared > iou * max(sum(areas) - shared, 1e-12):
                break
            if cut is not None and cut[index] and shared > covered * areas[0]:
                break
        else:
            kept.append(index)
    return kept


def crowd(seed: int, count: int, spread: int) -> NDArray[np.float64]:
    """Boxes with whole corners, many of them equal or touching, some empty."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, spread, (count, 2))
    return np.concatenate((corners, corners + random.integers(0, 12, (count, 2))), axis=1).astype(float)


def test_nothing_in_nothing_out() -> None:
    assert Suppressor().survivors(np.zeros((0, 4), np.float32), iou=0.5).tolist() == []


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.one_of(st.integers(1, 40), st.integers(100, 300)),
    st.sampled_from([3, 20, 80]),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)
def test_it_keeps_what_the_plain_way_keeps(seed: int, count: int, spread: int, iou: float) -> None:
    boxes = crowd(seed, count, spread)
    expected = plain(boxes, iou)
    # Corners, areas and thresholds are exact in both types, so that equal IoUs are equal in both.
    for dtype in (np.float32, np.float64):
        assert Suppressor(dtype).survivors(boxes.astype(dtype), iou=iou).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 300), st.sampled_from([3, 20, 80]), st.sampled_from([0.5, 0.75])
)
def test_parts_go_where_an_earlier_box_covers_them(
    seed: int, count: int, spread: int, covered: float
) -> None:
    boxes = crowd(seed, count, spread)
    cut = np.random.default_rng(seed).random(count) < 0.5
    found = Suppressor().survivors(boxes.astype(np.float32), iou=0.5, cut=cut, covered=covered)
    assert found.tolist() == plain(boxes, 0.5, cut, covered)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(0, 300))
def test_a_limit_takes_the_first_of_all_survivors(seed: int, count: int, limit: int) -> None:
    boxes = crowd(seed, count, 40).astype(np.float32)
    everything = Suppressor().survivors(boxes, iou=0.5)
    assert Suppressor().survivors(boxes, iou=0.5, limit=limit).tolist() == everything[:limit].tolist()


def test_equal_boxes_leave_the_first() -> None:
    boxes = np.tile(np.float32([0, 0, 8, 8]), (300, 1))
    assert Suppressor().survivors(boxes, iou=0.5).tolist() == [0]
    assert len(Suppressor().survivors(boxes, iou=1.0)) == 300


@pytest.mark.parametrize("order", [(300, 5, 129), (5, 300, 128)])
def test_what_was_there_before_does_not_show(order: tuple[int, ...]) -> None:
    suppressor = Suppressor()
    for seed, count in enumerate(order):
        boxes = crowd(seed, count, 60).astype(np.float32)
        assert suppressor.survivors(boxes, iou=0.5).tolist() == plain(boxes.astype(float), 0.5)
