"""What a cloud must be before a detector is asked; sampling; a million points."""

from __future__ import annotations

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds import (
    Cloud,
    checked_cloud,
    detector_points,
    height_above_floor,
    sampled_rows,
)


def room(count: int = 2000, *, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(0).uniform((-2, 1, -1), (2, 5, 1), (count, 3)) * scale).astype(np.float32)


def test_an_empty_cloud_is_refused_unless_none_is_needed() -> None:
    empty = Cloud("empty", np.zeros((0, 3), np.float32))
    with pytest.raises(InputError, match="empty: expected at least 1000 points, got 0"):
        checked_cloud(empty)
    assert len(checked_cloud(empty, least=0)) == 0


def test_a_sound_cloud_stays_as_it_is() -> None:
    cloud = Cloud("room", room(), np.ones((2000, 3), np.float32))
    assert checked_cloud(cloud) is cloud


def test_nan_is_refused_by_its_place_or_dropped_with_its_colour() -> None:
    points = room()
    points[[3, 700], [0, 2]] = np.nan, np.inf
    colours = np.arange(6000, dtype=np.float32).reshape(2000, 3)
    with pytest.raises(InputError, match=r"infinity in 2 of 2000 points \(the first is point 3\)"):
        checked_cloud(Cloud("room", points, colours))
    kept = checked_cloud(Cloud("room", points, colours), non_finite="drop")
    assert len(kept) == 1998
    assert kept.colours is not None
    assert kept.colours[3].tolist() == [12, 13, 14]
    points[:1500] = np.nan
    with pytest.raises(InputError, match="at least 1000 points, got 500 once 1500 without finite"):
        checked_cloud(Cloud("room", points), non_finite="drop")


def test_ten_points_are_too_few() -> None:
    with pytest.raises(InputError, match="at least 1000 points, got 10; is this the whole cloud"):
        checked_cloud(Cloud("room", room(10)))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1000, r"spans 3\d\d\d: these look like millimetres of a room of 3\.\d m; divide .* by 1000"),
        (1e6, "expected a room in metres, got a cloud that spans 3.9"),
        (0.001, "spans 0.0039"),
    ],
)
def test_a_cloud_in_another_unit_is_refused(scale: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_cloud(Cloud("room", room(scale=scale)))


def test_a_few_stray_points_do_not_change_the_unit() -> None:
    points = room()
    points[:5] = 4000
    assert len(checked_cloud(Cloud("room", points))) == 2000


@pytest.mark.parametrize(
    ("count", "wanted", "rows"),
    [
        (4, 4, [0, 1, 2, 3]),
        (8, 4, [0, 2, 4, 6]),
        (5, 3, [0, 1, 3]),
        (2, 5, [0, 0, 0, 1, 1]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_rows_are_spread_evenly_and_repeated_where_too_few(count: int, wanted: int, rows: list[int]) -> None:
    assert sampled_rows(count, wanted).tolist() == rows


@pytest.mark.parametrize(("count", "wanted"), [(0, 5), (5, 0)])
def test_nothing_cannot_be_sampled(count: int, wanted: int) -> None:
    with pytest.raises(InputError, match="at least 1 point to take from"):
        sampled_rows(count, wanted)


def test_a_seed_draws_without_repetition_and_draws_the_same_again() -> None:
    rows = sampled_rows(100, 40, seed=3)
    assert len(set(rows.tolist())) == 40
    np.testing.assert_array_equal(rows, sampled_rows(100, 40, seed=3))
    assert rows.tolist() != sampled_rows(100, 40, seed=4).tolist()
    few = sampled_rows(10, 25, seed=0)
    assert few[:10].tolist() == list(range(10))
    assert set(few.tolist()) == set(range(10))


def test_the_floor_is_the_lowest_hundredth_and_not_the_ninety_ninth() -> None:
    z = np.arange(10001, dtype=np.float32) / 100
    assert height_above_floor(z)[0] == pytest.approx(-0.99, abs=1e-5)


def test_a_million_points_become_what_the_detector_takes() -> None:
    points = room(1_000_000)
    cloud = checked_cloud(Cloud("room", points))
    taken = detector_points(cloud.points, 20000)
    assert taken.shape == (20000, 4)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken[:, :3], points[::50])
    assert taken[:, 3].min() == pytest.approx(-0.0198, abs=0.01)  # 0.99 % of a height of 2 m lie below
