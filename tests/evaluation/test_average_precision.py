"""Average precision: cases worked out by hand, and a second implementation on random data."""

from __future__ import annotations

import numpy as np
import pytest

from tercelet.contract.geometry import pairwise_iou
from tercelet.evaluation.average_precision import JudgedFrame, Precision, average_precision

# The evaluator adds an epsilon of 2e-16 to the denominator of precision.
EXACT = 1e-9
MEDIUM = (100.0, 100.0, 150.0, 150.0)


def _frame(
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


def _shift(box: tuple[float, ...], by: float) -> tuple[float, ...]:
    return (box[0] + by, box[1], box[2] + by, box[3])


def test_without_anything_every_figure_is_undefined() -> None:
    result = average_precision([_frame([], [])], classes=2)
    assert (result.ap, result.ap50, result.ap75, result.ap_small) == (None,) * 4
    assert set(result.recall.values()) == {None}
    assert result.per_class[0] == result.per_class[1]
    assert (result.per_class[0].ap, result.per_class[0].ground_truth) == (None, 0)


def test_without_detections_ap_is_zero_not_undefined() -> None:
    result = average_precision([_frame([(*MEDIUM, 0)], [])], classes=1)
    assert (result.ap, result.ap50, result.ap_medium, result.recall["ar100"]) == (0, 0, 0, 0)
    assert (result.ap_small, result.ap_large) == (None, None)


def test_detections_without_ground_truth_leave_ap_undefined() -> None:
    result = average_precision([_frame([], [(*MEDIUM, 0.9, 0)])], classes=1)
    assert result.ap is None
    assert result.per_class[0].detections == 1


def test_perfect_detections_have_ap_one() -> None:
    frames = [_frame([(*MEDIUM, 0), (0, 0, 10, 10, 1)], [(*MEDIUM, 0.9, 0), (0, 0, 10, 10, 0.3, 1)])]
    result = average_precision(frames, classes=2)
    assert result.ap == pytest.approx(1, abs=EXACT)
    assert result.ap_small == pytest.approx(1, abs=EXACT)
    assert result.ap_medium == pytest.approx(1, abs=EXACT)
    assert result.ap_large is None


# Recall points 0, 0.01, ... 1.00 up to the recall reached; precision there, made monotone.
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param([(*MEDIUM, 0.9, 0)], 51 / 101, id="one of two missed"),
        pytest.param(
            [(*MEDIUM, 0.9, 0), (500, 500, 550, 550, 0.8, 0), (300, 300, 350, 350, 0.7, 0)],
            (51 + 50 * 2 / 3) / 101,
            id="a false positive between two hits",
        ),
        pytest.param(
            [(500, 500, 550, 550, 0.95, 0), (*MEDIUM, 0.9, 0), (300, 300, 350, 350, 0.7, 0)],
            2 / 3,
            id="a false positive ahead of both hits",
        ),
        pytest.param(
            [(*MEDIUM, 0.9, 0), (300, 300, 350, 350, 0.7, 0), (500, 500, 550, 550, 0.1, 0)],
            1.0,
            id="a false positive behind both hits costs nothing",
        ),
        pytest.param(
            [(*MEDIUM, 0.9, 0), (*MEDIUM, 0.8, 0), (300, 300, 350, 350, 0.7, 0)],
            (51 + 50 * 2 / 3) / 101,
            id="a second detection of one object is a false positive",
        ),
    ],
)
def test_ap50_of_cases_worked_out_by_hand(found: list[tuple[float, ...]], expected: float) -> None:
    result = average_precision([_frame([(*MEDIUM, 0), (300, 300, 350, 350, 0)], found)], classes=1)
    assert result.ap50 == pytest.approx(expected, abs=EXACT)


def test_a_loose_box_counts_up_to_its_iou() -> None:
    # Shifted by 10 of 50 pixels: IoU 40/60 = 0.667, right at 0.50, 0.55, 0.60 and 0.65 of ten thresholds.
    result = average_precision([_frame([(*MEDIUM, 0)], [(*_shift(MEDIUM, 10), 0.9, 0)])], classes=1)
    assert result.ap == pytest.approx(0.4, abs=EXACT)
    assert result.ap50 == pytest.approx(1, abs=EXACT)
    assert result.ap75 == 0


def test_frames_without_ground_truth_count_against_the_detector() -> None:
    good = _frame([(*MEDIUM, 0)], [(*MEDIUM, 0.5, 0)])
    empty = _frame([], [(*MEDIUM, 0.9, 0)])
    assert average_precision([good, empty], classes=1).ap == pytest.approx(0.5, abs=EXACT)


