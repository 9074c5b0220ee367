"""Training samples: boxes follow their pixels, whoever makes a sample makes the same, what is ignored."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.geometry import intersection_area
from tercelet.contract.preprocess import Preprocess, fill_canvas
from tercelet.evaluation.datasets import Dataset, open_dataset
from tercelet.evaluation.datasets.dataset import DatasetImage, image_with_boxes
from tercelet.runtime.vision import write_image
from tercelet.training.detector_training.samples import (
    Augmentation,
    Sample,
    SampleSource,
    Windows,
    validation_views,
)
from tercelet.training.detector_training.samples import frames as frame_caches

NOTHING = np.zeros((0, 4))
STILL = Augmentation.none()
# Half a pixel of interpolation on either side, and the mixed pixels at an edge that colour does not count.
FOUND_WITHIN_PX = 1.6
COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def dataset_of(*images: DatasetImage, categories: tuple[str, ...] = ("red", "green", "blue")) -> Dataset:
    return Dataset(Path("made"), "coco", "coco", categories, images)


def frame_with(
    folder: Path,
    number: int,
    boxes: NDArray[np.float64],
    *,
    size: tuple[int, int] = (192, 256),
    ignored_regions: NDArray[np.float64] = NOTHING,
    ignore: NDArray[np.bool_] | None = None,
    ground: int = 0,
) -> DatasetImage:
    """A frame, (height, width), with one rectangle a box: the first red, then green, then blue, in RGB."""
    picture = np.full((*size, 3), ground, np.uint8)
    for box, color in zip(boxes.astype(int), COLORS, strict=False):
        picture[box[1] : box[3], box[0] : box[2]] = color[::-1]
    path = folder / f"{number:03}.png"
    write_image(path, picture)
    return image_with_boxes(
        number,
        path,
        (size[1], size[0]),
        boxes=boxes,
        class_ids=np.arange(len(boxes)),
        ignore=ignore,
        ignored_regions=ignored_regions,
    )


@pytest.fixture
def spots(tmp_path: Path) -> Dataset:
    """Four frames, each with a red, a green and a blue rectangle that lie apart."""
    shifts = np.array([[0, 0], [12, 8], [30, 20], [5, 40]])
    first = np.array([[10, 10, 40, 50], [90, 30, 140, 60], [60, 90, 100, 120]], np.float64)
    boxes = [first + np.tile(shift, 2) for shift in shifts]
    return dataset_of(*(frame_with(tmp_path, number, each) for number, each in enumerate(boxes)))


def box_of_color(image: NDArray[np.uint8], color: int, near: NDArray[np.float32]) -> NDArray[np.float64]:
    """xyxy of the connected pixels of one colour that lie in the box."""
    channels = image.astype(int)
    others = np.delete(channels, color, axis=2).max(2)
    mask = (channels[..., color] - others > 100).astype(np.uint8)
    _, labels = cv2.connectedComponents(mask)
    x, y = int((near[0] + near[2]) / 2), int((near[1] + near[3]) / 2)
    rows, columns = np.nonzero(labels == labels[y, x])
    assert labels[y, x], f"no pixel of colour {color} in the middle of {near}"
    return np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), np.float64)


def assert_boxes_on_pixels(sample: Sample) -> int:
    """The number of boxes compared: those that adjoin none of their colour, as pieces of a mosaic may."""
    grown = sample.boxes + np.array((-3, -3, 3, 3), np.float32)
    near = (intersection_area(grown, grown) > 0) & (sample.class_ids[:, None] == sample.class_ids)
    alone = (near.sum(1) == 1) & ~(intersection_area(grown, sample.ignored) > 0).any(1)
    for box, class_id in zip(sample.boxes[alone], sample.class_ids[alone], strict=True):
        found = box_of_color(sample.image, int(class_id), box)
        assert np.abs(found - box).max() < FOUND_WITHIN_PX, (found, box)
    return int(alone.sum())


def assert_same(first: Sample, second: Sample) -> None:
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.class_ids, second.class_ids)
    np.testing.assert_array_equal(first.ignored, second.ignored)


def test_a_frame_without_objects_gives_samples_without_boxes(tmp_path: Path) -> None:
    data = dataset_of(frame_with(tmp_path, 0, NOTHING))
    for windows in (None, Windows()):
        source = SampleSource(data, canvas=(64, 96), windows=windows)
        sample = source.sample(0, 0)
        assert sample.image.shape == (64, 96, 3)
        assert sample.boxes.shape == (0, 4)
        assert sample.ignored.shape == (0, 4)
        assert sample.boxes.dtype == np.float32
        assert sample.class_ids.dtype == np.int64


def test_no_frames_are_refused() -> None:
    with pytest.raises(InputError, match="expected at least one frame"):
        SampleSource(dataset_of(), canvas=(64, 64))


# Colours that are changed but told apart.
MILD = (0.01, 0.2, 0.2)
LIVELY = Augmentation(mosaic=0, flip_vertical=0.5, hsv=MILD)
CASES: dict[str, tuple[Augmentation, Windows | None]] = {
    "letterboxed": (STILL, None),
    "resized, shifted and mirrored": (LIVELY, None),
    "mosaic of frames": (Augmentation(hsv=MILD, flip_vertical=0.5), None),
    "windows": (LIVELY, Windows(scale=(0.5, 3))),
    "mosaic of windows": (Augmentation(hsv=MILD), Windows(scale=(0.5, 2))),
    "mosaic of both": (Augmentation(mosaic=0.7, hsv=MILD), Windows(share=0.5, scale=(0.4, 2))),
    "shifted far and resized much": (Augmentation(0.5, hsv=MILD, translate=0.3, scale=0.9), None),
}


@pytest.mark.parametrize("name", CASES)
def test_boxes_follow_their_pixels(spots: Dataset, name: str) -> None:
    augmentation, windows = CASES[name]
    source = SampleSource(spots, canvas=(160, 192), augmentation=augmentation, windows=windows, seed=3)
    compared = 0
    for epoch in range(12):
        for index in range(len(source)):
            compared += assert_boxes_on_pixels(source.sample(epoch, index))
    assert compared > 60


def test_boxes_of_turned_and_slanted_frames_are_the_upright_ones_around_them(spots: Dataset) -> None:
    augmentation = Augmentation(mosaic=0, hsv=(0, 0, 0), degrees=30, shear=10, translate=0, scale=0.2)
    source = SampleSource(spots, canvas=(400, 400), augmentation=augmentation, seed=1)
    compared = 0
    for epoch in range(10):
        sample = source.sample(epoch, 0)
        # What touches the border may have lost a corner, and with it the pixel that the box would end at.
        inside = ((sample.boxes > 0) & (sample.boxes < 400)).all(1)
        for box, class_id in zip(sample.boxes[inside], sample.class_ids[inside], strict=True):
            found = box_of_color(sample.image, int(class_id), box)
            # Sharp corners vanish into the ground before their last pixel.
            assert np.abs(found - box).max() < FOUND_WITHIN_PX + 1
            compared += 1
    assert compared >= 20


def test_mixup_shows_two_pictures_with_the_boxes_of_both(spots: Dataset) -> None:
    augmentation = Augmentation(mosaic=0, mixup=1, hsv=(0, 0, 0), translate=0, scale=0, flip_horizontal=0)
    source = SampleSource(spots, canvas=(192, 256), augmentation=augmentation, seed=2)
    samples = [source.sample(0, index) for index in range(4)]
    assert [len(sample.boxes) for sample in samples] == [6] * 4
    # Full red or none in either picture: anything between is of both.
    reds = np.stack([sample.image[..., 0] for sample in samples])
    assert ((reds > 60) & (reds < 195)).any()


@pytest.mark.parametrize("size", [(192, 256), (37, 91), (500, 333), (8, 8)])
def test_a_whole_frame_lies_on_the_canvas_as_the_runtime_lays_it(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    write_image(tmp_path / "frame.png", picture)
    box = np.array([[1.0, 1.0, size[1] - 1.0, size[0] - 1.0]])
    image = image_with_boxes(0, tmp_path / "frame.png", size[::-1], boxes=box, class_ids=np.zeros(1))
    sample = SampleSource(dataset_of(image), canvas=(128, 160), augmentation=STILL).sample(0, 0)
    canvas = np.empty((128, 160, 3), np.uint8)

    def resize_into(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        target[...] = cv2.resize(source, target.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    place = fill_canvas(
        canvas, picture, Preprocess(128, 160, color="RGB"), color="BGR", resize_into=resize_into
    )
    np.testing.assert_array_equal(sample.image, canvas)
    np.testing.assert_allclose(sample.boxes, place.to_canvas(box), rtol=1e-6)
    (view,) = validation_views(dataset_of(image), canvas=(128, 160))
    np.testing.assert_array_equal(view.draw(), canvas)
    np.testing.assert_allclose(view.boxes, sample.boxes, rtol=1e-6)


def test_grey_pictures_stay_grey_whatever_is_done_to_their_colours(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "grey.png"), picture)
    image = image_with_boxes(0, tmp_path / "grey.png", (80, 60), boxes=NOTHING, class_ids=np.zeros(0))
    source = SampleSource(dataset_of(image), canvas=(64, 64), augmentation=Augmentation(mosaic=0))
    drawn = source.sample(0, 0).image
    assert drawn.std() > 10
    assert (drawn == drawn[..., :1]).all()


def test_a_sample_depends_on_seed_epoch_and_number_alone(spots: Dataset) -> None:
    windows = Windows(share=0.5, per_frame=2)
    source = SampleSource(spots, canvas=(96, 96), windows=windows, seed=7)
    late = source.sample(5, 6)
    for index in (0, 3, 6):
        source.sample(1, index)
    assert_same(source.sample(5, 6), late)
    assert_same(SampleSource(spots, canvas=(96, 96), windows=windows, seed=7).sample(5, 6), late)
    others = (
        source.sample(5, 5),
        source.sample(4, 6),
        SampleSource(spots, canvas=(96, 96), windows=windows, seed=8).sample(5, 6),
        source.sample(5, 6, mosaic=False),
    )
    assert all(not np.array_equal(other.image, late.image) for other in others)
    assert len(source) == 8
    with pytest.raises(IndexError, match="from 0 to 7, got 8"):
        source.sample(0, 8)


def test_without_mosaic_one_frame_is_shown(spots: Dataset) -> None:
    source = SampleSource(spots, canvas=(192, 256), augmentation=Augmentation(scale=0, translate=0))
    assert [len(source.sample(0, index, mosaic=False).boxes) for index in range(4)] == [3] * 4
    assert max(len(source.sample(epoch, 0).boxes) for epoch in range(5)) > 3


def test_a_frame_smaller_than_its_window_lies_in_it_whole(tmp_path: Path) -> None:
    data = dataset_of(frame_with(tmp_path, 0, np.array([[2.0, 2.0, 18.0, 14.0]]), size=(16, 20)))
    windows = Windows(scale=(1, 1), centred=0.5)
    source = SampleSource(data, canvas=(64, 64), augmentation=STILL, windows=windows)
    corners = set()
    for epoch in range(10):
        sample = source.sample(epoch, 0)
        assert assert_boxes_on_pixels(sample) == 1
        np.testing.assert_allclose(sample.boxes[0, 2:] - sample.boxes[0, :2], (16, 12), atol=1e-4)
        assert (sample.image == 114).all(2).sum() > 64 * 64 - 20 * 16 - 80
        corners.add(tuple(sample.boxes[0, :2]))
    assert len(corners) > 5


def test_ignored_boxes_regions_and_unknown_categories_become_ignored(tmp_path: Path) -> None:
    boxes = np.array([[10, 10, 40, 50], [90, 30, 140, 60], [60, 90, 100, 120]], np.float64)
    region = np.array([[200.0, 100.0, 300.0, 150.0]])
    image = frame_with(tmp_path, 0, boxes, ignored_regions=region, ignore=np.array([True, False, False]))
    source = SampleSource(dataset_of(image), canvas=(192, 256), augmentation=STILL, classes=[0, -1, 7])
    sample = source.sample(0, 0)
    assert sample.class_ids.tolist() == [7]
    np.testing.assert_array_equal(sample.boxes, boxes[2:])
    np.testing.assert_array_equal(sample.ignored, [*boxes[:2], [200, 100, 256, 150]])


def test_data_sets_are_joined_with_a_mapping_each(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    box = np.array([[10.0, 10.0, 40.0, 50.0]])
    first = dataset_of(frame_with(tmp_path / "a", 0, box), categories=("red",))
    second = dataset_of(frame_with(tmp_path / "b", 0, box, size=(300, 200)), categories=("rouge",))
    with pytest.raises(InputError, match="give a mapping of classes for each"):
        SampleSource((first, second), canvas=(64, 64))
    source = SampleSource((first, second), canvas=(64, 64), classes=([0], [1]), augmentation=STILL)
    assert [source.sample(0, index).class_ids.tolist() for index in range(2)] == [[0], [1]]
    with pytest.raises(InputError, match="one mapping a data set, 2, got 1"):
        SampleSource((first, second), canvas=(64, 64), classes=([0],))
    with pytest.raises(InputError, match="each of its 1 categories"):
        SampleSource(first, canvas=(64, 64), classes=[0, 1])


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_cached_frames_give_the_samples_of_uncached_ones(
    spots: Dataset, tmp_path: Path, cache: frame_caches.CacheName
) -> None:
    folder = tmp_path / "decoded" if cache == "disk" else None
    plain = SampleSource(spots, canvas=(96, 96))
    cached = SampleSource(spots, canvas=(96, 96), cache=cache, cache_folder=folder)
    for epoch in range(2):
        for index in range(4):
            assert_same(cached.sample(epoch, index), plain.sample(epoch, index))


def test_the_disk_cache_is_taken_up_again_until_a_picture_changes(spots: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "decoded"
    first = frame_caches.open_frames(spots.images, cache="disk", folder=folder)
    before = np.array(first[0])
    (file,) = folder.iterdir()
    kept = file.stat().st_mtime_ns
    again = frame_caches.open_frames(spots.images, cache="disk", folder=folder)
    np.testing.assert_array_equal(again[0], before)
    assert file.stat().st_mtime_ns == kept
    write_image(spots.images[0].path, np.full((192, 256, 3), 9, np.uint8))
    anew = frame_caches.open_frames(spots.images, cache="disk", folder=folder)
    assert (anew[0] == 9).all()
    assert len(list(folder.iterdir())) == 1
    next(folder.iterdir()).write_bytes(b"broken")
    assert (frame_caches.open_frames(spots.images, cache="disk", folder=folder)[0] == 9).all()


def test_a_cache_larger_than_memory_is_refused_with_its_size(
    spots: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_caches, "_free_memory", lambda: 2**17)
    with pytest.raises(InputError, match=r"take 0\.00 GiB.*70%.*cache on disk"):
        SampleSource(spots, canvas=(64, 64), cache="ram")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canvas": (4, 64)}, "at least 8 pixels, got 4x64"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"cache": "tape"}, "cache: expected one of off, ram, disk"),
        ({"cache": "disk"}, "cache_folder: expected with the cache on disk"),
        ({"cache_folder": "x"}, "cache_folder: expected with the cache on disk"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    spots: Dataset, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SampleSource(spots, **{"canvas": (64, 64), **options})  # type: ignore[arg-type]


def test_validation_windows_are_the_same_every_time_and_hold_objects(shared: Path) -> None:
    data = open_dataset(shared / "data" / "visdrone")
    windows = Windows(scale=(0.5, 2))
    views = validation_views(data, canvas=(320, 320), windows=windows, per_frame=3)
    again = validation_views(data, canvas=(320, 320), windows=windows, per_frame=3)
    assert len(data.images) < len(views) <= 3 * len(data.images)
    for view, other in zip(views, again, strict=True):
        assert len(view.boxes) > 0
        np.testing.assert_array_equal(view.boxes, other.boxes)
    np.testing.assert_array_equal(views[5].draw(), again[5].draw())
    for view in views:
        assert (view.boxes >= 0).all()
        assert (view.boxes <= 320).all()


def test_validation_windows_show_the_pixels_of_their_boxes(spots: Dataset) -> None:
    views = validation_views(spots, canvas=(96, 96), windows=Windows(scale=(1, 1)), per_frame=9)
    compared = 0
    for view in views:
        sample = Sample(
            view.draw(), view.boxes.astype(np.float32), view.class_ids, NOTHING.astype(np.float32)
        )
        compared += assert_boxes_on_pixels(sample)
    assert compared >= 12


def test_windows_of_frames_without_objects_cannot_be_validated_on(tmp_path: Path) -> None:
    data = dataset_of(frame_with(tmp_path, 0, NOTHING))
    with pytest.raises(InputError, match="expected an object in at least one of 1 frames"):
        validation_views(data, canvas=(64, 64), windows=Windows())
    assert len(validation_views(data, canvas=(64, 64))) == 1
