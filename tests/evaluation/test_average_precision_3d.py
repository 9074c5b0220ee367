"""AP of 3D boxes: upstream's numbers, and what upstream leaves undefined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference_cases import load_case

from tercelet.contract.errors import InputError
from tercelet.evaluation.average_precision_3d import (
    JudgedFrame3d,
    area_under_envelope,
    average_precision_3d,
)

FLOAT32 = 1e-6  # upstream accumulates in float32

CUBE = [0, 0, 0, 2, 2, 2, 0]
SHIFTED = [0.5, 0, 0, 2, 2, 2, 0]  # IoU 0.6 with CUBE
FAR = [9, 0, 0, 2, 2, 2, 0]


def frame(
    truth: list[Any], ids: list[int], found: list[Any], found_ids: list[int], scores: list[float]
) -> JudgedFrame3d:
    return JudgedFrame3d(
        boxes=np.array(truth, float).reshape(-1, 7),
        class_ids=np.array(ids, np.int64),
        found_boxes=np.array(found, float).reshape(-1, 7),
        found_class_ids=np.array(found_ids, np.int64),
        scores=np.array(scores, float),
    )


def test_nothing_is_undefined_and_not_nan() -> None:
    for frames in ([], [frame([], [], [], [], [])], [frame([], [], [CUBE], [0], [0.9])]):
        for result in average_precision_3d(frames, classes=2):
            assert result.ap is None
            assert result.recall is None
            assert [entry.ap for entry in result.per_class] == [None, None]


@pytest.mark.parametrize(
    ("frames", "ap", "recall"),
    [
        ([frame([CUBE], [0], [], [], [])], 0.0, 0.0),
        ([frame([CUBE], [0], [CUBE], [0], [0.9])], 1.0, 1.0),
        ([frame([CUBE], [0], [CUBE], [1], [0.9])], 0.0, 0.0),  # of another class
        ([frame([CUBE], [0], [FAR, CUBE], [0, 0], [0.9, 0.8])], 0.5, 1.0),
        ([frame([CUBE], [0], [CUBE, FAR], [0, 0], [0.9, 0.8])], 1.0, 1.0),
        ([frame([CUBE], [0], [CUBE, CUBE], [0, 0], [0.9, 0.8])], 1.0, 1.0),  # found twice: once right
        ([frame([CUBE, FAR], [0, 0], [CUBE, CUBE, FAR], [0] * 3, [0.9, 0.8, 0.7])], 0.5 + 0.5 * 2 / 3, 1.0),
        # the second one's best object is taken; it does not try SHIFTED, though that is near enough
        ([frame([CUBE, SHIFTED], [0, 0], [CUBE, CUBE], [0, 0], [0.9, 0.8])], 0.5, 0.5),
        # a frame without objects adds a wrong detection in front
        ([frame([CUBE], [0], [CUBE], [0], [0.5]), frame([], [], [CUBE], [0], [0.9])], 0.5, 1.0),
        # objects of one frame are not found in another
        ([frame([CUBE], [0], [], [], []), frame([FAR], [0], [CUBE], [0], [0.9])], 0.0, 0.0),
        # of equal scores the earlier goes first
        ([frame([CUBE], [0], [FAR, CUBE], [0, 0], [0.9, 0.9])], 0.5, 1.0),
    ],
)
def test_ap_and_recall_of_small_cases(frames: list[JudgedFrame3d], ap: float, recall: float) -> None:
    (result,) = average_precision_3d(frames, classes=2, ious=(0.25,))
    assert result.ap == pytest.approx(ap)
    assert result.recall == pytest.approx(recall)


@pytest.mark.parametrize(("iou", "ap"), [(0.5, 1.0), (0.6, 0.0), (0.7, 0.0)])
def test_an_iou_at_the_threshold_is_not_above_it(iou: float, ap: float) -> None:
    # 1.5 of 2 shared along x: IoU 1.5 / 2.5
    shifted = average_precision_3d([frame([CUBE], [0], [SHIFTED], [0], [0.9])], classes=1, ious=(iou,))
    assert shifted[0].ap == ap


def test_a_class_without_objects_does_not_count_in_the_mean() -> None:
    frames = [frame([CUBE], [0], [CUBE, FAR], [0, 1], [0.9, 0.8])]
    (result,) = average_precision_3d(frames, classes=3, ious=(0.25,))
    assert result.ap == 1.0
    assert result.per_class[1].ap is None
    assert (result.per_class[1].ground_truth, result.per_class[1].detections) == (0, 1)
    record = result.record(("a", "b", "c"))
    assert record["per_class"]["a"] == {"ap": 1.0, "recall": 1.0, "ground_truth": 1, "detections": 1}
    assert record["per_class"]["b"]["ap"] is None


def test_the_envelope_fills_dents() -> None:
    recall, precision = np.array([0.25, 0.25, 0.5, 0.75]), np.array([1.0, 0.5, 2 / 3, 0.75])
    assert area_under_envelope(recall, precision) == pytest.approx(0.25 + 0.25 * 0.75 + 0.25 * 0.75)
    assert area_under_envelope(np.zeros(0), np.zeros(0)) == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"boxes": np.zeros((1, 6))}, r"expected boxes \(N, 7\)"),
        ({"scores": np.zeros(3)}, r"got .*\(3,\)"),
        ({"found_boxes": np.full((2, 7), np.nan)}, "found_boxes: expected finite"),
        ({"scores": np.array([np.inf, 0.0])}, "scores: expected finite"),
    ],
)
def test_frames_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    whole = {
        "boxes": np.zeros((1, 7)),
        "class_ids": np.zeros(1, np.int64),
        "found_boxes": np.zeros((2, 7)),
        "found_class_ids": np.zeros(2, np.int64),
        "scores": np.zeros(2),
    }
    with pytest.raises(InputError, match=message):
        JudgedFrame3d(**{**whole, **values})


@pytest.mark.parametrize("number", [-1, 2])
def test_a_class_that_there_is_not_is_refused(number: int) -> None:
    with pytest.raises(InputError, match=r"frame 0: found_class_ids: expected 0 to 1"):
        average_precision_3d([frame([CUBE], [0], [CUBE], [number], [0.5])], classes=2)


def test_ap_and_recall_are_upstreams(shared: Path) -> None:
    case, _, inputs, _ = load_case(shared, "imv_eval3d")
    labels = case["classes"]
    frames = [
        JudgedFrame3d(
            boxes=inputs[f"gt{i}.boxes"],
            class_ids=inputs[f"gt{i}.labels"],
            found_boxes=inputs[f"dt{i}.boxes"],
            found_class_ids=inputs[f"dt{i}.labels"],
            scores=inputs[f"dt{i}.scores"],
        )
        for i in range(4)
    ]
    expected = case["metrics_mmdet3d"]
    for result in average_precision_3d(frames, classes=len(labels)):
        known = []
        for name, entry in zip(labels, result.per_class, strict=True):
            if f"{name}_AP_{result.iou:.2f}" not in expected:
                assert entry.ground_truth == entry.detections == 0
                continue
            for key, value in (("AP", entry.ap), ("rec", entry.recall)):
                wanted = expected[f"{name}_{key}_{result.iou:.2f}"]
                assert value == (None if wanted is None else pytest.approx(wanted, abs=FLOAT32))
            if entry.ap is not None:
                known.append(entry.ap)
                own = case["metrics_facebook_ap"][str(result.iou)][str(labels.index(name))]
                assert entry.ap == pytest.approx(own, abs=FLOAT32)
        assert len(known) == 5
        assert result.ap == pytest.approx(np.mean(known))  # upstream's own mean is NaN here
