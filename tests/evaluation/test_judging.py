"""Protocols: ignored regions, ignored boxes, limits, merged classes, and what the result says about them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import VISDRONE_CATEGORIES, Dataset, DatasetImage, open_dataset
from tercelet.evaluation.drawing import ground_truth_as_detections
from tercelet.evaluation.judging import evaluate_detections
from tercelet.evaluation.protocol import inside_regions, shared_area
from tercelet.evaluation.result import result_text

Make = Callable[..., Detections]
MakeImage = Callable[..., DatasetImage]
MakeDataset = Callable[..., Dataset]
EXACT = 1e-9
CAR = (100.0, 100.0, 140.0, 140.0)


def test_the_area_shared_with_overlapping_regions_counts_once() -> None:
    regions = np.array([(0, 0, 10, 10), (5, 5, 15, 15), (100, 0, 101, 50)], float)
    boxes = np.array([(0, 0, 15, 15), (20, 20, 30, 30), (9, 0, 102, 1), (-5, -5, 0, 0)], float)
    assert shared_area(boxes, regions).tolist() == [100 + 100 - 25, 0, 2, 0]


def test_the_shared_area_is_that_of_a_map_of_pixels() -> None:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 80, (30, 2))
    boxes = np.concatenate((corner, corner + rng.integers(1, 20, (30, 2))), 1).astype(float)
    pixels = np.zeros((100, 100), bool)
    for x1, y1, x2, y2 in boxes[:12].astype(int):
        pixels[y1:y2, x1:x2] = True
    expected = [pixels[y1:y2, x1:x2].sum() for x1, y1, x2, y2 in boxes.astype(int)]
    assert shared_area(boxes, boxes[:12]).tolist() == expected


def test_without_regions_nothing_is_inside_them() -> None:
    assert inside_regions(np.array([(0.0, 0, 5, 5)]), np.zeros((0, 4))).tolist() == [False]
    assert inside_regions(np.zeros((0, 4)), np.array([(0.0, 0, 5, 5)])).tolist() == []


def test_half_of_a_box_inside_is_inside_and_a_flat_box_never_is() -> None:
    region = np.array([(0.0, 0, 10, 10)])
    boxes = np.array([(5.0, 0, 15, 10), (5.1, 0, 15.1, 10), (2, 2, 2, 8)])
    assert inside_regions(boxes, region).tolist() == [True, False, False]


@pytest.mark.parametrize(("protocol", "expected"), [("visdrone", 1.0), ("coco", 51 / 101)])
def test_boxes_in_ignored_regions_are_left_out_by_visdrone_only(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset, protocol: str, expected: float
) -> None:
    image = make_image(0, [CAR, (500, 500, 540, 540)], regions=[(450, 450, 700, 700)])
    found = make_detections([(*CAR, 0.5, 0), (600, 600, 640, 640, 0.4, 0)])
    result = evaluate_detections(make_dataset([image], protocol), [found])
    assert result.precision.ap == pytest.approx(expected, abs=EXACT)
    assert (result.left_out_ground_truth, result.left_out_detections) == ((1, 1) if expected == 1 else (0, 0))
    assert result.protocol.startswith(f"{protocol}: ")


def test_detections_of_boxes_with_score_0_do_not_count(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset
) -> None:
    image = make_image(0, [CAR, (500, 500, 540, 540)], ignore=[False, True])
    found = make_detections([(500, 500, 540, 540, 0.9, 0), (*CAR, 0.5, 0)])
    result = evaluate_detections(make_dataset([image], "visdrone"), [found])
    assert result.precision.ap == pytest.approx(1, abs=EXACT)
    assert result.ground_truth == 1


def test_visdrone_allows_500_detections_where_coco_stops_at_100(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset
) -> None:
    boxes = [
        (20.0 * (i % 40), 20.0 * (i // 40), 20.0 * (i % 40) + 15, 20.0 * (i // 40) + 15) for i in range(200)
    ]
    image = make_image(0, boxes)
    found = make_detections([(*b, 0.9 - i / 1000, 0) for i, b in enumerate(boxes)])
    by_visdrone = evaluate_detections(make_dataset([image], "visdrone"), [found])
    by_coco = evaluate_detections(make_dataset([image], "coco"), [found])
    assert by_visdrone.precision.ap == pytest.approx(1, abs=EXACT)
    assert by_coco.precision.ap == pytest.approx(51 / 101, abs=EXACT)
    assert set(by_visdrone.precision.recall) >= {"ar1", "ar10", "ar100", "ar500"}
    assert "500 detections a frame and class" in by_visdrone.protocol
    limited = evaluate_detections(make_dataset([image], "visdrone"), [found], max_detections=50)
    assert limited.precision.recall["ar500"] == pytest.approx(0.25, abs=EXACT)


def test_merged_categories_are_one_class_and_the_rest_is_reported(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset
) -> None:
    image = make_image(0, [CAR, (300, 300, 340, 340), (600, 600, 640, 640)], [0, 1, 2])
    dataset = make_dataset([image], categories=("car", "van", "tricycle"))
    found = make_detections(
        [(*CAR, 0.9, 0), (300, 300, 340, 340, 0.8, 0), (1, 1, 9, 9, 0.7, 1)], ("car", "boat")
    )
    result = evaluate_detections(dataset, [found], class_map={"car": ["car", "van"]})
    assert result.precision.ap == pytest.approx(1, abs=EXACT)
    assert result.per_class["car"].ground_truth == 2
    assert result.unmatched_categories == {"tricycle": 1}
    assert result.unmatched_labels == {"boat": 1}
    text = result_text(result)
    assert "class map: car = car + van" in text
    assert "1 categories with 1 objects (tricycle 1)" in text
    assert "1 labels with 1 detections (boat 1)" in text


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_what_is_not_evaluated_takes_no_place_in_the_limit_of_a_frame(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset, limit: int
) -> None:
    dataset = make_dataset(
        [make_image(0, [CAR, (300, 300, 340, 340)], regions=[(600, 600, 900, 900)])], "visdrone", ("car",)
    )
    judged = [(*CAR, 0.5, 0), (300, 300, 340, 340, 0.4, 0)]
    boats = [(10.0 * i, 0, 10.0 * i + 9, 9, 0.9, 1) for i in range(5)]
    in_region = [(700.0 + i, 700, 740 + i, 740, 0.8, 0) for i in range(5)]
    found = make_detections([*judged, *boats, *in_region], ("car", "boat"))
    result = evaluate_detections(dataset, [found], class_map={"car": "car"}, max_detections=limit)
    assert result.per_class["car"].detections == min(limit, 2)
    assert result.precision.recall["ar500"] == pytest.approx(min(limit, 2) / 2, abs=EXACT)
    assert (result.left_out_detections, result.unmatched_labels) == (5, {"boat": 5})
    order = ("classes that are not evaluated", "ignored regions", f"then the {limit} best detections")
    places = [result.protocol.index(words) for words in order]
    assert places == sorted(places)


def test_a_limit_below_one_is_refused(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset
) -> None:
    with pytest.raises(InputError, match="max_detections: expected at least 1, got 0"):
        evaluate_detections(make_dataset([make_image(0, [CAR])]), [make_detections([])], max_detections=0)
    with pytest.raises(InputError, match="protocol: expected coco or visdrone, got ''"):
        evaluate_detections(
            make_dataset([make_image(0, [CAR])]),
            [make_detections([])],
            protocol="",  # type: ignore[arg-type]
        )


def test_undefined_figures_are_null_in_json_and_a_dash_in_the_table(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset
) -> None:
    images = [make_image(0, [CAR]), make_image(1, [])]
    found = [make_detections([(*CAR, 0.9, 0)]), make_detections([(*CAR, 0.1, 1)])]
    result = evaluate_detections(make_dataset(images), found)
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert {
        "protocol",
        "ap",
        "ap50",
        "ap75",
        "ap_small",
        "ap_medium",
        "ap_large",
        "per_class",
        "frames",
    } <= set(record)
    assert record["frames"] == 2
    assert record["ap"] == pytest.approx(1, abs=EXACT)
    assert record["ap_small"] is None
    assert record["per_class"]["bus"] == {"ap": None, "ap50": None, "ground_truth": 0, "detections": 1}
    assert record["per_class"]["car"]["ground_truth"] == 1
    text = result_text(result)
    assert "AP small        -" in text
    assert "1 classes without objects here are not in the means; 1 detections of them (bus 1)" in text


def test_frames_and_detections_must_correspond(
    make_detections: Make, make_image: MakeImage, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset([make_image(0, [CAR]), make_image(1, [CAR])])
    with pytest.raises(InputError, match="the data set's 2 frames, got 1"):
        evaluate_detections(dataset, [make_detections([])])
    with pytest.raises(InputError, match="several sets of labels"):
        evaluate_detections(dataset, [make_detections([]), make_detections([], ("car",))])
    with pytest.raises(InputError, match="protocol: expected coco or visdrone, got 'voc'"):
        evaluate_detections(dataset, [make_detections([])] * 2, protocol="voc")  # type: ignore[arg-type]


def test_the_real_ground_truth_judged_by_itself_is_perfect_under_visdrone_only(shared: Path) -> None:
    dataset = open_dataset(shared / "data" / "visdrone")
    found = []
    for image in dataset.images:
        boxes, scores = (
            image.boxes.astype(np.float32),
            np.linspace(0.9, 0.5, len(image.boxes), dtype=np.float32),
        )
        found.append(Detections(boxes, scores, image.class_ids, VISDRONE_CATEGORIES))
    official = evaluate_detections(dataset, found)
    assert official.precision.ap == pytest.approx(1, abs=EXACT)
    assert official.ground_truth + official.left_out_ground_truth == 2096
    assert official.left_out_ground_truth == official.left_out_detections > 0
    by_coco = evaluate_detections(dataset, found, protocol="coco")
    # 100 detections a class do not reach all cars and pedestrians of a crowded frame.
    assert by_coco.precision.ap is not None
    assert by_coco.precision.ap < 0.999
    assert by_coco.ground_truth == 2096


def test_ignored_boxes_and_regions_are_drawn_under_names_of_their_own(make_image: MakeImage) -> None:
    image = make_image(0, [CAR, CAR], ignore=[False, True], regions=[(0, 0, 9, 9)])
    drawn = ground_truth_as_detections(image, ("car", "bus"))
    assert [drawn.label_of(index) for index in range(3)] == ["car", "ignored", "ignored region"]


def test_evaluation_imports_neither_torch_nor_onnx() -> None:
    script = (
        "import sys, tercelet.evaluation.commands.evaluate\n"
        "assert not {'numpy', 'cv2', 'faster_coco_eval'} & set(sys.modules)\n"
        "import tercelet.evaluation.evaluating, tercelet.evaluation.comparing, tercelet.evaluation as e\n"
        "assert all(getattr(e, name) for name in e.__all__)\n"
        "assert not {'torch', 'onnx', 'safetensors', 'cv2'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
