"""Which places learn which object, against a slow search over all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tercelet.training.detector_training.losses.anchor_matching import last_of_each, match
from tercelet.training.detector_training.losses.assignment import AssignmentRule, assign, enlarged
from tercelet.training.detector_training.losses.ciou import complete_iou
from tercelet.training.detector_training.losses.places import pairs_inside, place_centres, places_of
from tercelet.training.detector_training.targets import Targets

STRIDES = (8, 16, 32)
CPU = torch.device("cpu")
NO_BOXES = torch.zeros((0, 4))
NO_ROWS = torch.zeros(0, dtype=torch.int64)


def targets_of(boxes: Tensor, class_ids: list[int], rows: list[int]) -> Targets:
    return Targets(boxes, torch.tensor(class_ids), torch.tensor(rows), NO_BOXES, NO_ROWS)


def random_case(seed: int, *, images: int, objects: int, classes: int) -> tuple[Tensor, Tensor, Targets]:
    """Predicted boxes (B, A, 4) that partly fit, logits (B, C, A), boxes of 3 to 70 px on 96x64 images."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand((objects, 2), generator=generator) * torch.tensor([80.0, 50.0])
    size = 3 + torch.rand((objects, 2), generator=generator) * 67
    boxes = torch.cat((corner, torch.minimum(corner + size, torch.tensor([96.0, 64.0]))), 1)
    rows = torch.randint(images, (objects,), generator=generator).sort().values
    class_ids = torch.randint(classes, (objects,), generator=generator)
    places = places_of(STRIDES, height=64, width=96, device=CPU)
    centres, strides = place_centres(places, torch.arange(places.total))
    half = (0.3 + torch.rand((images, places.total, 2), generator=generator) * 2) * strides
    predicted = torch.cat((centres * strides - half, centres * strides + half), 2)
    logits = torch.randn((images, classes, places.total), generator=generator)
    return predicted, logits, Targets(boxes, class_ids, rows, NO_BOXES, NO_ROWS)


