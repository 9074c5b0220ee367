"""Batches of samples: the same from any number of workers and processes, every sample once an epoch."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import Dataset
from tercelet.evaluation.datasets.dataset import image_with_boxes
from tercelet.runtime.vision import write_image
from tercelet.training.detector_training.samples import (
    EpochSampler,
    Sample,
    SampleSource,
    Windows,
    collated,
    loader,
)
from tercelet.training.detector_training.targets import Batch


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Five frames of noise with none, one, two, ... boxes."""
    generator = np.random.default_rng(0)
    images = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        write_image(path, generator.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        corner = generator.uniform(0, 30, (number, 2))
        boxes = np.concatenate((corner, corner + generator.uniform(5, 30, (number, 2))), axis=1)
        images.append(image_with_boxes(number, path, (80, 60), boxes=boxes, class_ids=np.arange(number)))
    return Dataset(Path("made"), "coco", "coco", tuple("abcde"), tuple(images))


def assert_same(first: Batch, second: Batch) -> None:
    assert torch.equal(first.images, second.images)
    assert all(map(torch.equal, first.targets, second.targets))


def test_a_batch_without_objects_has_empty_targets() -> None:
    nothing = np.zeros((0, 4), np.float32)
    sample = Sample(np.zeros((8, 16, 3), np.uint8), nothing, np.zeros(0, np.int64), nothing)
    images, targets = collated([sample, sample])
    assert images.shape == (2, 3, 8, 16)
    assert [tuple(part.shape) for part in targets] == [(0, 4), (0,), (0,), (0, 4), (0,)]
    assert [part.dtype for part in targets] == [
        torch.float32,
        torch.int64,
        torch.int64,
        torch.float32,
        torch.int64,
    ]


def test_a_batch_holds_its_samples_in_order(data: Dataset) -> None:
    source = SampleSource(data, canvas=(40, 48), windows=Windows(share=0.5))
    samples = [source.sample(0, index) for index in range(5)]
    images, targets = collated(samples)
    assert images.is_contiguous()
    assert images.dtype == torch.uint8
    for row, sample in enumerate(samples):
        np.testing.assert_array_equal(images[row].permute(1, 2, 0).numpy(), sample.image)
        mine = targets.rows == row
        np.testing.assert_array_equal(targets.boxes[mine].numpy(), sample.boxes)
        np.testing.assert_array_equal(targets.class_ids[mine].numpy(), sample.class_ids)
        np.testing.assert_array_equal(targets.ignored[targets.ignored_rows == row].numpy(), sample.ignored)
    assert (targets.rows.diff() >= 0).all()


@pytest.mark.parametrize("cache", ["off", "ram", "disk"])
def test_workers_and_caches_change_nothing(data: Dataset, tmp_path: Path, cache: str) -> None:
    folder = tmp_path / "decoded" if cache == "disk" else None
    plain = loader(SampleSource(data, canvas=(40, 48), seed=4), batch=2, drop_last=False)
    source = SampleSource(data, canvas=(40, 48), seed=4, cache=cache, cache_folder=folder)  # type: ignore[arg-type]
    busy = loader(source, batch=2, workers=2, drop_last=False)
    assert len(busy) == len(plain) == 3
    for epoch, mosaic in ((0, True), (1, True), (2, False)):
        pairs = list(
            itertools.zip_longest(plain.epoch(epoch, mosaic=mosaic), busy.epoch(epoch, mosaic=mosaic))
        )
        assert [len(batch.images) for batch, _ in pairs] == [2, 2, 1]
        for first, second in pairs:
            assert_same(first, second)


def test_an_epoch_can_be_entered_in_its_middle(data: Dataset) -> None:
    batches = loader(SampleSource(data, canvas=(40, 48)), batch=2)
    whole = list(batches.epoch(3))
    (last,) = batches.epoch(3, first=1)
    assert_same(last, whole[1])


def test_a_source_can_be_sent_to_another_process(data: Dataset, tmp_path: Path) -> None:
    source = SampleSource(data, canvas=(40, 48), cache="disk", cache_folder=tmp_path / "decoded")
    sample = source.sample(0, 1)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.sample(0, 1).image, sample.image)


def test_frames_decoded_by_a_worker_are_there_for_all(data: Dataset) -> None:
    source = SampleSource(data, canvas=(40, 48), cache="ram")
    list(loader(source, batch=1, workers=1).epoch(0))
    for image in data.images:
        image.path.unlink()
    assert source.sample(9, 2).image.shape == (40, 48, 3)


def test_every_sample_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    sampler = EpochSampler(23, seed=1, batch=4, drop_last=False)
    orders = []
    for sampler.epoch in range(3):
        keys = list(itertools.chain.from_iterable(sampler))
        assert {key.epoch for key in keys} == {sampler.epoch}
        orders.append([key.number for key in keys])
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    other = EpochSampler(23, seed=2, batch=4, drop_last=False)
    assert [key.number for keys in other for key in keys] != orders[0]


@pytest.mark.parametrize("processes", [2, 3, 6])
@pytest.mark.parametrize("drop_last", [True, False])
def test_processes_see_together_what_one_would_see(processes: int, drop_last: bool) -> None:
    def steps(rank: int, count: int) -> list[list[int]]:
        sampler = EpochSampler(40, seed=5, batch=6, rank=rank, processes=count, drop_last=drop_last)
        sampler.epoch = 2
        return [[key.number for key in keys] for keys in sampler]

    alone = steps(0, 1)
    assert len(alone) == (6 if drop_last else 7)
    shared = list(zip(*(steps(rank, processes) for rank in range(processes)), strict=True))
    assert all(len({len(part) for part in parts}) == 1 for parts in shared)
    for whole, parts in zip(alone[:6], shared[:6], strict=True):
        together = [number for each in zip(*parts, strict=True) for number in each]
        assert together == whole
    kept = sum(len(part) for parts in shared[6:] for part in parts)
    assert kept == (0 if drop_last else 4 - 4 % processes)


def test_a_last_batch_smaller_than_the_processes_is_no_batch() -> None:
    sampler = EpochSampler(40, seed=5, batch=6, rank=0, processes=6, drop_last=False)
    assert [len(keys) for keys in sampler] == [1] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch: expected a multiple of the 1 processes"),
        ({"batch": 3, "processes": 2}, "batch: expected a multiple of the 2 processes that share it, got 3"),
        ({"batch": 6}, "batch: expected at most the 5 samples of an epoch, got 6"),
        ({"batch": 2, "rank": 2, "processes": 2}, "rank: expected 0 to 1 of 2 processes, got 2"),
        ({"batch": 2, "workers": -1}, "workers: expected 0 or more, got -1"),
    ],
)
def test_batches_that_cannot_be_made_are_refused(
    data: Dataset, options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        loader(SampleSource(data, canvas=(40, 48)), **options)  # type: ignore[arg-type]
