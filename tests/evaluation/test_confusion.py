"""The confusion matrix: who is taken for whom, missed, or seen where nothing is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.evaluation.average_precision import JudgedFrame
from tercelet.evaluation.confusion import ConfusionMatrix, confusion_matrix

NAMES = ("car", "bus")
CAR, BUS, NONE = 0, 1, 2
A, B = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
NEAR_A = (0.0, 0.0, 10.0, 8.0)  # IoU 0.8 with A
CROWD = (0.0, 0.0, 40.0, 40.0)


def matrix(
    truth: list[tuple[float, ...]],
    found: list[tuple[float, ...]],
    *,
    ignored: list[tuple[float, ...]] | None = None,
    score: float = 0.25,
    iou: float = 0.5,
) -> ConfusionMatrix:
    """truth and ignored rows: x1 y1 x2 y2 class; found rows: x1 y1 x2 y2 score class."""
    gt = np.array([*truth, *(ignored or [])], float).reshape(-1, 5)
    dt = np.array(found, float).reshape(-1, 6)
    frame = JudgedFrame(
        boxes=gt[:, :4],
        class_ids=gt[:, 4].astype(np.int64),
        ignore=np.arange(len(gt)) >= len(truth),
        areas=(gt[:, 2] - gt[:, 0]) * (gt[:, 3] - gt[:, 1]),
        found_boxes=dt[:, :4],
        found_class_ids=dt[:, 5].astype(np.int64),
        scores=dt[:, 4],
    )
    return confusion_matrix([frame], classes=NAMES, score=score, iou=iou)


def test_without_frames_or_boxes_every_count_and_share_is_zero() -> None:
    for made in (confusion_matrix([], classes=NAMES), matrix([], [])):
        assert made.counts.shape == (3, 3)
        assert not made.counts.any()
        assert not made.shares().any()


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        pytest.param([(*A, CAR)], [(*A, 0.9, CAR)], {(CAR, CAR): 1}, id="right"),
        pytest.param([(*A, CAR)], [(*A, 0.9, BUS)], {(CAR, BUS): 1}, id="taken for another"),
        pytest.param([(*A, CAR)], [], {(CAR, NONE): 1}, id="missed"),
        pytest.param([], [(*A, 0.9, BUS)], {(NONE, BUS): 1}, id="nothing there"),
        pytest.param([(*A, CAR)], [(*A, 0.25, CAR)], {(CAR, NONE): 1}, id="not above the score"),
        pytest.param(
            [(*A, CAR)], [(*B, 0.9, CAR)], {(CAR, NONE): 1, (NONE, CAR): 1}, id="right class, wrong place"
        ),
        pytest.param(
            [(*A, CAR)],
            [(*NEAR_A, 0.9, CAR), (*A, 0.8, CAR)],
            {(CAR, CAR): 1, (NONE, CAR): 1},
            id="an object is found once",
        ),
        pytest.param(
            [(*A, CAR)],
            [(*NEAR_A, 0.9, BUS), (*A, 0.8, CAR)],
            {(CAR, BUS): 1, (NONE, CAR): 1},
            id="the better score chooses first",
        ),
        pytest.param(
            [(*NEAR_A, BUS), (*A, CAR)],
            [(*A, 0.9, BUS), (*NEAR_A, 0.8, CAR)],
            {(CAR, BUS): 1, (BUS, CAR): 1},
            id="the higher IoU is taken, whatever the class",
        ),
        pytest.param(
            [(*A, BUS), (*A, CAR)], [(*A, 0.9, BUS)], {(BUS, BUS): 1, (CAR, NONE): 1}, id="equal IoU, first"
        ),
        pytest.param(
            [(*A, CAR), (*A, BUS)], [(*A, 0.9, CAR)], {(CAR, CAR): 1, (BUS, NONE): 1}, id="equal IoU, last"
        ),
    ],
)
def test_every_object_and_every_detection_of_nothing_is_counted_once(
    truth: list[tuple[float, ...]],
    found: list[tuple[float, ...]],
    expected: dict[tuple[int, int], int],
) -> None:
    counts = matrix(truth, found).counts
    assert {
        (int(row), int(column)): int(counts[row, column]) for row, column in np.argwhere(counts)
    } == expected


def test_ignored_boxes_absorb_what_no_object_takes() -> None:
    found = [(5.0, 5.0, 15.0, 15.0, 0.9, CAR), (20.0, 20.0, 30.0, 30.0, 0.9, BUS), (*A, 0.5, CAR)]
    counts = matrix([(*A, CAR)], found, ignored=[(*CROWD, CAR)]).counts
    assert counts[CAR, CAR] == 1
    assert counts.sum() == 1


@pytest.mark.parametrize(("iou", "right"), [(0.8, 1), (0.81, 0)])
def test_the_iou_decides_what_a_match_is(iou: float, right: int) -> None:
    assert matrix([(*A, CAR)], [(*NEAR_A, 0.9, CAR)], iou=iou).counts[CAR, CAR] == right


def test_boxes_that_do_not_touch_never_match() -> None:
    assert matrix([(*A, CAR)], [(*B, 0.9, CAR)], iou=0.0).counts[CAR, CAR] == 0


def test_rows_sum_to_the_objects_and_shares_to_one() -> None:
    made = matrix([(*A, CAR), (*B, CAR)], [(*A, 0.9, CAR), (*B, 0.9, BUS), (20, 0, 30, 10, 0.9, BUS)])
    assert made.counts.sum(axis=1).tolist() == [2, 0, 1]
    assert made.shares().tolist() == [[0.5, 0.5, 0], [0, 0, 0], [0, 1, 0]]


def test_the_record_is_json_and_says_what_rows_and_columns_are() -> None:
    record = json.loads(json.dumps(matrix([(*A, CAR)], [(*A, 0.9, BUS)]).record()))
    assert record["names"] == ["car", "bus", "background"]
    assert record["counts"] == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert (record["score"], record["iou"]) == (0.25, 0.5)
    assert (record["rows"], record["columns"]) == ("ground truth", "found as")


@pytest.mark.parametrize("options", [{"score": -0.1}, {"score": 1.5}, {"iou": 2.0}])
def test_a_score_or_an_iou_outside_of_zero_to_one_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"(score|iou): expected 0 to 1, got"):
        confusion_matrix([], classes=NAMES, **options)
