"""The plan of DMNet: upstream's boxes in parity mode, and none of its slips otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference_cases import load_case

from tercelet.contract.density import DensityMap
from tercelet.contract.errors import InputError
from tercelet.runtime import plan_dmnet
from tercelet.runtime.planning.dmnet import window_mask


def dots(height: int, width: int, *points: tuple[int, int]) -> NDArray[np.float32]:
    """One object at each (x, y)."""
    density = np.zeros((height, width), np.float32)
    for x, y in points:
        density[y, x] += 1
    return density


@pytest.mark.parametrize("parity", [False, True])
def test_an_empty_frame_gives_no_box(parity: bool) -> None:
    boxes = plan_dmnet(dots(200, 300), parity=parity)
    assert (boxes.shape, boxes.dtype) == ((0, 4), np.int64)


@pytest.mark.parametrize("case", ["k0", "k1", "k2", "k3"])
def test_parity_mode_gives_upstreams_mask_and_boxes_in_its_order(shared: Path, case: str) -> None:
    _, _, inputs, outputs = load_case(shared, "dmn_crops")
    density = inputs[f"{case}.dens"]
    mask = window_mask(density, parity=True)
    np.testing.assert_array_equal(mask, outputs[f"{case}.mask"].astype(bool))
    boxes = plan_dmnet(density, parity=True)
    np.testing.assert_array_equal(boxes, outputs[f"{case}.components"][:, :4])


def test_upstreams_extra_pixel_row_and_column_are_left_out() -> None:
    density = dots(280, 280, (150, 80))
    assert plan_dmnet(density).tolist() == [[140, 70, 210, 140]]
    assert plan_dmnet(density, parity=True).tolist() == [[139, 69, 210, 140]]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (50, 60, [[0, 0, 60, 50]]),
        (1, 1, [[0, 0, 1, 1]]),
        (50, 210, [[0, 0, 70, 50]]),
        (210, 50, [[0, 0, 50, 70]]),
        (70, 70, [[0, 0, 70, 70]]),
        (71, 70, [[0, 0, 70, 70]]),
    ],
)
def test_a_frame_smaller_than_the_window_is_covered_to_its_border(
    height: int, width: int, expected: list[list[int]]
) -> None:
    # Upstream starts such a window below zero and looks at the wrong part of the frame, or at nothing.
    assert plan_dmnet(dots(height, width, (0, 0))).tolist() == expected


def test_upstream_overlooks_what_lies_at_the_start_of_a_frame_smaller_than_the_window() -> None:
    density = dots(50, 210, (0, 0))
    assert plan_dmnet(density, parity=True).tolist() == []
    assert not window_mask(density, parity=True).any()
    assert window_mask(density).sum() == 50 * 70


def test_the_last_windows_are_moved_back_into_the_frame() -> None:
    assert plan_dmnet(dots(100, 160, (159, 99))).tolist() == [[90, 30, 160, 100]]


def test_windows_that_touch_across_the_corner_only_are_two_regions() -> None:
    density = dots(140, 140, (0, 0), (139, 139))
    assert plan_dmnet(density).tolist() == [[0, 0, 70, 70], [70, 70, 140, 140]]


def test_windows_that_were_moved_over_each_other_are_one_region_also_across_the_corner() -> None:
    # Rows 0 to 70 and 30 to 100: the two windows share a side of 40 pixels.
    density = dots(100, 140, (0, 5), (139, 95))
    assert plan_dmnet(density).tolist() == [[0, 0, 140, 100]]
    assert plan_dmnet(np.ascontiguousarray(density.T)).tolist() == [[0, 0, 100, 140]]


def test_a_box_inside_another_adds_nothing() -> None:
    ring = [(x, y) for x in range(35, 350, 70) for y in range(35, 350, 70)]
    ring = [(x, y) for x, y in ring if {x, y} & {35, 315}]
    density = dots(350, 350, *ring, (175, 175))
    assert plan_dmnet(density).tolist() == [[0, 0, 350, 350]]
    assert len(plan_dmnet(density, parity=True)) == 2


def test_the_threshold_belongs_to_the_windows_that_count() -> None:
    density = np.zeros((70, 140), np.float32)
    density[0, 0], density[0, 70] = 0.08, 0.0799
    assert plan_dmnet(density).tolist() == [[0, 0, 70, 70]]
    assert plan_dmnet(density, threshold=0.0799).tolist() == [[0, 0, 140, 70]]
    assert plan_dmnet(np.zeros((70, 140)), threshold=0).tolist() == [[0, 0, 140, 70]]


def test_negative_density_counts_as_it_is() -> None:
    density = dots(70, 70, (3, 3))
    density[4, 4] = -0.95
    assert plan_dmnet(density).tolist() == []
    assert plan_dmnet(-density, threshold=-0.06).tolist() == [[0, 0, 70, 70]]


def test_the_window_may_have_two_sides() -> None:
    density = dots(100, 100, (35, 25))
    assert plan_dmnet(density, window=(20, 30)).tolist() == [[30, 20, 60, 40]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("parity", [False, True])
def test_what_is_no_number_is_refused_by_name(bad: float, parity: bool) -> None:
    density = dots(100, 100, (3, 3))
    density[50, 50] = bad
    with pytest.raises(InputError, match="expected a density of finite numbers, got NaN or infinity"):
        plan_dmnet(density, parity=parity)


@pytest.mark.parametrize(
    ("density", "options", "message"),
    [
        (np.zeros(5), {}, r"expected a density \(H, W\) of numbers as large as the frame, got \(5,\)"),
        (np.zeros((1, 5, 5)), {}, r"got \(1, 5, 5\)"),
        (np.zeros((5, 5), bool), {}, "bool"),
        (np.zeros((0, 5)), {}, "at least one cell"),
        (np.zeros((5, 5)), {"window": 0}, "window: expected a whole number of pixels"),
        (np.zeros((5, 5)), {"window": (5, 5, 5)}, "window: expected"),
        (np.zeros((5, 5)), {"window": 2.5}, "window: expected"),
        (np.zeros((5, 5)), {"threshold": np.nan}, "threshold: expected a number of objects, got NaN"),
    ],
)
def test_an_impossible_request_is_refused(
    density: NDArray[np.float64], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plan_dmnet(density, **options)  # type: ignore[arg-type]


def reference_plan(density: NDArray[np.float64], window: int, threshold: float) -> list[list[int]]:
    """The same rules pixel by pixel."""
    height, width = density.shape
    mask = np.zeros((height, width), bool)
    for y in range(0, height, window):
        for x in range(0, width, window):
            top, left = max(min(y, height - window), 0), max(min(x, width - window), 0)
            part = np.s_[top : top + window, left : left + window]
            mask[part] |= np.float32(density[part].sum()) >= np.float32(threshold)
    boxes = []
    for y, x in np.argwhere(mask).tolist():
        if not mask[y, x]:
            continue
        mask[y, x], found = False, [(y, x)]
        for row, column in found:
            for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= r < height and 0 <= c < width and mask[r, c]:
                    mask[r, c] = False
                    found.append((r, c))
        rows, columns = zip(*found, strict=True)
        boxes.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
    inside = [
        any(a != b and b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3] for b in boxes)
        for a in boxes
    ]
    return [box for box, nested in zip(boxes, inside, strict=True) if not nested]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    window=st.integers(1, 9),
    share=st.floats(0.0, 0.3),
)
def test_the_windows_are_joined_as_their_pixels_would_be(
    seed: int, size: tuple[int, int], window: int, share: float
) -> None:
    density = (np.random.default_rng(seed).random(size) < share).astype(np.float64)
    expected = reference_plan(density, window, 1.0)
    assert plan_dmnet(density, window=window, threshold=1.0).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_a_quarter_map_gives_the_plan_of_the_full_one_where_windows_are_whole_cells(
    seed: int, size: tuple[int, int]
) -> None:
    # Objects of 1/16 a pixel in cells of 16: every sum is exact.
    cells = np.random.default_rng(seed).integers(0, 2, size).astype(np.float32)
    full = (cells / 16).repeat(4, 0).repeat(4, 1)
    quarter = DensityMap(cells, size[0] * 4, size[1] * 4)
    expected = plan_dmnet(full, window=8, threshold=2.0)
    np.testing.assert_array_equal(plan_dmnet(quarter, window=8, threshold=2.0), expected)


def test_parity_mode_takes_a_quarter_map_at_full_size() -> None:
    quarter = DensityMap(dots(70, 70, (35, 35)), 280, 280)
    full = quarter.resized(280, 280).values
    np.testing.assert_array_equal(plan_dmnet(quarter, parity=True), plan_dmnet(full, parity=True))


# 1.5 ms is the budget of the whole plan of a 1080p frame; a loaded machine may take four times as long.
BUDGET_MS, ROOM = 1.5, 4


@pytest.mark.parametrize("shape", [(68, 120), (270, 480)])
@pytest.mark.parametrize("level", [0.5, 1.0])
def test_a_1080p_frame_is_planned_within_its_budget(shape: tuple[int, int], level: float) -> None:
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    values *= 0.16 * level / (values.mean() * 4900 * values.size / (1080 * 1920))
    density = DensityMap(values, 1080, 1920)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        plan_dmnet(density)
        times.append(time.perf_counter() - start)
    assert min(times) * 1e3 < BUDGET_MS * ROOM
