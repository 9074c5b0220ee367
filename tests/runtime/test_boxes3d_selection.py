"""Selection of 3D boxes: upstream's results, real detections, ties and odd boxes defined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference_cases import load_case

from tercelet.contract import box3d
from tercelet.contract.errors import InputError
from tercelet.runtime.boxes3d_selection import SelectedBoxes, iou_of_bounds, select_boxes, suppress_boxes

REFERENCE_M = 1e-5  # the raw scores are float32, the reference was decoded in float64
REFERENCE_SCORE = 1e-6
FIXTURE_SCORE = 1e-6  # float32 products of float32 softmax
UPSTREAM_M = 1e-5  # centre to bottom and back in float32

CUBE = [0, 0, 0, 2, 2, 2, 0]
NEAR = [0.2, 0, 0, 2, 2, 2, 0]
FAR = [9, 0, 0, 2, 2, 2, 0]
FLAT = [0, 0, 0, 2, 2, 0, 0]


def select(
    boxes: object, objectness: object, class_scores: object, points: object, **options: Any
) -> SelectedBoxes:
    return select_boxes(
        np.asarray(boxes, np.float32).reshape(-1, 7),
        np.asarray(objectness, np.float32),
        np.asarray(class_scores, np.float32).reshape(-1, 2),
        np.asarray(points, np.float32).reshape(-1, 3),
        **options,
    )


def points_at(*centres: list[float], each: int = 6) -> np.ndarray:
    return np.repeat(np.array(centres, np.float32), each, axis=0)


def test_nothing_in_nothing_out() -> None:
    for per_class in (False, True):
        got = select([], [], [], [], per_class=per_class)
        assert len(got) == 0
        assert got.boxes.shape == (0, 7)
    assert len(select([CUBE], [0.9], [[1, 0]], [])) == 0  # no points, so none inside
    assert suppress_boxes(np.zeros((0, 7)), np.zeros(0), np.zeros(0, int), iou_threshold=0.5).shape == (0,)


@pytest.mark.parametrize(
    ("boxes", "objectness", "class_scores", "kept"),
    [
        ([CUBE, NEAR, FAR], [0.7, 0.9, 0.8], [[1, 0]] * 3, [1, 2]),
        ([CUBE, NEAR], [0.7, 0.9], [[1, 0], [0, 1]], [1, 0]),  # of another class: both stay
        ([CUBE, NEAR], [0.9, 0.9], [[1, 0]] * 2, [0]),  # of equal ones the first
        ([CUBE, FAR], [0.05, 0.06], [[1, 0]] * 2, [1]),  # at the threshold is not above it
        ([CUBE, FAR], [0.9, 0.8], [[0.6, 0.4], [0.9, 0.1]], [1, 0]),  # best score, not objectness, first
        ([CUBE, [np.nan] * 7], [0.9, 0.95], [[1, 0]] * 2, [0]),
        ([CUBE, FAR], [0.9, np.nan], [[1, 0]] * 2, [0]),
        ([CUBE, FAR], [0.9, 0.9], [[1, 0], [np.nan, 1]], [0]),
        # driven out by one that the threshold then drops: nothing is left, as upstream has it
        ([CUBE, NEAR], [0.04, 0.03], [[1, 0]] * 2, []),
    ],
)
def test_which_proposals_stay(
    boxes: list[list[float]], objectness: list[float], class_scores: list[list[float]], kept: list[int]
) -> None:
    points = points_at([0, 0, 0], [9, 0, 0])
    assert select(boxes, objectness, class_scores, points).proposals.tolist() == kept


@pytest.mark.parametrize(("inside", "kept"), [(5, 0), (6, 1)])
def test_a_box_needs_more_points_than_the_limit(inside: int, kept: int) -> None:
    assert len(select([CUBE], [0.9], [[1, 0]], points_at([0, 0, 0], each=inside))) == kept
    got = select([CUBE], [0.9], [[1, 0]], points_at([0, 0, 0], each=inside), least_points=inside - 1)
    assert len(got) == 1


def test_an_empty_box_does_not_drive_out_a_filled_one() -> None:
    points = points_at([-0.95, 0, 0])  # in CUBE only
    assert select([NEAR, CUBE], [0.9, 0.5], [[1, 0]] * 2, points).proposals.tolist() == [1]


def test_each_class_gets_every_kept_proposal_class_by_class() -> None:
    points = points_at([0, 0, 0], [9, 0, 0])
    got = select([FAR, CUBE], [0.5, 1.0], [[0.75, 0.25], [0.5, 0.5]], points, per_class=True)
    assert got.class_ids.tolist() == [0, 0, 1, 1]
    assert got.proposals.tolist() == [0, 1, 0, 1]
    assert got.scores.tolist() == [0.375, 0.5, 0.125, 0.5]


def test_two_boxes_without_volume_have_no_overlap_and_the_later_goes() -> None:
    overlap = iou_of_bounds(box3d.bounds_of_boxes(np.array([CUBE, FLAT, FLAT], float)))
    assert overlap[0].tolist() == [1, 0, 0]
    assert np.isnan(overlap[1:, 1:]).all()
    for ids in ([0, 0], [0, 1]):
        kept = suppress_boxes(
            np.array([FLAT, FLAT], float), np.array([0.1, 0.2]), np.array(ids), iou_threshold=0.25
        )
        assert kept.tolist() == [1]


@pytest.mark.parametrize(
    ("boxes", "objectness", "class_scores", "points", "message"),
    [
        (np.zeros((2, 6)), np.zeros(2), np.zeros((2, 3)), np.zeros((1, 3)), r"boxes \(P, 7\)"),
        (np.zeros((2, 7)), np.zeros(3), np.zeros((2, 3)), np.zeros((1, 3)), r"got .*\(3,\)"),
        (np.zeros((2, 7)), np.zeros(2), np.zeros(2), np.zeros((1, 3)), r"class_scores \(P, C\)"),
        (np.zeros((2, 7)), np.zeros(2), np.zeros((2, 0)), np.zeros((1, 3)), r"class_scores \(P, C\)"),
        (np.zeros((2, 7)), np.zeros(2), np.zeros((2, 3)), np.zeros((4, 2)), r"points: expected \(N, 3\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    boxes: np.ndarray, objectness: np.ndarray, class_scores: np.ndarray, points: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        select_boxes(boxes, objectness, class_scores, points)


@pytest.mark.parametrize("iou", [0.25, 0.1])
def test_suppression_is_upstreams(shared: Path, iou: float) -> None:
    _, _, inputs, outputs = load_case(shared, "imv_box3d_ops")
    kept = suppress_boxes(inputs["boxes"], inputs["scores"], inputs["labels"], iou_threshold=iou)
    np.testing.assert_array_equal(kept, outputs[f"keep_{iou}"])


@pytest.mark.parametrize("rule", ["mmcv", "lowest"])
def test_the_boxes_of_the_whole_detector_are_upstreams(shared: Path, rule: str) -> None:
    _, _, inputs, outputs = load_case(shared, "imv_stage2_full")
    boxes = outputs[f"{rule}.bbox3d"][0]
    points = inputs["points"][0]
    np.testing.assert_array_equal(
        box3d.count_points_in_boxes(points, boxes), outputs[f"{rule}.points_in_box"].reshape(-1)
    )
    objectness = softmax(outputs[f"{rule}.obj_scores"][0])[:, 1]
    got = select_boxes(boxes, objectness, softmax(outputs[f"{rule}.sem_scores"][0]), points, per_class=True)
    expected = outputs[f"{rule}.final_boxes"].copy()
    expected[:, 2] += expected[:, 5] / 2  # upstream stores the centre of the bottom
    assert len(got) == len(expected) > 0
    np.testing.assert_array_equal(got.class_ids, outputs[f"{rule}.final_labels"])
    np.testing.assert_allclose(got.boxes, expected, atol=UPSTREAM_M)
    np.testing.assert_allclose(got.scores, outputs[f"{rule}.final_scores"], atol=FIXTURE_SCORE)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def decoded(raw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, objectness and class scores of 79 raw numbers a proposal in the order of facebook's VoteNet."""
    centre, s = raw["proposal_xyz"].astype(float), raw["scores79"].astype(float)
    yaw_class, size_class = s[:, 5:17].argmax(axis=1), s[:, 29:39].argmax(axis=1)
    rows = np.arange(len(s))
    mean = np.array(box3d.SUNRGBD_MEAN_SIZES)
    boxes = box3d.boxes_from_bins(
        centre + s[:, 2:5],
        yaw_class,
        s[:, 17:29][rows, yaw_class] * np.pi / box3d.YAW_BINS,
        size_class,
        s[:, 39:69].reshape(-1, 10, 3)[rows, size_class] * mean[size_class],
        mean_sizes=mean,
    )
    boxes[:, 6] = box3d.yaw_from_heading(boxes[:, 6])
    return boxes, softmax(s[:, :2])[:, 1], softmax(s[:, 69:79])


