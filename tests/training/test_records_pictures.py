"""Sheets of pictures: sizes, and that every colour is where it belongs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.labels import color_for
from tercelet.training.detector_training.records import PredictedView, save_predictions, save_samples
from tercelet.training.detector_training.targets import Batch, Targets

LABELS = ("car", "bus", "van")
GROUND = (90, 60, 120)  # RGB of the canvases
GAP = 8
NO_BOXES = np.zeros((0, 4), np.float32)
NO_IDS = np.zeros(0, np.int64)


def make_batch(
    rows: list[tuple[float, ...]],
    *,
    count: int = 1,
    size: tuple[int, int] = (96, 96),
    ignored: list[tuple[float, ...]] | None = None,
) -> Batch:
    """rows: x1 y1 x2 y2 class image; ignored: x1 y1 x2 y2 image. size: (height, width)."""
    table, parts = (torch.tensor(rows).reshape(-1, 6), torch.tensor(ignored or []).reshape(-1, 5))
    targets = Targets(table[:, :4], table[:, 4].long(), table[:, 5].long(), parts[:, :4], parts[:, 4].long())
    images = torch.tensor(GROUND, dtype=torch.uint8)[None, :, None, None]
    return Batch(images.repeat(count, 1, *size), targets)


def read(path: Path) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return picture


def test_an_empty_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.png: expected at least one picture to show, got none"):
        save_samples(make_batch([], count=0), tmp_path / "a.png", labels=LABELS)


def test_images_without_boxes_are_shown_as_they_are_with_no_legend(tmp_path: Path) -> None:
    sheet = read(save_samples(make_batch([], count=3), tmp_path / "new" / "a.png", labels=LABELS))
    assert sheet.shape == (2 * 480 + 3 * GAP, 2 * 480 + 3 * GAP, 3)
    for top, left in ((GAP, GAP), (GAP, 488 + GAP), (488 + GAP, GAP)):
        assert (sheet[top : top + 480, left : left + 480] == GROUND[::-1]).all()
    assert not (sheet[488 + GAP :, 488 + GAP :] == GROUND[::-1]).all(axis=2).any()


def test_a_box_is_one_pixel_thin_in_the_colour_of_its_class_around_its_own_pixels(tmp_path: Path) -> None:
    batch = make_batch([(20, 30, 60, 50, 1, 1)], count=2)
    sheet = read(save_samples(batch, tmp_path / "a.png", labels=LABELS))
    for number, left in enumerate((GAP, 488 + GAP)):
        tile = sheet[GAP : GAP + 480, left : left + 480]
        is_box = (tile == color_for(1)).all(axis=2)
        if number == 0:
            assert not is_box.any()
            continue
        # Five times as large: columns 100 to 299, rows 150 to 249; the label stands above.
        below = np.argwhere(is_box[150:]) + np.array((150, 0))
        assert below.min(axis=0).tolist() == [150, 100]
        assert below.max(axis=0).tolist() == [249, 299]
        assert is_box[249, 100:300].all()
        assert (tile[151:249, 101:299] == GROUND[::-1]).all()


def test_each_image_gets_its_own_boxes(tmp_path: Path) -> None:
    batch = make_batch([(10, 40, 30, 60, 0, 0), (10, 40, 30, 60, 1, 2), (50, 40, 70, 60, 2, 2)], count=4)
    sheet = read(save_samples(batch, tmp_path / "a.png", labels=LABELS))
    seen = []
    for number in range(4):
        top, left = GAP + number // 2 * 488, GAP + number % 2 * 488
        tile = sheet[top : top + 480, left : left + 480]
        seen.append([k for k in range(3) if (tile == color_for(k)).all(axis=2).any()])
    assert seen == [[0], [], [1, 2], []]


def test_ignored_parts_are_crossed_out_in_grey(tmp_path: Path) -> None:
    batch = make_batch([], ignored=[(10, 10, 30, 30, 0)])
    tile = read(save_samples(batch, tmp_path / "a.png", labels=LABELS))[GAP:, GAP:]
    is_grey = (tile == (205, 205, 205)).all(axis=2)
    assert is_grey[50, 50:150].all()
    assert is_grey[100, 100] or is_grey[99, 99]
    assert not is_grey[160:].any()


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((96, 192), (240, 480)),
        ((640, 640), (640, 640)),
        ((1280, 640), (960, 480)),
        ((32, 32), (256, 256)),
    ],
)
def test_small_canvases_are_enlarged_and_large_ones_made_smaller(
    tmp_path: Path, size: tuple[int, int], tile: tuple[int, int]
) -> None:
    sheet = read(save_samples(make_batch([], size=size), tmp_path / "a.png", labels=LABELS))
    assert sheet.shape[:2] == (tile[0] + 2 * GAP, tile[1] + 2 * GAP)


def test_no_more_than_the_limit_is_shown(tmp_path: Path) -> None:
    batch = make_batch([(10, 40, 30, 60, 0, 5)], count=8)
    sheet = read(save_samples(batch, tmp_path / "a.png", labels=LABELS, limit=4))
    assert sheet.shape == (2 * 488 + GAP, 2 * 488 + GAP, 3)
    assert not (sheet == color_for(0)).all(axis=2).any()


def test_among_many_boxes_words_give_way_to_the_legend(tmp_path: Path) -> None:
    few = [
        (5.0 + 12 * (i % 7), 40.0 + 12 * (i // 7), 10.0 + 12 * (i % 7), 45.0 + 12 * (i // 7), 1, 0)
        for i in range(8)
    ]
    many = few * 4
    areas = []
    for rows in (few, many):
        sheet = read(save_samples(make_batch(rows), tmp_path / "a.png", labels=LABELS))
        is_box = (sheet == color_for(1)).all(axis=2)
        areas.append(np.count_nonzero(is_box[: 480 + GAP]))
        assert is_box[480 + 2 * GAP :].sum() > 200  # the legend
    assert areas[1] == 8 * (4 * 24)  # outlines of 25 x 25 pixels alone, four on top of one another
    assert areas[0] > areas[1] + 8 * 200


def test_labels_at_the_border_stay_on_the_picture(tmp_path: Path) -> None:
    batch = make_batch([(0, 0, 8, 8, 1, 0), (90, 90, 96, 96, 0, 0)])
    tile = read(save_samples(batch, tmp_path / "a.png", labels=LABELS))[GAP : GAP + 480, GAP : GAP + 480]
    for class_id in (0, 1):
        # Outline and a field of at least 20 x 10 pixels around the words.
        assert np.count_nonzero((tile == color_for(class_id)).all(axis=2)) > 160 + 150


def test_a_class_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="class 3: expected one of 3 labels; hand in all labels"):
        save_samples(make_batch([(0, 0, 8, 8, 3, 0)]), tmp_path / "a.png", labels=LABELS)
    assert not (tmp_path / "a.png").exists()


VIEW = PredictedView(
    image=np.full((96, 96, 3), GROUND, np.uint8),
    boxes=np.float32([[20, 30, 60, 50]]),
    class_ids=np.array([1]),
    found_boxes=np.float32([[22, 32, 62, 52], [0, 70, 20, 90]]),
    scores=np.float32([0.9, 0.2]),
    found_class_ids=np.array([1, 2]),
)


def test_predictions_of_no_view_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one picture to show, got none"):
        save_predictions([], tmp_path / "a.png", labels=LABELS)


def test_a_view_with_nothing_on_it_and_nothing_found_is_shown_twice(tmp_path: Path) -> None:
    nothing = replace(
        VIEW,
        boxes=NO_BOXES,
        class_ids=NO_IDS,
        found_boxes=NO_BOXES,
        scores=NO_IDS * 1.0,
        found_class_ids=NO_IDS,
    )
    sheet = read(save_predictions([nothing], tmp_path / "a.png", labels=LABELS))
    for left in (GAP, GAP + 482):
        assert (sheet[GAP : GAP + 480, left : left + 480] == GROUND[::-1]).all()


@pytest.mark.parametrize(("score", "others"), [(0.25, 0), (0.1, 1)])
def test_truth_stands_left_and_what_was_found_above_the_score_right(
    tmp_path: Path, score: float, others: int
) -> None:
    sheet = read(save_predictions([VIEW], tmp_path / "a.png", labels=LABELS, score=score))
    left, right = (sheet[GAP : GAP + 480, start : start + 480] for start in (GAP, GAP + 482))
    for tile, bottom in ((left, 249), (right, 259)):
        assert np.argwhere((tile == color_for(1)).all(axis=2)).max(axis=0)[0] == bottom
    assert not (left == color_for(2)).all(axis=2).any()
    assert (right == color_for(2)).all(axis=2).any() == bool(others)


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (3, 1)), (4, (2, 2)), (20, (4, 2))])
def test_views_lie_in_one_or_two_columns(tmp_path: Path, count: int, shape: tuple[int, int]) -> None:
    sheet = read(save_predictions([VIEW] * count, tmp_path / "a.png", labels=LABELS))
    assert sheet.shape[1] == shape[1] * (962 + GAP) + GAP
    assert sheet.shape[0] == shape[0] * (480 + GAP) + GAP + 26