def slow_assignment(
    predicted: Tensor, logits: Tensor, targets: Targets, rule: AssignmentRule
) -> dict[tuple[int, int], tuple[int, float]]:
    """(image, place) -> (object, score), one object and place after the other."""
    tables = [
        [((x + 0.5) * s, (y + 0.5) * s) for y in range(64 // s) for x in range(96 // s)] for s in STRIDES
    ]
    centres = [centre for table in tables for centre in table]
    wide = enlarged(targets.boxes, rule.smallest_side).tolist()
    overlap: dict[tuple[int, int], float] = {}
    alignment: dict[tuple[int, int], float] = {}
    claims: dict[tuple[int, int], list[int]] = {}
    for number, row in enumerate(targets.rows.tolist()):
        inside = [
            place
            for place, (x, y) in enumerate(centres)
            if wide[number][0] < x < wide[number][2] and wide[number][1] < y < wide[number][3]
        ]
        for place in inside:
            iou = max(complete_iou(predicted[row, place], targets.boxes[number]).item(), 0.0)
            score = logits[row, targets.class_ids[number], place].sigmoid().item()
            overlap[number, place] = iou
            alignment[number, place] = score**rule.alpha * iou**rule.beta
        inside.sort(key=lambda place: -alignment[number, place])
        for place in inside[: rule.topk]:
            claims.setdefault((row, place), []).append(number)
    owner = {
        (row, place): numbers[0]
        if len(numbers) == 1
        else max(
            (n for n, p in overlap if p == place and targets.rows[n] == row),
            key=lambda n: overlap[n, place],
        )
        for (row, place), numbers in claims.items()
    }
    result = {}
    for (row, place), number in owner.items():
        own = [p for (_, p), n in owner.items() if n == number]
        most = max(alignment[number, p] for p in own)
        best = max(overlap[number, p] for p in own)
        result[row, place] = (number, alignment[number, place] * best / (most + 1e-9))
    return result


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("side", [16.0, None])
def test_it_is_what_a_slow_search_finds(seed: int, side: float | None) -> None:
    predicted, logits, targets = random_case(seed, images=3, objects=4 * seed, classes=4)
    rule = AssignmentRule(topk=6, smallest_side=side)
    places = places_of(STRIDES, height=64, width=96, device=CPU)
    found = assign(predicted, logits, targets, places, rule)
    expected = slow_assignment(predicted, logits, targets, rule)
    positive = {key for key, (_, score) in expected.items() if score > 0}
    got = {
        divmod(cell, places.total): (box, score)
        for cell, box, score in zip(
            found.cells.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True
        )
    }
    assert len(got) == len(found.cells)
    assert {key for key, (_, score) in got.items() if score > 0} == positive
    for key in positive:
        assert got[key][0] == expected[key][0]
        assert got[key][1] == pytest.approx(expected[key][1], rel=1e-4, abs=1e-7)


def test_the_order_of_the_boxes_changes_nothing() -> None:
    predicted, logits, targets = random_case(3, images=2, objects=24, classes=3)
    places = places_of(STRIDES, height=64, width=96, device=CPU)
    first = assign(predicted, logits, targets, places, AssignmentRule())
    order = torch.arange(24).flip(0)
    order = order[targets.rows[order].argsort(stable=True)]
    turned = Targets(targets.boxes[order], targets.class_ids[order], targets.rows[order], NO_BOXES, NO_ROWS)
    second = assign(predicted, logits, turned, places, AssignmentRule())
    one, other = first.cells.argsort(), second.cells.argsort()
    assert torch.equal(first.cells[one], second.cells[other])
    assert torch.equal(first.boxes[one], order[second.boxes[other]])
    assert torch.equal(first.scores[one], second.scores[other])


def test_a_place_inside_several_boxes_goes_to_the_one_it_fits_best() -> None:
    """Two boxes claim all places they share; what is predicted there is the larger of them."""
    boxes = torch.tensor([[24.0, 24.0, 40.0, 40.0], [8.0, 8.0, 56.0, 56.0]])
    places = places_of((8,), height=64, width=64, device=CPU)
    predicted = boxes[1].expand(1, places.total, 4)
    logits = torch.zeros((1, 2, places.total))
    found = assign(predicted, logits, targets_of(boxes, [0, 1], [0, 0]), places, AssignmentRule(topk=36))
    assert len(found.cells) == 36
    assert found.boxes.tolist() == [1] * 36


BETWEEN, POLE = (9.0, 9.0, 11.0, 11.0), (9.0, 0.0, 11.0, 32.0)


@pytest.mark.parametrize(
    ("box", "side", "expected"),
    [
        pytest.param(BETWEEN, None, [], id="8.3: between the centres nobody learns it"),
        pytest.param(
            BETWEEN,
            16.0,
            [(4, 4), (8, 8), (12, 4), (4, 12), (12, 12), (16, 16)],
            id="8.4: the places around it",
        ),
        pytest.param(POLE, None, [], id="8.3: a pole between two columns"),
        pytest.param(
            POLE,
            16.0,
            [*((x, y) for x in (4, 12) for y in (4, 12, 20, 28)), (8, 8), (8, 24), (16, 16)],
            id="8.4: its width alone is enlarged",
        ),
    ],
)
def test_small_boxes_are_enlarged_before_asking_what_is_inside(
    box: tuple[float, ...], side: float | None, expected: list[tuple[float, float]]
) -> None:
    places = places_of(STRIDES, height=64, width=64, device=CPU)
    boxes = torch.tensor([box])
    predicted = boxes.expand(1, places.total, 4)
    rule = AssignmentRule(topk=50, smallest_side=side)
    found = assign(predicted, torch.zeros((1, 1, places.total)), targets_of(boxes, [0], [0]), places, rule)
    centres, strides = place_centres(places, found.cells)
    assert sorted(map(tuple, (centres * strides).tolist())) == sorted(expected)


def test_nothing_predicted_well_makes_targets_of_zero_not_nan() -> None:
    places = places_of(STRIDES, height=64, width=64, device=CPU)
    boxes = torch.tensor([[0.0, 0.0, 30.0, 30.0]])
    predicted = torch.full((1, places.total, 4), 500.0)
    logits = torch.full((1, 1, places.total), -200.0)
    found = assign(predicted, logits, targets_of(boxes, [0], [0]), places, AssignmentRule())
    assert len(found.cells) == 10
    assert (found.scores == 0).all()


corner = st.one_of(st.integers(-24, 100).map(float), st.floats(-24, 100, width=32))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(corner, corner, corner, corner), max_size=6))
def test_the_places_inside_boxes_are_those_strictly_inside(boxes: list[tuple[float, ...]]) -> None:
    table = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    rows = torch.arange(len(boxes)) // 2
    places = places_of(STRIDES, height=64, width=96, device=CPU)
    centres, strides = place_centres(places, torch.arange(places.total))
    x, y = (centres * strides).T
    inside = (x > table[:, :1]) & (x < table[:, 2:3]) & (y > table[:, 1:2]) & (y < table[:, 3:])
    box, place = inside.nonzero().unbind(1)
    found = pairs_inside(table, rows, places)
    assert torch.equal(found.boxes, box)
    assert torch.equal(found.cells, rows[box] * places.total + place)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [([], []), ([5], [0]), ([3, 1, 3, 1, 2], [3, 4, 2]), ([7, 7, 7], [2])],
)
def test_the_last_mention_of_a_cell_is_kept(cells: list[int], expected: list[int]) -> None:
    assert last_of_each(torch.tensor(cells, dtype=torch.int64)).tolist() == expected


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        pytest.param((3.5, 3.5), [(3, 3)], id="the middle of a cell: no neighbour"),
        pytest.param((3.2, 3.5), [(3, 3), (2, 3)], id="left"),
        pytest.param((3.2, 3.1), [(3, 3), (2, 3), (3, 2)], id="left and upper"),
        pytest.param((3.8, 3.9), [(3, 3), (4, 3), (3, 4)], id="right and lower"),
        pytest.param((0.2, 3.5), [(0, 3)], id="no neighbour beyond the left border"),
        pytest.param((7.9, 5.9), [(7, 5)], id="nor beyond the right and the lower one"),
    ],
)
def test_an_anchor_learns_at_the_cell_and_its_nearer_neighbours(
    centre: tuple[float, float], expected: list[tuple[int, int]]
) -> None:
    x, y = centre[0] * 8, centre[1] * 8
    boxes = torch.tensor([[x - 8, y - 8, x + 8, y + 8]])
    anchors = torch.tensor([[2.0, 2.0], [9.0, 2.0]])
    found = match(targets_of(boxes, [0], [0]), anchors, stride=8, rows=6, columns=8, threshold=4.0)
    assert list(zip(found.columns.tolist(), found.rows.tolist(), strict=True)) == expected
    assert found.anchors.tolist() == [0] * len(expected)
    cells = torch.stack((found.columns, found.rows), 1)
    assert torch.allclose(found.offsets[:, :2] + cells, torch.tensor([centre]), atol=1e-5)
    assert torch.allclose(found.offsets[:, 2:], torch.full((len(expected), 2), 2.0))


def test_an_anchor_fits_up_to_but_not_at_the_threshold() -> None:
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0]])
    anchors = torch.tensor([[1.0, 1.0], [1.01, 1.01], [15.9, 15.9], [16.0, 16.0], [4.0, 16.0]])
    found = match(targets_of(boxes, [0], [0]), anchors, stride=8, rows=8, columns=8, threshold=4.0)
    assert sorted(set(found.anchors.tolist())) == [1, 2]
