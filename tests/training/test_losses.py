"""Losses of the detectors: what must hold for any batch and any family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import xyxy_from_cxcywh
from tercelet.training import build
from tercelet.training.detector_training.losses import AnchorFreeLoss, AnchorLoss, Sharing, loss_for
from tercelet.training.detector_training.losses.ciou import complete_iou
from tercelet.training.detector_training.losses.sparse_entropy import sparse_cross_entropy
from tercelet.training.detector_training.targets import Targets
from tercelet.training.detectors.anchor_free_head import AnchorFreeOutputs

HEIGHT, WIDTH, CLASSES = 96, 128, 5
STRIDES = (8, 16, 32)
ANCHORS = torch.tensor([[[2.0, 2.0], [4.0, 2.0]], [[2.0, 3.0], [4.0, 4.0]], [[2.0, 2.0], [3.0, 4.0]]])
NO_BOXES = torch.zeros((0, 4))
NO_ROWS = torch.zeros(0, dtype=torch.int64)
# Sums of the same float32 numbers in another order.
ORDER = 1e-5

Loss = AnchorFreeLoss | AnchorLoss
ANCHOR_FREE = AnchorFreeLoss(strides=STRIDES, classes=CLASSES)
ANCHOR = AnchorLoss(anchors=ANCHORS, strides=STRIDES, classes=CLASSES)
both = pytest.mark.parametrize("loss", [ANCHOR_FREE, ANCHOR], ids=["anchor-free", "anchor"])


def random_outputs(loss: Loss, images: int, *, seed: int = 0) -> list[Tensor]:
    """Raw outputs for images of HEIGHT x WIDTH, leaves of the graph."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(HEIGHT // stride, WIDTH // stride) for stride in STRIDES]
    if isinstance(loss, AnchorLoss):
        shapes = [(images, 2, rows, columns, 5 + loss.classes) for rows, columns in sizes]
    else:
        count = sum(rows * columns for rows, columns in sizes)
        shapes = [(images, 64, count), (images, loss.classes, count)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def random_targets(per_image: list[int], *, seed: int = 1, classes: int = CLASSES) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    count = sum(per_image)
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float32)
    corner = torch.rand((count, 2), generator=generator) * (size - 8)
    end = torch.minimum(corner + 6 + torch.rand((count, 2), generator=generator) * 50, size)
    class_ids = torch.randint(classes, (count,), generator=generator)
    rows = torch.repeat_interleave(torch.tensor(per_image))
    return Targets(torch.cat((corner, end), 1), class_ids, rows, NO_BOXES, NO_ROWS)


def computed(loss: Loss, leaves: list[Tensor], targets: Targets, **options: Any) -> Any:
    outputs: Any = tuple(leaves) if isinstance(loss, AnchorLoss) else AnchorFreeOutputs(*leaves)
    return loss(outputs, targets, height=HEIGHT, width=WIDTH, **options)


@both
@pytest.mark.parametrize("images", [1, 3])
def test_a_batch_without_boxes_teaches_that_there_is_nothing(loss: Loss, images: int) -> None:
    leaves = random_outputs(loss, images)
    value = computed(loss, leaves, random_targets([0] * images))
    value.total.backward()
    places = dict(zip(loss.names, value.parts.tolist(), strict=True))
    silent = {"box", "dfl"} if isinstance(loss, AnchorFreeLoss) else {"box", "cls"}
    for name, part in places.items():
        assert (part == 0) == (name in silent), name
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
    # Every logit that says "object" is pushed down.
    if isinstance(loss, AnchorFreeLoss):
        assert (leaves[1].grad > 0).all()  # type: ignore[operator]
    else:
        assert all((leaf.grad[..., 4] > 0).all() for leaf in leaves)  # type: ignore[index]


@both
def test_images_with_none_one_and_hundreds_of_boxes_go_together(loss: Loss) -> None:
    targets = random_targets([0, 300, 1, 0])
    leaves = random_outputs(loss, 4)
    value = computed(loss, leaves, targets)
    value.total.backward()
    assert value.total.isfinite()
    assert value.total.item() == pytest.approx(4 * value.parts.sum().item(), rel=ORDER)
    assert not value.parts.requires_grad
    assert value.parts.shape == (len(loss.names),)
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


