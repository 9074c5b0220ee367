"""Non-maximum suppression: upstream's results, ties and odd boxes defined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference_cases import load_case, tolerance_of

from tercelet.contract.geometry import pairwise_iou, xyxy_from_cxcywh
from tercelet.runtime import non_maximum_suppression


def suppress(boxes: object, scores: object, ids: object, **options: object) -> list[int]:
    settings = {"score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 100, **options}
    return non_maximum_suppression(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32),
        np.asarray(ids, np.int64),
        **settings,
    ).tolist()


def test_nothing_in_nothing_out() -> None:
    assert suppress([], [], []) == []


ONE = [0, 0, 10, 10]
NEAR = [1, 0, 11, 10]
FAR = [50, 50, 60, 60]


@pytest.mark.parametrize(
    ("boxes", "scores", "ids", "options", "kept"),
    [
        ([ONE, NEAR, FAR], [0.9, 0.8, 0.7], [0, 0, 0], {}, [0, 2]),
        ([ONE, NEAR, FAR], [0.7, 0.8, 0.9], [0, 0, 0], {}, [2, 1]),
        ([ONE, NEAR], [0.9, 0.8], [0, 1], {}, [0, 1]),
        ([ONE, NEAR], [0.9, 0.8], [0, 1], {"class_agnostic": True}, [0]),
        ([ONE, ONE, ONE], [0.5, 0.5, 0.5], [0, 0, 0], {}, [0]),
        ([NEAR, ONE], [0.5, 0.5], [0, 0], {}, [0]),
        ([ONE, FAR], [0.1, 0.2], [0, 0], {}, [1]),  # a score equal to the threshold does not count
        (
            [ONE, [0, 0, 10, 5]],
            [0.9, 0.8],
            [0, 0],
            {"iou_threshold": 0.5},
            [0, 1],
        ),  # nor does an equal IoU suppress
        ([ONE, FAR, NEAR], [0.9, 0.8, 0.7], [0, 0, 0], {"max_detections": 1}, [0]),
        ([[np.nan, 0, 1, 1], [0, 0, np.inf, 1], ONE], [0.9, 0.9, 0.8], [0, 0, 0], {}, [2]),
        ([ONE, FAR], [np.nan, 0.5], [0, 0], {}, [1]),
        ([[5, 5, 5, 5], [5, 5, 5, 5]], [0.9, 0.8], [0, 0], {}, [0, 1]),
        ([ONE, NEAR], [0.9, 0.8], [0, 0], {"iou_threshold": 1.0}, [0, 1]),
    ],
)
def test_known_cases(
    boxes: object, scores: object, ids: object, options: dict[str, object], kept: list[int]
) -> None:
    assert suppress(boxes, scores, ids, **options) == kept


def test_it_equals_a_plain_quadratic_version_on_crowded_boxes() -> None:
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 600, (30, 2)).repeat(20, 0) + rng.normal(0, 4, (600, 2))
    boxes = np.concatenate([centres, centres + rng.uniform(20, 40, (600, 2))], 1).astype(np.float32)
    scores, ids = rng.random(600).astype(np.float32), rng.integers(0, 3, 600)
    iou = pairwise_iou(boxes.astype(np.float64), boxes.astype(np.float64))
    expected: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > 0.1 and all(iou[i, j] <= 0.5 or ids[i] != ids[j] for j in expected):
            expected.append(int(i))
    assert suppress(boxes, scores, ids, max_detections=1000) == expected


@pytest.mark.parametrize("name", ["nms_basic", "nms_multilabel"])
def test_the_reference_detections_come_out(shared: Path, name: str) -> None:
    case, _, inputs, expected = load_case(shared, name)
    for image, prediction in enumerate(inputs["pred"]):
        boxes = xyxy_from_cxcywh(prediction[:4].T)
        classes = prediction[4:].T
        if case["multi_label"]:
            anchor, ids = np.nonzero(classes > case["conf"])
        else:
            anchor, ids = np.arange(len(classes)), classes.argmax(1)
        scores = classes[anchor, ids]
        kept = non_maximum_suppression(
            boxes[anchor],
            scores,
            ids,
            score_threshold=case["conf"],
            iou_threshold=case["iou"],
            max_detections=case["max_det"],
            class_agnostic=case["agnostic"],
        )
        wanted = expected[f"det{image}"]
        got = np.concatenate([boxes[anchor][kept], scores[kept, None], ids[kept, None]], 1)
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance_of(case, f"det{image}", wanted))
