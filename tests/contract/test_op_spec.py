"""Specifications of ops: shapes bound to symbols, attributes checked, differences without loopholes."""

from __future__ import annotations

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.contract.op_spec import largest_relative_difference, sizing_attributes, split_dimension
from tercelet.ops import OPS

INF, NAN = float("inf"), float("nan")
TAPS = (0, 0, 0, 1, 1, 0)


@pytest.mark.parametrize(
    ("got", "expected", "difference"),
    [
        ([], [], 0.0),
        ([0.0], [0.0], 0.0),
        ([1.5, 2.0], [1.0, 2.0], 0.25),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, NAN], [NAN, NAN], 0.0),
        ([NAN, 1.0], [1.0, 1.0], INF),
        ([1.0, 1.0], [NAN, 1.0], INF),
        ([INF, 1.0], [INF, 1.0], 0.0),
        ([-INF, 1.0], [INF, 1.0], INF),
        ([1.0, 5.0], [INF, 1.0], INF),
        ([INF, 2.0], [INF, 1.0], 1.0),
        ([INF], [3.0], INF),
        ([3.0], [0.0], 3.0),
    ],
)
def test_a_difference_is_relative_to_the_largest_value_and_never_nan(
    got: list[float], expected: list[float], difference: float
) -> None:
    arrays = (np.array(values, np.float32) for values in (got, expected))
    assert largest_relative_difference(*arrays) == difference


@pytest.mark.parametrize(
    ("got", "expected", "difference"), [([], [], 0.0), ([3, 7], [3, 7], 0.0), ([3, 8], [3, 7], INF)]
)
def test_indices_are_the_same_or_wrong_altogether(
    got: list[int], expected: list[int], difference: float
) -> None:
    arrays = (np.array(values, np.int32) for values in (got, expected))
    assert largest_relative_difference(*arrays) == difference
    assert largest_relative_difference(np.zeros(2, np.float32), np.zeros(2, np.int32)) == INF


def test_arrays_of_different_shapes_differ_without_bound() -> None:
    assert largest_relative_difference(np.zeros((2, 1)), np.zeros(2)) == INF


def test_shapes_give_symbols_and_symbols_give_shapes() -> None:
    spec, attributes = OPS["AKConvSample"], {"stride": 2, "taps": TAPS}
    shapes = [(2, 5, 7, 8), (2, 6, 4, 4)]
    assert spec.bind(shapes, attributes) == {"B": 2, "C": 5, "H": 7, "W": 8, "N": 3, "h": 4, "w": 4}
    assert spec.output_shapes(shapes, attributes) == [(2, 5, 3, 4, 4)]


@pytest.mark.parametrize(
    ("shapes", "attributes", "message"),
    [
        ([(1, 2, 4, 4)], {"taps": TAPS}, "expected 2 inputs, got 1"),
        ([(1, 2, 4), (1, 6, 4, 4)], {"taps": TAPS}, r"x: expected B x C x H x W, got 1 x 2 x 4"),
        ([(1, 2, 4, 4), (1, 5, 4, 4)], {"taps": TAPS}, r"offset: expected B x 2\*N x h x w, got 1 x 5"),
        ([(1, 2, 4, 4), (2, 6, 4, 4)], {"taps": TAPS}, r"offset: expected B x"),
        ([(1, 2, 4, 4), (1, 6, 4, 3)], {"taps": TAPS}, "expected width 4 for 4 pixels at stride 1, got 3"),
        ([(1, 2, 4, 4), (1, 6, 4, 4)], {"taps": TAPS[:4]}, "taps: expected 6 numbers"),
        ([(1, 2, 4, 4), (1, 6, 4, 4)], {}, "expected the attribute taps, it is missing"),
        ([(1, 2, 4, 4), (1, 6, 4, 4)], {"taps": TAPS, "stride": 0}, "stride: expected 1 to"),
        ([(1, 2, 4, 4), (1, 6, 4, 4)], {"taps": TAPS, "stride": "2"}, "stride: expected an integer, got '2'"),
        ([(1, 2, 4, 4), (1, 6, 4, 4)], {"taps": "001"}, "taps: expected integers, got '001'"),
        (
            [(1, 2, 4, 4), (1, 6, 4, 4)],
            {"taps": TAPS, "grid": "yx"},
            "grid: expected one of ij, xy, got 'yx'",
        ),
        (
            [(1, 2, 4, 4), (1, 6, 4, 4)],
            {"taps": TAPS, "pads": 1},
            "expected attributes among stride, grid, taps",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    shapes: list[tuple[int, ...]], attributes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        OPS["AKConvSample"].output_shapes(shapes, attributes)  # type: ignore[arg-type]


def test_an_integer_attribute_can_be_the_size_of_an_output() -> None:
    sampling, balls, sampled = OPS["FurthestPointSample"], OPS["BallQuery"], OPS["AKConvSample"]
    assert sizing_attributes(sampled) == []
    assert sizing_attributes(sampling) == ["count"]
    assert sampling.output_shapes([(2, 9, 3)], {"count": 40}) == [(2, 40)]
    assert balls.output_shapes([(2, 9, 3), (2, 5, 3)], {"radius": 1, "samples": 4}) == [(2, 5, 4)]


@pytest.mark.parametrize(("given", "kept"), [(1, 1.0), (0.2, float(np.float32(0.2))), (1e-50, 0.0)])
def test_a_number_is_kept_as_float32(given: float, kept: float) -> None:
    found = OPS["BallQuery"].complete({"radius": given, "samples": 1})
    assert found == {"radius": kept, "samples": 1, "min_radius": 0.0}


@pytest.mark.parametrize("value", ["1", True, NAN, INF, 1e39, (1.0,)])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"BallQuery: radius: expected a finite number, got"):
        OPS["BallQuery"].complete({"radius": value, "samples": 1})  # type: ignore[dict-item]


def test_a_dimension_is_a_symbol_or_a_multiple_of_one() -> None:
    assert split_dimension("2*N") == (2, "N")
    assert split_dimension("h") == (1, "h")
    with pytest.raises(ValueError, match=r"got 'N\+1'"):
        split_dimension("N+1")