@both
def test_the_order_of_the_boxes_of_an_image_does_not_matter(loss: Loss) -> None:
    """Five boxes far apart: where several share an anchor, YOLOv5's objectness goes by their order."""
    x = torch.tensor([8.0, 32.0, 56.0, 80.0, 104.0])
    boxes = torch.stack((x, x / 2, x + 17, x / 2 + 23), 1)
    targets = Targets(boxes, torch.arange(5), torch.zeros(5, dtype=torch.int64), NO_BOXES, NO_ROWS)
    turned = targets._replace(boxes=boxes.flip(0), class_ids=torch.arange(4, -1, -1))
    leaves = random_outputs(loss, 1)
    first, second = computed(loss, leaves, targets), computed(loss, leaves, turned)
    assert first.total.item() == pytest.approx(second.total.item(), rel=ORDER)


def test_of_objects_at_one_anchor_the_last_gives_the_objectness() -> None:
    leaves = random_outputs(ANCHOR, 1)
    boxes = torch.tensor([[30.0, 30.0, 58.0, 50.0], [34.0, 31.0, 54.0, 49.0]])
    targets = random_targets([2])._replace(boxes=boxes)
    for order in ([0, 1], [1, 0]):
        given = targets._replace(boxes=boxes[order])
        level = ANCHOR.matching(tuple(leaves), given)[0]
        logits = leaves[0].detach()
        places: dict[tuple[int, ...], int] = {}
        keys = torch.stack((level.images, level.anchors, level.rows, level.columns), 1).tolist()
        for number, key in enumerate(keys):
            places[tuple(key)] = number
        assert len(places) < len(keys)
        (gradient,) = torch.autograd.grad(computed(ANCHOR, leaves, given).total, leaves[0])
        cells = (HEIGHT // 8) * (WIDTH // 8)
        gain = ANCHOR.scaled_gains(HEIGHT, WIDTH)[1] * ANCHOR.balance[0] / (2 * cells)
        for key, number in places.items():
            slope = gradient[(*key, 4)].item() / gain
            target = logits[(*key, 4)].sigmoid().item() - slope
            assert target == pytest.approx(overlap_of(logits[key], level, number), abs=1e-4)


def overlap_of(row: Tensor, level: Any, number: int) -> float:
    """What the prediction in a row of logits has in common with the object of a match."""
    chances = row[:4].sigmoid()
    sides = (chances[2:] * 2) ** 2 * ANCHORS[0, level.anchors[number]]
    predicted = xyxy_from_cxcywh(torch.cat((chances[:2] * 2 - 0.5, sides)))
    return max(complete_iou(predicted, xyxy_from_cxcywh(level.offsets[number])).item(), 0.0)


@both
def test_ignored_parts_teach_nothing_but_their_objects(loss: Loss) -> None:
    boxes = torch.tensor([[10.0, 10.0, 50.0, 40.0], [60.0, 50.0, 100.0, 90.0]]).repeat(2, 1)
    without = random_targets([2, 2])._replace(boxes=boxes)
    upper_half = torch.tensor([[0.0, 0.0, float(WIDTH), HEIGHT / 2]])
    targets = without._replace(ignored=upper_half, ignored_rows=torch.tensor([1]))
    leaves = random_outputs(loss, 2)
    kept = object_slopes(loss, torch.autograd.grad(computed(loss, leaves, targets).total, leaves))
    plain = object_slopes(loss, torch.autograd.grad(computed(loss, leaves, without).total, leaves))
    learns, inside = learning(loss, leaves, targets), in_upper_half(loss, leaves, image=1)
    silent = inside & ~learns
    assert silent.any()
    assert (inside & learns).any()
    assert (kept[silent] == 0).all()
    assert (plain[silent] > 0).all()
    assert torch.equal(kept[~silent], plain[~silent])


def object_slopes(loss: Loss, gradients: Any) -> Tensor:
    """Gradients of what says that there is an object, flat: of an anchor-free place the sum over classes."""
    if isinstance(loss, AnchorFreeLoss):
        return gradients[1].sum(1).flatten()  # type: ignore[no-any-return]
    return torch.cat([level[..., 4].flatten() for level in gradients])


def learning(loss: Loss, leaves: list[Tensor], targets: Targets) -> Tensor:
    """Which of them an object is assigned to, flat as above."""
    if isinstance(loss, AnchorFreeLoss):
        found = loss.assignment(AnchorFreeOutputs(*leaves), targets, height=HEIGHT, width=WIDTH)
        learns = torch.zeros(leaves[1].shape[0] * leaves[1].shape[2], dtype=torch.bool)
        learns[found.cells] = True
        return learns
    parts = []
    for leaf, level in zip(leaves, loss.matching(tuple(leaves), targets), strict=True):
        learns = torch.zeros(leaf.shape[:4], dtype=torch.bool)
        learns[level.images, level.anchors, level.rows, level.columns] = True
        parts.append(learns.flatten())
    return torch.cat(parts)


def in_upper_half(loss: Loss, leaves: list[Tensor], *, image: int) -> Tensor:
    """Which of them have their cell's centre in the upper half of one image, flat as above."""
    levels = []
    for stride in STRIDES:
        upper = (torch.arange(HEIGHT // stride) + 0.5) * stride < HEIGHT / 2
        levels.append(upper[:, None].expand(-1, WIDTH // stride))
    images = leaves[0].shape[0]
    if isinstance(loss, AnchorFreeLoss):
        inside = torch.zeros((images, leaves[1].shape[2]), dtype=torch.bool)
        inside[image] = torch.cat([level.flatten() for level in levels])
        return inside.flatten()
    parts = []
    for leaf, level in zip(leaves, levels, strict=True):
        inside = torch.zeros(leaf.shape[:4], dtype=torch.bool)
        inside[image] = level
        parts.append(inside.flatten())
    return torch.cat(parts)


@both
@pytest.mark.parametrize(
    "counts",
    [[3, 5, 2, 7], [0, 0, 4, 1], [0, 0, 0, 0], [6, 0, 0, 0], [9, 2, 3]],
    ids=["even", "one half empty", "all empty", "one object image", "three images on two processes"],
)
def test_two_processes_with_parts_of_a_batch_are_one_with_all_of_it(loss: Loss, counts: list[int]) -> None:
    targets = random_targets(counts)
    leaves = random_outputs(loss, len(counts))
    whole = computed(loss, leaves, targets)
    expected = torch.autograd.grad(whole.total, leaves)

    halves = [(0, 2), (2, len(counts))]
    seen: list[Tensor] = []
    for first, last in halves:
        computed(
            loss, part_of(leaves, first, last), rows_of(targets, first, last), sharing=Sharing(2, _keep(seen))
        )
    joint = seen[0] + seen[1]
    parts = torch.zeros(3)
    summed = [torch.zeros_like(leaf) for leaf in leaves]
    for first, last in halves:
        value = computed(
            loss,
            part_of(leaves, first, last),
            rows_of(targets, first, last),
            sharing=Sharing(2, lambda _: joint.clone()),
        )
        parts += value.parts / 2
        for total, gradient in zip(summed, torch.autograd.grad(2 * value.total, leaves), strict=True):
            total += gradient / 2
    assert torch.allclose(parts, whole.parts, rtol=ORDER, atol=1e-7)
    for total, gradient in zip(summed, expected, strict=True):
        assert torch.allclose(total, gradient, rtol=ORDER, atol=1e-7)


def part_of(leaves: list[Tensor], first: int, last: int) -> list[Tensor]:
    return [leaf[first:last] for leaf in leaves]


def rows_of(targets: Targets, first: int, last: int) -> Targets:
    """The targets of some images of a batch."""
    chosen = (targets.rows >= first) & (targets.rows < last)
    return Targets(
        targets.boxes[chosen], targets.class_ids[chosen], targets.rows[chosen] - first, NO_BOXES, NO_ROWS
    )


def _keep(seen: list[Tensor]) -> Any:
    def total(values: Tensor) -> Tensor:
        assert not values.requires_grad
        seen.append(values.clone())
        return values

    return total


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_give_the_float32_loss_of_their_numbers(
    loss: Loss, dtype: torch.dtype
) -> None:
    targets = random_targets([3, 4])
    halves = [leaf.detach().to(dtype).requires_grad_() for leaf in random_outputs(loss, 2)]
    wide = [leaf.detach().float().requires_grad_() for leaf in halves]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = computed(loss, halves, targets)
    expected = computed(loss, wide, targets)
    assert value.total.dtype == value.parts.dtype == torch.float32
    assert value.total.item() == pytest.approx(expected.total.item(), rel=ORDER)
    value.total.backward()
    expected.total.backward()
    for half, full in zip(halves, wide, strict=True):
        assert half.grad is not None
        assert full.grad is not None
        assert half.grad.dtype == dtype
        # One rounding of the result, half a unit in the last place, and fewer digits near zero.
        info = torch.finfo(dtype)
        assert torch.allclose(half.grad.float(), full.grad, rtol=info.eps, atol=info.tiny)


@both
def test_outputs_that_are_no_numbers_give_no_number_and_no_crash(loss: Loss) -> None:
    leaves = [torch.full_like(leaf, torch.nan).requires_grad_() for leaf in random_outputs(loss, 2)]
    assert computed(loss, leaves, random_targets([3, 4])).total.isnan()


@both
def test_extreme_logits_keep_the_loss_finite(loss: Loss) -> None:
    leaves = [(leaf.detach() * 200).requires_grad_() for leaf in random_outputs(loss, 2)]
    value = computed(loss, leaves, random_targets([3, 4]))
    value.total.backward()
    assert value.total.isfinite()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_one_class_needs_no_class_loss_in_yolov5() -> None:
    loss = AnchorLoss(anchors=ANCHORS, strides=STRIDES, classes=1)
    leaves = random_outputs(loss, 2)
    value = computed(loss, leaves, random_targets([3, 4], classes=1))
    value.total.backward()
    assert value.parts[2] == 0
    assert all(leaf.grad is not None and (leaf.grad[..., 5] == 0).all() for leaf in leaves)


@pytest.mark.parametrize("kept", [None, torch.tensor([1.0, 0.0, 1.0, 1.0])])
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_sparse_cross_entropy_is_the_dense_one(kept: Tensor | None, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn((3, 2, 4), generator=generator) * scale).requires_grad_()
    where, values = torch.tensor([19, 0, 6]), torch.tensor([0.25, 1.0, 0.5])
    dense = torch.zeros(24)
    dense[where] = values
    weight = torch.ones(4) if kept is None else kept
    expected = nn.functional.binary_cross_entropy_with_logits(
        logits, dense.view(3, 2, 4), weight.expand(3, 2, 4), reduction="sum"
    )
    got = sparse_cross_entropy(logits, where, values, kept)
    assert got.item() == pytest.approx(expected.item(), rel=ORDER)
    (slope,) = torch.autograd.grad(3 * got, logits)
    (reference,) = torch.autograd.grad(3 * expected, logits)
    assert torch.allclose(slope, reference, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("yolov5n", AnchorLoss),
        ("yolov5n-akconv", AnchorLoss),
        ("yolov5nu", AnchorFreeLoss),
        ("yolov8n", AnchorFreeLoss),
        ("yolo11n", AnchorFreeLoss),
        ("yolo11n-seam", AnchorFreeLoss),
        ("yolo11n-multiseam", AnchorFreeLoss),
    ],
)
def test_every_family_has_a_loss_that_reads_its_outputs(name: str, kind: type) -> None:
    detector = build(name, classes=3).train()
    loss = loss_for(detector)
    assert type(loss) is kind
    assert (loss.strides, loss.classes) == ((8, 16, 32), 3)
    height, width = max(HEIGHT, detector.minimum_size), max(WIDTH, detector.minimum_size)
    images = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0))
    value = loss(detector(images), random_targets([2, 3], classes=3), height=height, width=width)
    value.total.backward()
    assert value.total.isfinite()
    missing = [key for key, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert loss_for(detector, gains=(1.0, 2.0, 3.0)).gains == (1.0, 2.0, 3.0)


def test_a_head_without_a_loss_is_refused() -> None:
    detector = build("yolov8n", classes=3)

    class Other(type(detector)):  # type: ignore[misc]
        @property
        def head(self) -> nn.Module:
            return nn.Identity()

    detector.__class__ = Other
    with pytest.raises(InputError, match="expected a head of YOLOv5.*got Identity"):
        loss_for(detector)
