"""Density maps: one meaning of a window's sum at every size, and a count that survives resizing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tercelet.contract.density import DensityMap
from tercelet.contract.errors import InputError

# float32 values, summed in float64: a relative rounding of 6e-8 each.
RELATIVE = 1e-6


def random_map(seed: int, height: int, width: int, *, cell: int = 1, lowest: float = 0.0) -> DensityMap:
    values = np.random.default_rng(seed).uniform(lowest, 1.0, (height, width)).astype(np.float32)
    return DensityMap(values, height * cell, width * cell)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (1, 2, 3)])
def test_a_map_without_cells_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected a density map \(h, w\) with at least one cell"):
        DensityMap(np.zeros(shape, np.float32), 8, 8)
    with pytest.raises(InputError, match="expected a frame of at least 1x1 pixels, got 0x8"):
        DensityMap(np.zeros((2, 2), np.float32), 0, 8)
    with pytest.raises(InputError, match="expected a density map of at least 1x1 cells, got 0x2"):
        random_map(0, 2, 2).resized(0, 2)


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_a_whole_factor_gives_the_plain_bilinear_map(factor: int) -> None:
    density = random_map(1, 5, 9, cell=factor)
    larger = density.resized(5 * factor, 9 * factor)
    plain = cv2.resize(density.values, (9 * factor, 5 * factor), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(larger.values, plain / factor**2, atol=1e-6 / factor**2)
    assert (larger.height, larger.width, larger.cell) == (density.height, density.width, (1.0, 1.0))


def test_the_same_size_is_the_same_map() -> None:
    density = random_map(2, 6, 5, cell=4, lowest=-1.0)
    np.testing.assert_array_equal(density.resized(6, 5).values, density.values)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    source=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_resizing_keeps_the_count(seed: int, source: tuple[int, int], target: tuple[int, int]) -> None:
    density = random_map(seed, *source)
    assert density.resized(*target).count == pytest.approx(density.count, rel=RELATIVE)


def test_resizing_keeps_the_count_of_a_map_with_negative_cells() -> None:
    density = random_map(3, 17, 23, lowest=-1.0)
    for size in ((17, 50), (40, 31), (9, 11), (68, 92)):
        assert density.resized(*size).count == pytest.approx(density.count, abs=1e-4)


def test_an_even_map_stays_even() -> None:
    density = DensityMap(np.full((4, 6), 0.5, np.float32), 40, 60)
    for size in ((4, 9), (7, 6), (10, 15), (3, 4)):
        np.testing.assert_allclose(density.resized(*size).values, 12.0 / (size[0] * size[1]), rtol=1e-6)


def brute_sum(density: DensityMap, box: NDArray[np.float64]) -> float:
    """Cell by cell."""
    high, wide = density.cell
    total = 0.0
    for row, line in enumerate(density.values.tolist()):
        for column, value in enumerate(line):
            down = min(box[3], (row + 1) * high) - max(box[1], row * high)
            across = min(box[2], (column + 1) * wide) - max(box[0], column * wide)
            total += value * max(down, 0.0) * max(across, 0.0) / (high * wide)
    return total


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    frame=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    edges=st.lists(st.tuples(*[st.floats(-5, 40)] * 4), max_size=5),
)
def test_a_window_sum_is_the_sum_of_the_areas_inside(
    seed: int, frame: tuple[int, int], edges: list[tuple[float, float, float, float]]
) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, (4, 7)).astype(np.float32)
    density = DensityMap(values, *frame)
    boxes = np.array(edges, np.float64).reshape(-1, 4)
    expected = [brute_sum(density, box) for box in boxes]
    np.testing.assert_allclose(density.window_sum(boxes), expected, atol=1e-9)


def test_no_window_gives_no_sum_and_the_whole_frame_gives_the_count() -> None:
    density = random_map(4, 3, 5, cell=4)
    assert density.window_sum(np.zeros((0, 4))).shape == (0,)
    assert density.window_sum(np.array([[0, 0, 20, 12]])) == pytest.approx(density.count)
    assert density.window_sum(np.array([[5, 5, 5, 9], [9, 3, 2, 8], [21, 0, 30, 9]])).tolist() == [0, 0, 0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    corners=st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=5),
)
def test_a_window_of_whole_cells_has_the_same_sum_at_quarter_and_at_full_size(
    seed: int, size: tuple[int, int], corners: list[tuple[int, int, int, int]]
) -> None:
    full = random_map(seed, size[0] * 4, size[1] * 4)
    quarter = full.resized(*size)
    boxes = np.array(corners, np.float64) * 4
    np.testing.assert_allclose(quarter.window_sum(boxes), full.window_sum(boxes), atol=1e-4)


def test_a_window_of_any_edges_has_nearly_the_same_sum_at_quarter_and_at_full_size() -> None:
    y, x = np.mgrid[:240, :320]
    blob = np.exp(-((y - 100) ** 2 + (x - 170) ** 2) / (2 * 15**2))
    full = DensityMap((blob / blob.sum()).astype(np.float32), 240, 320)
    quarter = full.resized(60, 80)
    boxes = np.random.default_rng(0).uniform(0, 250, (200, 2)).repeat(2, 1)[:, [0, 2, 1, 3]] + [0, 0, 70, 70]
    exact = full.window_sum(boxes)
    # Inside a cell of 4x4 pixels the quarter map is even where the Gaussian of 15 pixels rises a little.
    np.testing.assert_allclose(quarter.window_sum(boxes), exact, atol=4e-3)
    np.testing.assert_allclose(quarter.resized(240, 320).window_sum(boxes), exact, atol=6e-3)


def test_the_sums_of_a_grid_are_those_of_its_windows() -> None:
    density = random_map(5, 13, 11, cell=3, lowest=-1.0)
    rows = np.array([[0, 10], [10, 20], [29, 39.0]])
    columns = np.array([[0, 7.5], [25.5, 33.0]])
    boxes = np.array([[left, top, right, bottom] for top, bottom in rows for left, right in columns])
    np.testing.assert_allclose(density.grid_sum(rows, columns).ravel(), density.window_sum(boxes), atol=1e-9)
