"""Curves of precision and recall: cases worked out by hand, and the COCO evaluator on random data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tercelet.evaluation.average_precision import JudgedFrame, average_precision
from tercelet.evaluation.precision_recall import BestScore, Curve, precision_recall

# Both integrate the same 101 points; the evaluator adds 2e-16 to a denominator.
SAME_AREA = 1e-6
A, B, C = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0), (100.0, 100.0, 110.0, 110.0)
NOWHERE = (300.0, 300.0, 310.0, 310.0)


def make_frame(
    truth: list[tuple[float, ...]], found: list[tuple[float, ...]], ignore: list[bool] | None = None
) -> JudgedFrame:
    """truth rows: x1 y1 x2 y2 class; found rows: x1 y1 x2 y2 score class."""
    gt, dt = np.array(truth, float).reshape(-1, 5), np.array(found, float).reshape(-1, 6)
    return JudgedFrame(
        boxes=gt[:, :4],
        class_ids=gt[:, 4].astype(np.int64),
        ignore=np.array(ignore if ignore is not None else [False] * len(gt), bool),
        areas=(gt[:, 2] - gt[:, 0]) * (gt[:, 3] - gt[:, 1]),
        found_boxes=dt[:, :4],
        found_class_ids=dt[:, 5].astype(np.int64),
        scores=dt[:, 4],
    )


def random_frames(seed: int, *, classes: int = 3, ties: bool = False) -> list[JudgedFrame]:
    """Crowded frames with near misses, wrong classes, clutter, doubles and a fifth of ignored boxes."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(25):
        count = int(rng.integers(0, 25))
        corner, size = rng.uniform(0, 250, (count, 2)), rng.uniform(12, 80, (count, 2))
        class_ids = rng.integers(0, classes, count)
        hit = rng.integers(0, count, int(rng.integers(0, 30))) if count else np.zeros(0, int)
        moved = rng.uniform(-0.25, 0.25, (len(hit), 2)) * size[hit]
        clutter = np.concatenate((rng.uniform(0, 250, (6, 2)), rng.uniform(12, 80, (6, 2))), axis=1)
        found = np.concatenate((np.concatenate((corner[hit] + moved, size[hit]), axis=1), clutter))
        is_other = rng.random(len(hit)) < 0.2
        scores = rng.uniform(0.01, 1, len(found))
        made.append(
            JudgedFrame(
                boxes=np.concatenate((corner, corner + size), axis=1),
                class_ids=class_ids,
                ignore=rng.random(count) < 0.2,
                areas=size.prod(axis=1),
                found_boxes=np.concatenate((found[:, :2], found[:, :2] + found[:, 2:]), axis=1),
                found_class_ids=np.concatenate(
                    (
                        np.where(is_other, (class_ids[hit] + 1) % classes, class_ids[hit]),
                        np.arange(6) % classes,
                    )
                ),
                scores=scores.round(1) if ties else scores,
            )
        )
    return made


@pytest.mark.parametrize("frames", [[], [make_frame([], [])]])
def test_without_anything_there_is_no_curve_and_no_score_to_recommend(frames: list[JudgedFrame]) -> None:
    curves = precision_recall(frames, classes=2)
    for curve in (*curves.per_class, curves.overall):
        assert (curve.ap, curve.best(), len(curve.scores)) == (None, None, 0)
    assert not curves.mean_curve().any()


def test_without_detections_the_curve_is_zero_and_no_score_is_best() -> None:
    curves = precision_recall([make_frame([(*A, 0)], [])], classes=1)
    assert curves.overall.ap == 0
    assert curves.overall.best() is None


def test_without_a_right_detection_no_score_is_best() -> None:
    curves = precision_recall([make_frame([(*A, 0)], [(*NOWHERE, 0.9, 0)])], classes=1)
    assert curves.overall.precision.tolist() == [0]
    assert curves.overall.best() is None


def test_a_curve_worked_out_by_hand() -> None:
    found = [(*A, 0.9, 0), (*NOWHERE, 0.8, 0), (*B, 0.6, 0), (*NOWHERE, 0.2, 0)]
    (curve,) = precision_recall([make_frame([(*A, 0), (*B, 0)], found)], classes=1).per_class
    assert curve.scores.tolist() == [0.9, 0.8, 0.6, 0.2]
    assert curve.recall.tolist() == [0.5, 0.5, 1, 1]
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert curve.interpolated()[[0, 50, 51, 100]].tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert curve.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    # F1 0.667, 0.5, 0.8, 0.667: between the detections of 0.6 and 0.2.
    assert curve.best() == BestScore(score=0.4, f1=pytest.approx(0.8), precision=2 / 3, recall=1)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("limit", [5, 100])
