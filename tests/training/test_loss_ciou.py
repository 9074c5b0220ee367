"""Complete IoU against the paper's formula written out in float64, and on boxes that are hardly boxes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tercelet.training.detector_training.losses.ciou import complete_iou

# float32 of sides up to 200 against float64 without the formula's small constants.
TOLERANCE = 2e-5

Box = tuple[float, float, float, float]
sides = st.floats(0.5, 100.0)
corners = st.floats(-50.0, 100.0)
boxes = st.tuples(corners, corners, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def written_out(a: Box, b: Box) -> float:
    """Section 3 of the paper, step by step."""
    across = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    down = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    iou = across * down / (area_a + area_b - across * down)
    apart = math.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    hull = math.hypot(max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1]))
    angles = math.atan((b[2] - b[0]) / (b[3] - b[1])) - math.atan((a[2] - a[0]) / (a[3] - a[1]))
    shape = 4 / math.pi**2 * angles**2
    weight = shape / (1 - iou + shape) if shape > 0 else 0.0
    return iou - (apart / hull) ** 2 - weight * shape


@settings(max_examples=200, deadline=None)
@given(boxes, boxes)
def test_it_is_the_papers_formula(a: Box, b: Box) -> None:
    got = complete_iou(torch.tensor(a), torch.tensor(b)).item()
    assert got == pytest.approx(written_out(a, b), abs=TOLERANCE)


def test_no_boxes_give_no_numbers() -> None:
    assert complete_iou(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param((10, 10, 30, 20), (10, 10, 30, 20), 1.0, id="the same"),
        pytest.param((0, 0, 10, 10), (10, 0, 20, 10), -100 / 500, id="side by side"),
        pytest.param((0, 0, 10, 10), (0, 0, 10, 5), 0.5 - 6.25 / 200 - 0.0032482, id="one half"),
    ],
)
def test_known_values(a: Box, b: Box, expected: float) -> None:
    got = complete_iou(torch.tensor([a], dtype=torch.float32), torch.tensor([b], dtype=torch.float32))
    assert got.item() == pytest.approx(expected, abs=TOLERANCE)


def test_its_gradient_is_the_slope_of_the_formula_with_the_weight_held() -> None:
    generator = torch.Generator().manual_seed(0)
    near = torch.rand((40, 4), generator=generator, dtype=torch.float64) * 20
    first = torch.cat((near[:, :2], near[:, :2] + near[:, 2:] + 2), 1).requires_grad_()
    second = first.detach() + torch.randn((40, 4), generator=generator, dtype=torch.float64) * 0.7
    (gradient,) = torch.autograd.grad(complete_iou(first, second).sum(), first)
    for row in range(40):
        a, b = first[row].tolist(), tuple(second[row].tolist())
        held = _weight(tuple(a), b)
        for side in range(4):
            step = 1e-5
            up, down = list(a), list(a)
            up[side] += step
            down[side] -= step
            slope = (_held(tuple(up), b, held) - _held(tuple(down), b, held)) / (2 * step)
            assert gradient[row, side].item() == pytest.approx(slope, abs=1e-5)


def _shape(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    angles = math.atan((b[2] - b[0]) / (b[3] - b[1])) - math.atan((a[2] - a[0]) / (a[3] - a[1]))
    return 4 / math.pi**2 * angles**2


def _without_shape(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float]:
    """IoU, and IoU less the distance penalty."""
    across = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    down = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    iou = across * down / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - across * down)
    apart = math.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    hull = math.hypot(max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1]))
    return iou, iou - (apart / hull) ** 2


def _weight(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    iou, _ = _without_shape(a, b)
    return _shape(a, b) / (1 - iou + _shape(a, b))


def _held(a: tuple[float, ...], b: tuple[float, ...], weight: float) -> float:
    return _without_shape(a, b)[1] - weight * _shape(a, b)


@pytest.mark.parametrize(
    "box",
    [(5, 5, 5, 5), (5, 5, 5, 9), (5, 5, 9, 5), (9, 9, 5, 5), (0, 0, 1e4, 1e-3)],
    ids=["a point", "no width", "no height", "inside out", "a hair"],
)
def test_degenerate_boxes_give_finite_values_and_gradients(box: Box) -> None:
    predicted = torch.tensor([box], dtype=torch.float32, requires_grad=True)
    for truth in (torch.tensor([[4.0, 4.0, 8.0, 8.0]]), predicted.detach()):
        value = complete_iou(predicted, truth)
        (gradient,) = torch.autograd.grad(value.sum(), predicted)
        assert value.isfinite().all()
        assert gradient.isfinite().all()
