"""Losses of the detectors against upstream's numbers: values, gradients and what was assigned to what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_cases import load_case, tolerance_of

from tercelet.training.detector_training.losses import AnchorFreeLoss, AnchorLoss
from tercelet.training.detector_training.targets import Targets
from tercelet.training.detectors.anchor_free_head import AnchorFreeOutputs

NO_BOXES = torch.zeros((0, 4))
NO_ROWS = torch.zeros(0, dtype=torch.int64)


def targets_from_rows(table: np.ndarray, height: int, width: int) -> Targets:
    """Rows image, class, cx, cy, w, h as parts of the image, the reference's form."""
    rows = torch.from_numpy(table)
    boxes = rows[:, 2:] * torch.tensor([width, height, width, height])
    half = boxes[:, 2:] / 2
    corners = torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), 1)
    return Targets(corners, rows[:, 1].long(), rows[:, 0].long(), NO_BOXES, NO_ROWS)


def assert_close(case: dict[str, Any], name: str, got: Any, expected: np.ndarray) -> None:
    difference = np.abs(np.asarray(got, dtype=np.float64) - expected).max(initial=0.0)
    assert difference <= tolerance_of(case, name, expected), name


@pytest.mark.parametrize("side", [16.0, None], ids=["8.4", "8.3"])
def test_the_anchor_free_loss_is_the_references(shared: Path, side: float | None) -> None:
    """The case is neutral to the rule about small boxes, so both versions must give it."""
    case, _, inputs, expected = load_case(shared, "loss_v8")
    height, width = case["image_hw"]
    targets = targets_from_rows(inputs["targets"], height, width)
    boxes_dfl = torch.from_numpy(2 * inputs["boxes_normal"]).requires_grad_()
    scores_logit = torch.from_numpy(inputs["scores_normal"] - 1).requires_grad_()
    loss = AnchorFreeLoss(strides=tuple(case["strides"]), classes=case["nc"], smallest_side=side)
    outputs = AnchorFreeOutputs(boxes_dfl, scores_logit)
    value = loss(outputs, targets, height=height, width=width)
    value.total.backward()
    assert_close(case, "loss_times_batch", value.parts.numpy() * 2, expected["loss_times_batch"])
    assert_close(case, "total", value.total.item(), expected["loss_times_batch"].sum())
    assert boxes_dfl.grad is not None
    assert scores_logit.grad is not None
    for name, gradient in (("grad_boxes", boxes_dfl.grad), ("grad_scores", scores_logit.grad)):
        # The tolerance is for numbers of size 1; gradients are smaller and as exact relative to theirs.
        scale = np.abs(expected[name]).max()
        assert_close(case, name, gradient.numpy() / scale, expected[name] / scale)

    found = loss.assignment(outputs, targets, height=height, width=width)
    learns, owner, score = np.zeros(840, dtype=bool), np.full(840, -1), np.zeros(840)
    boxes = np.zeros((840, 4))
    cells, rows = found.cells.numpy(), found.boxes.numpy()
    first_of_image = np.searchsorted(targets.rows.numpy(), [0, 1])
    learns[cells], score[cells] = True, found.scores.numpy()
    owner[cells] = rows - first_of_image[targets.rows.numpy()[rows]]
    boxes[cells] = targets.boxes.numpy()[rows]
    assert np.array_equal(learns, expected["fg_mask"].ravel())
    assert np.array_equal(owner, expected["target_gt_idx"].ravel())
    assert_close(case, "target_bboxes_fg", boxes, expected["target_bboxes_fg"].reshape(840, 4))
    assert_close(case, "target_score_max", score, expected["target_score_max"].ravel())


def test_the_anchor_loss_is_the_references(shared: Path) -> None:
    case, _, inputs, expected = load_case(shared, "loss_v5")
    height, width = case["image_hw"]
    targets = targets_from_rows(inputs["targets"], height, width)
    levels = tuple(torch.from_numpy(inputs[f"p{level}"]).requires_grad_() for level in range(3))
    strides = tuple(case["strides"])
    pixels = torch.tensor(case["anchors_px"], dtype=torch.float32).view(3, 3, 2)
    # The case's gain of objectness is 1 as it stands, the loss scales it by (160 / 640) ** 2.
    loss = AnchorLoss(
        anchors=pixels / torch.tensor(strides).view(3, 1, 1),
        strides=strides,
        classes=case["nc"],
        gains=(0.05, 16.0, 0.5),
    )
    hyp = case["hyp"]
    assert loss.scaled_gains(height, width) == pytest.approx((hyp["box"], hyp["obj"], hyp["cls"]))
    value = loss(levels, targets, height=height, width=width)
    value.total.backward()
    assert_close(case, "items", value.parts.numpy(), expected["items"])
    assert_close(case, "total", [value.total.item()], expected["total"])
    for number, (level, found) in enumerate(zip(levels, loss.matching(levels, targets), strict=True)):
        assert level.grad is not None
        scale = np.abs(expected[f"grad_p{number}"]).max()
        assert_close(case, "gradient", level.grad.numpy() / scale, expected[f"grad_p{number}"] / scale)
        class_ids = targets.class_ids[found.boxes]
        columns = (found.images, found.anchors, found.rows, found.columns, class_ids)
        assert np.array_equal(torch.stack(columns, 1).numpy(), expected[f"match{number}"])
        assert_close(case, "tbox", found.offsets.numpy(), expected[f"tbox{number}"])
