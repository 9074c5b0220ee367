"""Matching two sets of detections one to one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tercelet.contract.detections import Detections
from tercelet.evaluation.matching import match_detections

Make = Callable[..., Detections]


def test_nothing_matches_nothing(make_detections: Make) -> None:
    matches = match_detections(make_detections([]), make_detections([]))
    assert matches.pairs.shape == (0, 2)
    assert (len(matches.iou), len(matches.only_a), len(matches.only_b)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("a", "b", "pairs", "only_a", "only_b"),
    [
        pytest.param([(0, 0, 9, 9, 0.9, 0)], [], [], [0], [], id="one side is empty"),
        pytest.param([(0, 0, 9, 9, 0.9, 0)], [(0, 0, 9, 9, 0.8, 1)], [], [0], [0], id="classes differ"),
        pytest.param([(0, 0, 9, 9, 0.9, 0)], [(5, 5, 14, 14, 0.8, 0)], [], [0], [0], id="too little overlap"),
        pytest.param(
            [(0, 0, 10, 10, 0.9, 0), (2, 0, 12, 10, 0.8, 0)],
            [(1, 0, 11, 10, 0.7, 0)],
            [(0, 0)],
            [1],
            [],
            id="the better score chooses first",
        ),
        pytest.param(
            [(0, 0, 10, 10, 0.5, 0), (0, 0, 10, 10, 0.5, 0)],
            [(0, 0, 10, 10, 0.5, 0), (0, 0, 10, 10, 0.5, 0)],
            [(0, 0), (1, 1)],
            [],
            [],
            id="ties go in order",
        ),
        pytest.param(
            [(0, 0, 10, 10, 0.5, 0)],
            [(0, 0, 10, 9, 0.9, 0), (0, 0, 10, 10, 0.2, 0)],
            [(0, 1)],
            [],
            [0],
            id="the highest overlap is taken, whatever its score",
        ),
    ],
)
def test_matches_are_those_of_the_rule(
    make_detections: Make, a: list, b: list, pairs: list, only_a: list, only_b: list
) -> None:
    matches = match_detections(make_detections(a), make_detections(b))
    assert [tuple(pair) for pair in matches.pairs] == pairs
    assert matches.only_a.tolist() == only_a
    assert matches.only_b.tolist() == only_b


def test_the_overlap_of_each_pair_is_returned(make_detections: Make) -> None:
    a = make_detections([(0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 1)])
    b = make_detections([(50, 50, 60, 58, 0.9, 1), (0, 0, 10, 10, 0.8, 0)])
    matches = match_detections(a, b)
    assert matches.pairs.tolist() == [[0, 1], [1, 0]]
    assert matches.iou == pytest.approx([1.0, 0.8])


def test_the_least_overlap_can_be_chosen(make_detections: Make) -> None:
    a, b = make_detections([(0, 0, 10, 10, 0.9, 0)]), make_detections([(0, 0, 10, 8, 0.9, 0)])
    assert len(match_detections(a, b, iou=0.8).pairs) == 1
    assert len(match_detections(a, b, iou=0.81).pairs) == 0