def test_ignored_boxes_absorb_detections_inside_them_and_are_not_missed() -> None:
    crowd = (0.0, 0.0, 400.0, 400.0, 0.0)
    inside = [(10, 10, 40, 40, 0.95, 0), (60, 60, 90, 90, 0.94, 0)]
    frame = _frame([crowd, (500, 500, 550, 550, 0)], [*inside, (500, 500, 550, 550, 0.5, 0)], [True, False])
    result = average_precision([frame], classes=1)
    assert result.ap == pytest.approx(1, abs=EXACT)
    assert result.per_class[0].ground_truth == 1


def test_recall_is_limited_by_the_number_of_detections_and_ap_taken_at_the_last_limit() -> None:
    boxes = [
        (20.0 * (i % 40), 20.0 * (i // 40), 20.0 * (i % 40) + 15, 20.0 * (i // 40) + 15) for i in range(200)
    ]
    frame = _frame([(*b, 0) for b in boxes], [(*b, 0.9 - i / 1000, 0) for i, b in enumerate(boxes)])
    coco = average_precision([frame], classes=1)
    crowded = average_precision([frame], classes=1, max_dets=(1, 10, 100, 500))
    assert coco.recall["ar100"] == pytest.approx(0.5, abs=EXACT)
    assert coco.ap == pytest.approx(51 / 101, abs=EXACT)
    assert crowded.recall["ar1"] == pytest.approx(1 / 200, abs=EXACT)
    assert crowded.recall["ar500"] == pytest.approx(1, abs=EXACT)
    assert crowded.ap == pytest.approx(1, abs=EXACT)


def test_nothing_is_written_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    average_precision([_frame([(*MEDIUM, 0)], [(*MEDIUM, 0.9, 0)])], classes=1)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def _random_frames(seed: int, *, frames: int = 12, classes: int = 3) -> list[JudgedFrame]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(frames):
        count = int(rng.integers(0, 12))
        corner = rng.uniform(0, 500, (count, 2))
        boxes = np.concatenate((corner, corner + rng.uniform(8, 160, (count, 2))), 1)
        class_ids = rng.integers(0, classes, count)
        hits = rng.random(count) < 0.8
        noise = rng.normal(0, 4, (int(hits.sum()), 4))
        corner = rng.uniform(0, 500, (8, 2))
        clutter = np.concatenate((corner, corner + rng.uniform(8, 160, (8, 2))), 1)
        found = np.concatenate((boxes[hits] + noise, clutter))
        made.append(
            JudgedFrame(
                boxes=boxes,
                class_ids=class_ids,
                ignore=np.zeros(count, bool),
                areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
                found_boxes=found,
                found_class_ids=np.concatenate((class_ids[hits], rng.integers(0, classes, 8))),
                scores=rng.uniform(0.01, 1, len(found)),
            )
        )
    return made


def _reference_ap(frames: list[JudgedFrame], class_id: int, threshold: float) -> float:
    """AP of one class at one IoU, written down from the definition: no ignored boxes, no limit."""
    total = sum(int((f.class_ids == class_id).sum()) for f in frames)
    events: list[tuple[float, bool]] = []
    for frame in frames:
        truth = frame.boxes[frame.class_ids == class_id]
        chosen = frame.found_class_ids == class_id
        order = np.argsort(-frame.scores[chosen], kind="stable")
        boxes, scores = frame.found_boxes[chosen][order], frame.scores[chosen][order]
        overlap, free = pairwise_iou(boxes, truth), np.ones(len(truth), bool)
        for row, score in enumerate(scores):
            candidates = np.flatnonzero(free & (overlap[row] >= threshold))
            if len(candidates):
                free[candidates[overlap[row, candidates].argmax()]] = False
            events.append((float(score), bool(len(candidates))))
    events.sort(key=lambda event: -event[0])
    right = np.cumsum([event[1] for event in events])
    recall, precision = right / total, right / np.arange(1, len(events) + 1)
    return float(np.mean([precision[recall >= point].max(initial=0) for point in np.linspace(0, 1, 101)]))


@pytest.mark.parametrize("seed", range(4))
def test_random_detections_get_the_ap_of_the_definition(seed: int) -> None:
    frames = _random_frames(seed)
    result: Precision = average_precision(frames, classes=3)
    thresholds = np.linspace(0.5, 0.95, 10)
    expected = np.array([[_reference_ap(frames, c, t) for t in thresholds] for c in range(3)])
    assert result.ap == pytest.approx(expected.mean(), abs=1e-7)
    assert result.ap50 == pytest.approx(expected[:, 0].mean(), abs=1e-7)
    assert result.ap75 == pytest.approx(expected[:, 5].mean(), abs=1e-7)
    for class_id in range(3):
        assert result.per_class[class_id].ap == pytest.approx(expected[class_id].mean(), abs=1e-7)