@pytest.mark.parametrize("seed", range(4))
def test_the_area_under_a_curve_is_the_ap50_of_the_evaluator(seed: int, limit: int, ties: bool) -> None:
    frames = random_frames(seed, ties=ties)
    expected = average_precision(frames, classes=3, max_dets=(1, 2, limit))
    curves = precision_recall(frames, classes=3, max_detections=limit)
    assert curves.mean_curve().mean() == pytest.approx(expected.ap50, abs=SAME_AREA)
    for curve, judged in zip(curves.per_class, expected.per_class, strict=True):
        assert judged.ap50 is not None
        assert 0.02 < judged.ap50 < 0.98
        assert curve.ap == pytest.approx(judged.ap50, abs=SAME_AREA)
        assert curve.ground_truth == judged.ground_truth


def test_ignored_boxes_absorb_detections_of_their_class_alone() -> None:
    crowd = (200.0, 200.0, 400.0, 400.0, 0.0)
    found = [(*NOWHERE, 0.9, 0), (*NOWHERE, 0.8, 1), (*A, 0.5, 0)]
    curves = precision_recall([make_frame([crowd, (*A, 0)], found, [True, False])], classes=2)
    assert curves.per_class[0].scores.tolist() == [0.5]
    assert curves.per_class[1].scores.tolist() == [0.8]
    assert curves.overall.ground_truth == 1
    assert curves.overall.precision.tolist() == [0, 0.5]


@pytest.mark.parametrize("ties", [False, True])
def test_the_best_score_keeps_what_reaches_its_f1_and_no_other_reaches_more(ties: bool) -> None:
    frames = random_frames(7, ties=ties)
    curve = precision_recall(frames, classes=3).overall
    best = curve.best()
    assert best is not None

    def f1_above(score: float) -> float:
        kept = np.count_nonzero(curve.scores > score)
        hits = curve.precision[kept - 1] * kept if kept else 0.0
        return float(2 * hits / (kept + curve.ground_truth))

    assert f1_above(best.score) == pytest.approx(best.f1)
    assert best.f1 == pytest.approx(max(f1_above(score) for score in [*curve.scores, 0.0]))


def test_scores_that_are_equal_are_kept_or_left_out_together() -> None:
    found = [(*A, 0.9, 0), (*B, 0.5, 0), (*NOWHERE, 0.5, 0), (*C, 0.5, 0)]
    best = precision_recall([make_frame([(*A, 0), (*B, 0), (*C, 0)], found)], classes=1).overall.best()
    assert best is not None
    assert (best.precision, best.recall) == (0.75, 1)


def test_a_runtime_that_compares_in_float32_keeps_the_worst_detection_that_was_meant() -> None:
    scores = np.float32([0.7, np.nextafter(np.float32(0.3), np.float32(1)), 0.3])
    for count in (1, 2, 3):
        right = np.arange(3) < count
        curve = Curve(
            scores=scores.astype(np.float64),
            precision=np.cumsum(right) / np.arange(1, 4),
            recall=np.cumsum(right) / count,
            ground_truth=count,
        )
        best = curve.best()
        assert best is not None
        assert np.count_nonzero(scores > np.float32(best.score)) == count


def test_one_score_for_all_classes_counts_the_detections_of_classes_without_objects_as_wrong() -> None:
    frames = [make_frame([(*A, 0)], [(*A, 0.6, 0), (*B, 0.9, 1)])]
    curves = precision_recall(frames, classes=2)
    assert curves.per_class[1].best() is None
    assert curves.overall.precision.tolist() == [0, 0.5]
    assert curves.mean_curve().mean() == pytest.approx(1)


def test_the_record_is_json_with_a_curve_for_each_class_that_has_objects() -> None:
    curves = precision_recall([make_frame([(*A, 0)], [(*A, 0.6, 0)])], classes=2)
    record = json.loads(json.dumps(curves.record(["car", "bus"])))
    assert record["recall"][:3] == [0, 0.01, 0.02]
    assert record["per_class"]["car"]["precision"] == [1] * 101
    assert record["per_class"]["car"]["best_f1"]["f1"] == 1
    assert record["per_class"]["bus"] == {"ap": None, "ground_truth": 0, "best_f1": None, "precision": None}
    assert record["all"]["best_f1"] == record["per_class"]["car"]["best_f1"]
