"""What a detector returns: the order of anchors, pixels, the best pairs, training mode, sizes it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import lively_detector

from tercelet.contract.errors import InputError
from tercelet.training import Candidates, TopCandidates, build
from tercelet.training.detectors.anchor_free_head import AnchorFreeOutputs, Level

# Both sides compute the same numbers in another order of memory; boxes reach a few hundred pixels.
SCORE_ROUNDING = 1e-6
PIXEL_ROUNDING = 1e-3
# Another batch size takes other convolution kernels; a leak from one image to another is worth whole pixels.
BATCH_SCORES, BATCH_PIXELS = 1e-4, 2e-2
HEIGHT, WIDTH = 224, 256

LIVELY = {
    "yolov5n": {"classes": 5},
    "yolov5nu": {"classes": 1},
    "yolov8n": {"classes": 80},
    "yolo11n": {"classes": 5},
    "yolo11n-seam": {"classes": 5},
    "yolo11n-multiseam": {"classes": 5},
}


@pytest.fixture(scope="module", params=sorted(LIVELY))
def detector(request: pytest.FixtureRequest) -> Any:
    """A detector in eval mode whose outputs depend on the picture."""
    return lively_detector(request.param, **LIVELY[request.param])


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two different pictures of soft noise."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(2, 3, HEIGHT // 8, WIDTH // 8, generator=generator)
    fine = torch.rand(2, 3, HEIGHT, WIDTH, generator=generator)
    return 0.7 * torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH)) + 0.3 * fine


@torch.no_grad()
def test_no_images_give_no_candidates() -> None:
    found = build("yolov8n").eval()(torch.zeros(0, 3, 64, 64))
    assert isinstance(found, Candidates)
    assert found.boxes.shape == (0, 84, 4)


def test_anchor_free_anchors_run_level_by_level_and_row_by_row() -> None:
    head = build("yolo11n", classes=2).head
    levels = [Level(torch.zeros(1, 64, h, w), torch.zeros(1, 2, h, w)) for h, w in ((8, 4), (4, 2), (2, 1))]
    boxes, scores = head.decode(levels)
    centres = [
        ((x + 0.5) * s, (y + 0.5) * s)
        for s, h, w in ((8, 8, 4), (16, 4, 2), (32, 2, 1))
        for y in range(h)
        for x in range(w)
    ]
    assert torch.allclose((boxes[0, :, :2] + boxes[0, :, 2:]) / 2, torch.tensor(centres))
    # All bins alike: the expectation is 7.5 strides to every side.
    assert torch.allclose(boxes[0, 0], torch.tensor([4 - 60.0, 4 - 60, 4 + 60, 4 + 60]))
    assert torch.equal(scores, torch.full((1, 42, 2), 0.5))


def test_yolov5_anchors_run_anchor_major_inside_a_level_and_scores_are_products() -> None:
    anchors = [[[10.0, 20.0], [30.0, 40.0]], [[50.0, 60.0], [70.0, 80.0]], [[90.0, 100.0], [110.0, 120.0]]]
    head = build("yolov5n", classes=3, anchors=anchors).head
    levels = [torch.zeros(1, 2, 8, h, w) for h, w in ((8, 4), (4, 2), (2, 1))]
    boxes, scores = head.decode(levels)
    rows = [
        ((x + 0.5) * s, (y + 0.5) * s, *size)
        for sizes, s, h, w in zip(anchors, (8, 16, 32), (8, 4, 2), (4, 2, 1), strict=True)
        for size in sizes
        for y in range(h)
        for x in range(w)
    ]
    want = torch.tensor(rows)
    assert torch.allclose((boxes[0, :, :2] + boxes[0, :, 2:]) / 2, want[:, :2])
    assert torch.allclose(boxes[0, :, 2:] - boxes[0, :, :2], want[:, 2:])
    assert torch.equal(scores, torch.full((1, 84, 3), 0.25))


@torch.no_grad()
def test_top_candidates_are_the_best_pairs_of_the_full_result(detector: Any, images: torch.Tensor) -> None:
    full = detector(images)
    for count in (1, 500):
        top = detector.top_candidates(images, count)
        assert isinstance(top, TopCandidates)
        assert (top.boxes.shape, top.scores.shape) == ((2, count, 4), (2, count))
        assert top.class_ids.dtype == torch.int64
        assert (top.scores[:, :-1] >= top.scores[:, 1:]).all()
        best = full.scores.flatten(1).topk(count, dim=1).values
        assert torch.allclose(top.scores, best, atol=SCORE_ROUNDING, rtol=0)
        for image in range(2):
            pairs = anchors_of(top, full, image) * detector.classes + top.class_ids[image]
            assert len(pairs.unique()) == count


def anchors_of(top: TopCandidates, full: Candidates, image: int) -> torch.Tensor:
    """(K,) the anchor of the full result that each pair came from; fails where none has its box and score."""
    classes = top.class_ids[image]
    apart = (top.boxes[image][:, None] - full.boxes[image][None]).abs().amax(2)
    differ = (top.scores[image][:, None] - full.scores[image][:, classes].T).abs()
    fits = (apart <= PIXEL_ROUNDING) & (differ <= SCORE_ROUNDING)
    assert fits.any(1).all()
    return apart.masked_fill(~fits, torch.inf).argmin(1)


@pytest.mark.parametrize("name", ["yolov5n", "yolo11n"])
@torch.no_grad()
def test_top_candidates_can_be_all_pairs_there_are(name: str) -> None:
    model = build(name, classes=2).eval()
    image = torch.rand(1, 3, 64, 32)
    full = model(image)
    pairs = model.anchor_count(64, 32) * 2
    top = model.top_candidates(image, pairs)
    assert torch.allclose(
        top.scores, full.scores.flatten(1).sort(descending=True).values, atol=SCORE_ROUNDING
    )


@torch.no_grad()
def test_images_of_a_batch_do_not_influence_each_other(detector: Any, images: torch.Tensor) -> None:
    together = detector(images)
    for index in range(2):
        alone = detector(images[index : index + 1])
        assert torch.allclose(together.boxes[index], alone.boxes[0], atol=BATCH_PIXELS, rtol=0)
        assert torch.allclose(together.scores[index], alone.scores[0], atol=BATCH_SCORES, rtol=0)


def test_in_training_mode_the_raw_outputs_come_back_with_gradients() -> None:
    image = torch.rand(2, 3, 64, 64)
    raw = build("yolo11n", classes=4)(image)
    assert isinstance(raw, AnchorFreeOutputs)
    assert (raw.boxes_dfl.shape, raw.scores_logit.shape) == ((2, 64, 84), (2, 4, 84))
    assert raw.boxes_dfl.requires_grad
    levels = build("yolov5n", classes=4)(image)
    assert [tuple(level.shape) for level in levels] == [(2, 3, s, s, 9) for s in (8, 4, 2)]


@pytest.mark.parametrize(("name", "prior"), [("yolov8n", 5 / 80 / 80**2), ("yolov5n", 8 / 80**2 * 0.6 / 79)])
@torch.no_grad()
def test_a_fresh_detector_expects_few_objects(name: str, prior: float) -> None:
    # On an empty picture the trunk gives next to nothing, and the biases decide.
    scores = build(name).eval()(torch.zeros(1, 3, 64, 64)).scores[:, :64]
    assert prior / 3 < float(scores.mean()) < prior * 3


@pytest.mark.parametrize(
    ("name", "height", "width", "message"),
    [
        (
            "yolov5n",
            100,
            64,
            r"yolov5n: expected .* multiples of 32, got 100x64 \(height x width\); use 128x64",
        ),
        ("yolo11n", 0, 64, r"yolo11n: expected at least 32 pixels per side, got 0x64"),
        (
            "yolo11n-multiseam",
            192,
            224,
            r"at least 224 pixels per side, got 192x224 .*; use .* or yolo11n-seam",
        ),
        ("yolo11n-multiseam", 224, 192, r"at least 224 pixels per side, got 224x192"),
        ("yolo11n-multiseam", 224, 250, r"multiples of 32, got 224x250 \(height x width\); use 224x256"),
    ],
)
def test_sizes_that_cannot_be_taken_are_refused(name: str, height: int, width: int, message: str) -> None:
    model = build(name, classes=1).eval()
    with pytest.raises(InputError, match=message):
        model.check_size(height, width)
    with pytest.raises(InputError, match=message):
        model(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)],
    ids=["no batch", "grey", "bytes"],
)
def test_images_of_another_kind_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"expected images \(B, 3, H, W\) of floats in 0..1, got \("):
        build("yolov8n", classes=1)(images)


def test_multiseam_trains_on_one_image_only_where_its_patches_vary() -> None:
    model = build("yolo11n-multiseam", classes=1)
    with pytest.raises(InputError, match="expected two images or more to train on at 256x256, got one"):
        model(torch.rand(1, 3, 256, 256))
    with torch.no_grad():
        assert model(torch.rand(2, 3, 224, 224)).scores_logit.shape == (2, 1, 1029)
        assert model(torch.rand(1, 3, 448, 224)).scores_logit.shape == (1, 1, 2058)


@torch.no_grad()
def test_maps_that_nobody_reads_any_more_are_let_go(images: torch.Tensor) -> None:
    model = build("yolo11n").eval()
    kept = model._run(images, keep_all=False)
    assert set(kept) == set(model.head_sources)
    assert len(model.layer_outputs(images)) == 23
