"""The fusion of DMNet: upstream's results with its wrong index and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_cases import load_case

from tercelet.evaluation.datasets.density_crops import crop_from_file_name
from tercelet.evaluation.dmnet_fusion import boxes_in_frame, fuse_dmnet


def fixture_arguments(rows: Any) -> dict[str, Any]:
    """From image, category, score, x, y, width, height."""
    corner, size = rows[:, 3:5], rows[:, 5:7]
    return {
        "boxes": np.concatenate((corner, corner + size), axis=1),
        "scores": rows[:, 2],
        "class_ids": rows[:, 1].astype(np.int64),
    }


def test_nothing_in_nothing_out() -> None:
    for parity in (False, True):
        kept = fuse_dmnet(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), parity=parity)
        assert kept.tolist() == []
    assert boxes_in_frame(np.zeros((0, 4)), left=3, top=4).shape == (0, 4)


@pytest.mark.parametrize("case", ["f0", "f1", "f2"])
def test_the_fixtures_are_matched_index_by_index(shared: Path, case: str) -> None:
    _, _, inputs, outputs = load_case(shared, "dmn_fusion")
    given_rows = fixture_arguments(inputs[f"{case}.dets"])
    most, threshold = outputs[f"{case}.topn_thr"].tolist()
    options = {"iou_threshold": threshold, "max_detections": int(most)}
    corrected = fuse_dmnet(**given_rows, **options)
    assert corrected.tolist() == outputs[f"{case}.keep_corrected"].tolist()
    upstream = fuse_dmnet(**given_rows, **options, parity=True)
    assert upstream.tolist() == outputs[f"{case}.keep_upstream"].tolist()
    agnostic = fuse_dmnet(**given_rows, iou_threshold=threshold, class_agnostic=True)
    assert agnostic.tolist() == outputs[f"{case}.keep_agnostic"].tolist()


def test_crop_boxes_are_shifted_by_the_corner_in_the_name(shared: Path) -> None:
    _, _, inputs, outputs = load_case(shared, "dmn_fusion")
    left, top = inputs["shift_xy"].tolist()
    box, _ = crop_from_file_name(f"{top}_{left}_{top + 90}_{left + 90}_a.jpg")
    x, y, width, height = inputs["shift_in"].T
    shifted = boxes_in_frame(np.stack((x, y, x + width, y + height), 1), left=box[0], top=box[1])
    shifted[:, 2:] -= shifted[:, :2]
    np.testing.assert_array_equal(shifted, outputs["shifted"])


def test_the_best_boxes_are_kept_where_upstream_takes_places_of_another_list() -> None:
    # The first two overlap, so that the survivors are 0, 2, 3; the best of them is 3, in place 2.
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 8], [50, 0, 59, 9], [99, 0, 109, 9]], float)
    scores, classes = np.array([0.5, 0.4, 0.3, 0.9]), np.array([1, 1, 1, 2])
    assert fuse_dmnet(boxes, scores, classes, max_detections=1).tolist() == [3]
    assert fuse_dmnet(boxes, scores, classes, max_detections=1, parity=True).tolist() == [2]


def test_a_box_is_a_pixel_wider_than_its_edges_are_apart() -> None:
    boxes = np.array([[0, 0, 9, 9], [0, 5, 9, 14]], float)  # 10x10 each, 50 shared of 150
    assert fuse_dmnet(boxes, np.array([0.9, 0.8]), np.array([1, 1]), iou_threshold=0.33).tolist() == [0]
    assert fuse_dmnet(boxes, np.array([0.9, 0.8]), np.array([1, 1]), iou_threshold=1 / 3).tolist() == [0, 1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 40), most=st.integers(0, 10))
def test_no_more_than_allowed_are_kept_best_first_and_none_overlaps_too_much(
    seed: int, count: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(1, 40, (count, 2))), axis=1)
    scores, classes = rng.integers(0, 5, count) / 5, rng.integers(1, 4, count)
    kept = fuse_dmnet(boxes, scores, classes, max_detections=most)
    everything = fuse_dmnet(boxes, scores, classes, max_detections=count)
    assert kept.tolist() == everything[:most].tolist()
    assert len(set(everything.tolist())) == len(everything)
    order = list(zip((-scores[everything]).tolist(), everything.tolist(), strict=True))
    assert order == sorted(order)
