"""Recall by size and precision of detections, on frames small enough to count by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tercelet.evaluation.average_precision import JudgedFrame
from tercelet.evaluation.recall import FoundObjects, found_objects

Row = tuple[float, float, float, float]
TINY: Row = (0, 0, 10, 10)
SMALL: Row = (100, 0, 120, 20)
MEDIUM: Row = (200, 0, 250, 50)
LARGE: Row = (300, 0, 400, 100)


def frame_of(
    truth: Sequence[tuple[Row, int]],
    found: Sequence[tuple[Row, float, int]],
    *,
    ignore: Sequence[bool] | None = None,
) -> JudgedFrame:
    boxes = np.array([box for box, _ in truth], np.float64).reshape(-1, 4)
    return JudgedFrame(
        boxes=boxes,
        class_ids=np.array([class_id for _, class_id in truth], np.int64),
        ignore=np.zeros(len(boxes), bool) if ignore is None else np.array(ignore, bool),
        areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        found_boxes=np.array([box for box, _, _ in found], np.float64).reshape(-1, 4),
        found_class_ids=np.array([class_id for _, _, class_id in found], np.int64),
        scores=np.array([score for _, score, _ in found], np.float64),
    )


def test_where_nothing_is_and_nothing_was_found_there_is_no_recall_and_no_precision() -> None:
    for frames in ([], [frame_of([], [])]):
        result = found_objects(frames)
        assert result.recall() is None
        assert result.precision is None
        assert set(result.objects.values()) == set(result.found.values()) == {0}


def test_objects_are_counted_by_their_own_size_and_tiny_ones_are_small_too() -> None:
    truth = [(box, 0) for box in (TINY, SMALL, MEDIUM, LARGE)]
    found = [(TINY, 0.9, 0), (LARGE, 0.8, 0)]
    result = found_objects([frame_of(truth, found), frame_of(truth, [])])
    assert result.objects == {"all": 8, "tiny": 2, "small": 4, "medium": 2, "large": 2}
    assert result.found == {"all": 2, "tiny": 1, "small": 1, "medium": 0, "large": 1}
    assert [result.recall(size) for size in ("all", "tiny", "small", "medium")] == [0.25, 0.5, 0.25, 0]
    assert result.precision == 1


@pytest.mark.parametrize(
    ("found", "hits", "wrong"),
    [
        ([(SMALL, 0.9, 1)], 0, 1),  # another class
        ([(SMALL, 0.9, 0), (SMALL, 0.8, 0)], 1, 1),  # an object is found once
        ([((100, 0, 120, 10), 0.9, 0)], 1, 0),  # half of it: IoU 0.5
        ([((100, 0, 120, 9.9), 0.9, 0)], 0, 1),
    ],
)
def test_pairs_are_one_to_one_of_one_class_and_overlap_by_half(
    found: list[tuple[Row, float, int]], hits: int, wrong: int
) -> None:
    result = found_objects([frame_of([(SMALL, 0)], found)])
    assert (result.found["all"], result.wrong) == (hits, wrong)


def test_the_best_score_chooses_first_whatever_the_order() -> None:
    left, right = (0.0, 0.0, 30.0, 30.0), (6.0, 0.0, 36.0, 30.0)
    # The better one lies on the left object and takes it; the other could have had only that one.
    found = [((-8.0, 0.0, 22.0, 30.0), 0.5, 0), (left, 0.9, 0)]
    result = found_objects([frame_of([(left, 0), (right, 0)], found)])
    assert (result.found["all"], result.wrong) == (1, 1)


def test_what_lies_on_an_ignored_box_is_neither_right_nor_wrong() -> None:
    truth = [(SMALL, 0), ((200, 0, 300, 100), 0)]
    inside, half, outside = (210, 10, 220, 20), (290, 0, 310, 20), (291, 0, 311, 20)
    for box, class_id, wrong in ((inside, 0, 0), (half, 0, 0), (outside, 0, 1), (inside, 1, 1)):
        result = found_objects([frame_of(truth, [(box, 0.9, class_id)], ignore=[False, True])])
        assert (result.objects["all"], result.found["all"], result.wrong) == (1, 0, wrong)


def test_an_ignored_box_takes_no_detection_from_an_object_below_it() -> None:
    result = found_objects([frame_of([(SMALL, 0), (SMALL, 0)], [(SMALL, 0.9, 0)], ignore=[True, False])])
    assert (result.found["all"], result.wrong) == (1, 0)


def test_the_limit_is_for_each_class_of_a_frame() -> None:
    truth = [(SMALL, 0), (MEDIUM, 1)]
    found = [(LARGE, 0.9, 0), (SMALL, 0.8, 0), (MEDIUM, 0.1, 1)]
    assert found_objects([frame_of(truth, found)], limit=1) == FoundObjects(
        objects={"all": 2, "tiny": 0, "small": 1, "medium": 1, "large": 0},
        found={"all": 1, "tiny": 0, "small": 0, "medium": 1, "large": 0},
        wrong=1,
    )
    assert found_objects([frame_of(truth, found)], limit=2).found["all"] == 2
