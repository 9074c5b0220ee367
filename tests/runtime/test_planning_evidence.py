"""Evidence: where objects are expected, from boxes and from densities of any scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercelet.contract.density import DensityMap
from tercelet.runtime.planning.evidence import Evidence

# Sums of float32.
ROUNDING = 1e-4
FRAMES = [(1, 1), (5, 4000), (37, 53), (359, 641), (1080, 1920), (2160, 3840), (9001, 12007)]


@pytest.mark.parametrize("frame", FRAMES)
def test_cells_cover_the_frame_and_are_not_too_many(frame: tuple[int, int]) -> None:
    evidence = Evidence(*frame)
    rows, columns = evidence.mass.shape
    assert (rows - 1) * evidence.cell < frame[0] <= rows * evidence.cell
    assert (columns - 1) * evidence.cell < frame[1] <= columns * evidence.cell
    assert max(rows, columns) <= 80
    assert not evidence.mass.any()


def test_nothing_added_is_nothing_expected() -> None:
    evidence = Evidence(1080, 1920)
    evidence.add_boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), power=1)
    evidence.smooth()
    assert not evidence.mass.any()
    assert evidence.row_sizes(12.0).tolist() == [12.0] * evidence.mass.shape[0]


def test_the_strongest_box_of_a_cell_counts() -> None:
    evidence = Evidence(1080, 1920)
    boxes = np.float32([[100, 100, 110, 110], [92, 102, 130, 112], [0, 0, 8, 8]])
    evidence.add_boxes(boxes, np.float32([0.75, 0.5, 0.25]), power=1)
    row, column = 105 // evidence.cell, 105 // evidence.cell
    assert evidence.mass[row, column] == 0.75
    assert evidence.size[row, column] == pytest.approx(10)
    assert evidence.mass.sum() == 1.0
    evidence.start()
    assert not evidence.mass.any()
    assert not evidence.size.any()


def test_the_mass_of_a_box_is_a_power_of_its_score() -> None:
    evidence = Evidence(480, 640)
    evidence.add_boxes(np.float32([[0, 0, 8, 8]]), np.float32([0.25]), power=0.5)
    assert evidence.mass.sum() == 0.5


def test_boxes_beyond_the_frame_count_at_its_border() -> None:
    evidence = Evidence(480, 640)
    boxes = np.float32([[-90, -90, -50, -50], [700, 500, 800, 600]])
    evidence.add_boxes(boxes, np.float32([0.5, 0.25]), power=1)
    assert (evidence.mass[0, 0], evidence.mass[-1, -1]) == (0.5, 0.25)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FRAMES), st.integers(1, 50), st.integers(0, 2))
def test_masses_never_exceed_what_was_added(
    seed: int, frame: tuple[int, int], count: int, spread: int
) -> None:
    random, evidence = np.random.default_rng(seed), Evidence(*frame)
    corners = random.uniform(0, (frame[1], frame[0]), (count, 2))
    boxes = np.concatenate((corners, corners + 20), axis=1).astype(np.float32)
    weights = np.sort(random.random(count))[::-1].astype(np.float32)
    evidence.add_boxes(boxes, weights, power=1, spread=spread)
    total = float(evidence.mass.sum())
    assert total <= float(weights.sum()) * (1 + ROUNDING)
    assert (evidence.size[evidence.mass > 0] > 0).all()
    evidence.smooth()
    assert (evidence.mass >= 0).all()
    assert float(evidence.mass.sum()) <= total * (1 + ROUNDING)


def test_smoothing_keeps_the_mass_of_what_is_not_at_the_border() -> None:
    evidence = Evidence(1080, 1920)
    evidence.mass[20, 40] = 3
    evidence.smooth()
    assert float(evidence.mass.sum()) == pytest.approx(3, rel=ROUNDING)
    assert (evidence.mass[18:23, 38:43] > 0).all()


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FRAMES),
    st.tuples(st.integers(1, 70), st.integers(1, 120)),
)
def test_a_density_keeps_its_count_whatever_its_scale(
    seed: int, frame: tuple[int, int], shape: tuple[int, int]
) -> None:
    values = np.random.default_rng(seed).random(shape).astype(np.float32)
    density = DensityMap(values, *frame)
    evidence = Evidence(*frame)
    evidence.add_density(density)
    assert float(evidence.mass.sum()) == pytest.approx(density.count, rel=1e-3)


def test_a_density_lands_where_it_belongs() -> None:
    values = np.zeros((68, 120), np.float32)
    values[10, 100] = 2
    evidence = Evidence(1080, 1920)
    evidence.add_density(DensityMap(values, 1080, 1920))
    x, y = (100 + 0.5) * 16, (10 + 0.5) * 1080 / 68
    row, column = int(y) // evidence.cell, int(x) // evidence.cell
    assert evidence.mass[row, column] > 1  # a cell of the map may lie on the border of two here
    assert evidence.mass[row - 1 : row + 2, column - 1 : column + 2].sum() == pytest.approx(2)
    assert evidence.mass.sum() == pytest.approx(2)


def test_negative_densities_count_as_nothing() -> None:
    evidence = Evidence(1080, 1920)
    evidence.add_density(DensityMap(np.full((68, 120), -0.5, np.float32), 1080, 1920))
    assert not evidence.mass.any()


def test_boxes_and_a_density_have_the_same_weight_and_the_count_is_the_densitys() -> None:
    evidence = Evidence(640, 640)
    evidence.add_boxes(np.float32([[0, 0, 8, 8]]), np.float32([0.5]), power=1)
    values = np.zeros((40, 40), np.float32)
    values[20, 20] = 3
    evidence.add_density(DensityMap(values, 640, 640))
    middle = 325 // evidence.cell
    assert (evidence.mass[0, 0], evidence.mass[middle, middle]) == (1.5, 1.5)
    assert evidence.mass.sum() == 3


@pytest.mark.parametrize("frame", [(1050, 1400), (1080, 1920), (2160, 3840), (360, 640)])
@pytest.mark.parametrize("shape", [(34, 60), (68, 120), (48, 64), (17, 30)])
def test_an_even_density_gives_even_evidence(frame: tuple[int, int], shape: tuple[int, int]) -> None:
    evidence = Evidence(*frame)
    evidence.add_density(DensityMap(np.ones(shape, np.float32), *frame))
    whole = evidence.mass[: frame[0] // evidence.cell, : frame[1] // evidence.cell]
    np.testing.assert_allclose(whole, whole.mean(), rtol=0.02)


def test_sizes_grow_towards_the_viewer_and_never_beyond_what_was_seen() -> None:
    evidence = Evidence(1080, 1920)
    rows = np.linspace(40, 1040, 40)
    sides = np.linspace(8, 80, 40)
    columns = np.linspace(100, 1800, 40)
    boxes = np.stack((columns, rows, columns + sides, rows + sides), axis=1).astype(np.float32)
    evidence.add_boxes(boxes, np.ones(40, np.float32), power=1)
    sizes = evidence.row_sizes(20)
    assert (np.diff(sizes) >= 0).all()
    assert sizes[0] >= 7.9
    assert sizes[-1] <= 80.1
    assert sizes[-1] > 3 * sizes[0]
