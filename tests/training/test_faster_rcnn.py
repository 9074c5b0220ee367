"""Faster R-CNN against upstream's numbers, part by part and as a whole, and its edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_cases import keys_of, load_case, seeded_weights
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.training.detectors.faster_rcnn.boxes import boxes_from_deltas, kept_by_group
from tercelet.training.detectors.faster_rcnn.detector import (
    BGR_MEAN,
    DetectionOptions,
    FasterRCNN,
    RoIHead,
    detections_from_outputs,
)
from tercelet.training.detectors.faster_rcnn.proposals import anchors_of, proposals_from_outputs
from tercelet.training.detectors.faster_rcnn.roi_align import levels_of, roi_align, roi_features
from tercelet.training.detectors.faster_rcnn.trunk import STRIDES

# The tolerance that the fixtures' page gives.
TOLERANCE = 2e-4
SIZE = (150, 217)


def assert_close(got: Tensor, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    largest = max(1.0, float(np.abs(expected).max(initial=0)))
    assert float(np.abs(got.numpy() - expected).max(initial=0)) <= TOLERANCE * largest


def tensors(inputs: dict[str, Any], name: str, count: int) -> list[Tensor]:
    return [torch.from_numpy(inputs[f"{name}_{index}"]) for index in range(count)]


def network_of(case: dict[str, Any], weights: dict[str, Any]) -> FasterRCNN:
    """The network with a case's weights, scaled as the case asks for."""
    scale = case["weight_scale"]
    state = {
        name.removeprefix("img_"): torch.from_numpy(np.asarray(value * scale.get(name, 1), value.dtype))
        for name, value in weights.items()
        if name.startswith("img_") and not name.startswith("img_mlp")
    }
    network = FasterRCNN()
    network.load_state_dict(state, strict=True)
    return network


def image_of(shared: Path, case: dict[str, Any]) -> Tensor:
    drawn = seeded_weights(shared).image_for(case["image"]["tag"], case["image"]["shape"]) * 255
    return torch.from_numpy((drawn - np.reshape(BGR_MEAN, (1, 3, 1, 1))).astype(np.float32))


def same_set(got: np.ndarray, expected: np.ndarray) -> bool:
    """Whether each row of `expected` (pixels, score, ...) has a row of its own in `got`, in any order."""
    scale = np.maximum(1, np.abs(expected).max(0))
    distance = (np.abs(got[None] - expected[:, None]) / scale).max(2)
    return (
        len(got) == len(expected) and len({*distance.argmin(1)}) == len(got) and distance.min(1).max() < 1e-3
    )


def test_without_proposals_and_without_boxes_nothing_is_found() -> None:
    none = torch.zeros(0, 4)
    assert kept_by_group(none, torch.zeros(0), torch.zeros(0, dtype=torch.long), iou=0.5).shape == (0,)
    assert roi_features([torch.zeros(1, 8, 4, 4)], torch.zeros(0, 5)).shape == (0, 8, 7, 7)
    found = detections_from_outputs(none, torch.zeros(0, 11), torch.zeros(0, 40), size=SIZE)
    assert found.shape == (0, 6)


def test_proposals_of_given_outputs_are_upstreams(shared: Path) -> None:
    _, _, inputs, expected = load_case(shared, "imv_frcnn_rpn_decode")
    logits, deltas = tensors(inputs, "cls", 5), tensors(inputs, "reg", 5)
    for level, logit in enumerate(logits):
        anchors = anchors_of(*logit.shape[2:], STRIDES[level])
        assert len(anchors) == logit.numel()
        assert_close(anchors[:60], expected[f"anchors_{level}"])
    assert_close(proposals_from_outputs(logits, deltas, size=SIZE), expected["proposals"])


def test_features_of_rectangles_are_upstreams(shared: Path) -> None:
    _, _, inputs, expected = load_case(shared, "imv_frcnn_roialign")
    rois = torch.from_numpy(inputs["rois"])
    assert np.array_equal(levels_of(rois).numpy(), expected["levels"])
    assert_close(roi_features(tensors(inputs, "feat", 4), rois), expected["roi_feats"])


def test_detections_of_given_features_are_upstreams(shared: Path) -> None:
    _, weights, inputs, expected = load_case(shared, "imv_frcnn_bboxhead")
    head = RoIHead(classes=10)
    prefix = "img_roi_head."
    head.load_state_dict({n.removeprefix(prefix): torch.from_numpy(v) for n, v in weights.items()})
    with torch.inference_mode():
        logits, deltas = head(torch.from_numpy(inputs["roi_feats"]))
    assert_close(logits, expected["cls_score"])
    assert_close(deltas, expected["bbox_pred"])
    boxes = torch.from_numpy(inputs["rois"])[:, 1:]
    outputs = logits * float(inputs["cls_mul"]), deltas * float(inputs["reg_mul"])
    found = detections_from_outputs(boxes, *outputs, size=SIZE)
    assert_close(found[:, :5], expected["dets"])
    assert np.array_equal(found[:, 5].numpy(), expected["labels"])