@pytest.mark.parametrize(
    ("raw", "reference"),
    [
        ("000002/votenet_reference_raw.npz", "000002/votenet_reference_detections.json"),
        (
            "votenet_demo/keras_weights_reference_raw.npz",
            "votenet_demo/keras_weights_reference_detections.json",
        ),
    ],
)
def test_real_proposals_become_the_reference_detections(shared: Path, raw: str, reference: str) -> None:
    folder = shared / "data" / "sunrgbd"
    with np.load(folder / raw) as arrays:
        boxes, objectness, class_scores = decoded(arrays)
    if "demo" in raw:
        text = (folder / "votenet_demo/input_pc_sunrgbd.ply").read_text().partition("end_header")[2]
        points = np.array(text.split(), np.float32).reshape(-1, 3)
    else:
        cloud = np.load(folder / "000002/votenet_v1_pc.npz")["pc"]
        points = cloud[np.arange(20000) * len(cloud) // 20000, :3]
    expected = json.loads((folder / reference).read_text())["detections"]
    # The reference kept proposals of an objectness of at least 0.5 and did not count points.
    got = select_boxes(boxes, objectness, class_scores, points, score_threshold=0.5, least_points=-1)
    got_order = np.argsort(-objectness[got.proposals], kind="stable")
    assert [box3d.SUNRGBD_CLASSES[got.class_ids[i]] for i in got_order] == [d["cls"] for d in expected]
    for index, wanted in zip(got_order.tolist(), expected, strict=True):
        np.testing.assert_allclose(got.boxes[index, :3], wanted["center"], atol=REFERENCE_M)
        np.testing.assert_allclose(got.boxes[index, 3:6], wanted["size_full"], atol=REFERENCE_M)
        turns = (got.boxes[index, 6] + wanted["heading"]) / (2 * np.pi)
        assert turns == pytest.approx(round(turns), abs=1e-6)
        score = wanted["objectness"] * wanted["cls_prob"]
        assert got.scores[index] == pytest.approx(score, abs=REFERENCE_SCORE)
    filled = select_boxes(boxes, objectness, class_scores, points, score_threshold=0.5)
    inside = box3d.count_points_in_boxes(points, got.boxes)
    np.testing.assert_array_equal(filled.proposals, got.proposals[inside > 5])