def test_the_whole_network_is_upstreams(shared: Path) -> None:
    case, weights, _, expected = load_case(shared, "imv_frcnn_full")
    network, image = network_of(case, weights), image_of(shared, case)
    names = [name for name in keys_of(shared, "imv_frcnn_full") if name.startswith("img_")]
    assert [f"img_{name}" for name in network.state_dict()] == names
    with torch.inference_mode():
        trunk = network.backbone(image)
        levels = network.neck(trunk)
        logits, deltas = network.rpn_head(levels)
        proposals = proposals_from_outputs(logits, deltas, size=SIZE)
        named = [f"C{i + 2}" for i in range(4)] + [f"P{i + 2}" for i in range(5)]
        for name, got in zip(named, (*trunk, *levels), strict=True):
            assert_close(got.flatten()[:: max(1, got.numel() // 2048)], expected[f"{name}_sub"])
        for level in range(5):
            assert_close(logits[level], expected[f"rpn_cls_{level}"])
            assert_close(deltas[level], expected[f"rpn_reg_{level}"])
        assert same_set(proposals.numpy(), expected["proposals"])
        rois = torch.nn.functional.pad(torch.from_numpy(expected["proposals"][:256, :4]), (1, 0))
        features = roi_features(levels, rois)
        some = features[:64]
        assert_close(some.flatten()[:: some.numel() // 16384], expected["roi_feats_sub"])
        cls, reg = network.roi_head(features)
        assert_close(cls, expected["cls_score"])
        assert_close(reg, expected["bbox_pred"])
        assert same_set(network(image, size=SIZE).numpy(), expected["dets"])


def test_boxes_of_different_groups_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    scores, groups = torch.tensor([0.5, 0.9, 0.7, 0.1]), torch.tensor([0, 1, 0, 0])
    assert kept_by_group(boxes, scores, groups, iou=0.5).tolist() == [1, 2, 3]
    assert kept_by_group(boxes, scores, groups, iou=0.95).tolist() == [1, 2, 0, 3]


def test_a_box_grows_at_most_from_16_to_1000_pixels() -> None:
    found = boxes_from_deltas(
        torch.tensor([[0.0, 0, 16, 16]]),
        torch.tensor([[0.0, 0, 50, 0]]),
        deviations=(1.0, 1.0, 1.0, 1.0),
        size=(4000, 4000),
    )
    assert found[0].tolist() == pytest.approx([0, 0, 508, 16])


@pytest.mark.parametrize(
    ("roi", "what"), [((5, 5, 5, 9), "empty"), ((9, 9, 5, 5), "inverted"), ((1e4, 1e4, 2e4, 2e4), "far away")]
)
def test_a_rectangle_without_samples_on_the_map_gives_zeros(roi: tuple[float, ...], what: str) -> None:
    features = torch.ones(1, 2, 8, 8)
    got = roi_align(features, torch.tensor([[0.0, *roi]]), scale=0.25)
    assert not got.any(), what


def test_a_rectangle_inside_a_constant_map_has_its_value() -> None:
    got = roi_align(torch.full((1, 3, 20, 20), 2.5), torch.tensor([[0.0, 8, 8, 60, 40]]), scale=0.25)
    assert torch.allclose(got, torch.tensor(2.5))


@pytest.mark.parametrize(
    ("shape", "size", "match"),
    [
        ((2, 3, 64, 64), (64, 64), r"image: expected \(1, 3, H, W\) floats"),
        ((1, 3, 60, 64), (60, 64), r"multiples of 32, got \(1, 3, 60, 64\)"),
        ((1, 3, 64, 64), (65, 64), r"size: expected .* 1 to \(64, 64\), got \(65, 64\)"),
        ((1, 3, 64, 64), (0, 64), r"size: expected"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    shape: tuple[int, ...], size: tuple[int, int], match: str
) -> None:
    with pytest.raises(InputError, match=match), torch.device("meta"):
        FasterRCNN()(torch.zeros(shape), size=size)


def test_options_bound_what_is_found() -> None:
    boxes = torch.tensor([[0.0, 0, 50, 50], [60, 60, 90, 90], [100, 100, 140, 140]])
    logits, deltas = torch.zeros(3, 11), torch.zeros(3, 40)
    logits[:, 3] = torch.tensor([5.0, 4.0, 3.0])
    found = detections_from_outputs(boxes, logits, deltas, size=SIZE, options=DetectionOptions(most=2))
    assert found[:, 5].tolist() == [3, 3]
    assert torch.allclose(found[:, :4], boxes[:2])


def test_it_stays_in_eval_mode() -> None:
    with torch.device("meta"):
        network = FasterRCNN()
    assert not any(part.training for part in network.train().modules())
