"""Batches of samples: shuffled, shared out among processes, prepared by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tercelet.contract.errors import InputError
from tercelet.training.density_training.frames import opencv
from tercelet.training.detector_training.samples.source import Sample, SampleSource
from tercelet.training.detector_training.targets import Batch, Targets

# Keeps the order of samples apart from what is drawn by lot inside them.
_ORDER = 0x0DE5
_PREFETCHED = 4
Prepared = TypeVar("Prepared", covariant=True)
Collated = TypeVar("Collated")


class KeyedSource(Protocol[Prepared]):
    """What samples come from, the same ones each time."""

    @property
    def seed(self) -> int:
        """Of the order and of what is drawn by lot."""
        ...

    def __len__(self) -> int: ...

    def sample(self, epoch: int, number: int, *, mosaic: bool = True) -> Prepared:
        """The sample `number` as it looks in an epoch."""
        ...


class SampleKey(NamedTuple):
    """Which sample a worker is to make; it need not be told of the epoch in another way."""

    epoch: int
    number: int
    mosaic: bool


class EpochSampler(Sampler[list[SampleKey]]):
    """The keys of one process, a batch at a time, in the order of (seed, epoch).

    `batch` samples make a global batch, of which rank r of W takes those at r, r + W, ...: together the
    processes see what one alone would see. The last, incomplete batch is dropped or kept; kept, it is cut to
    a multiple of W so that no process is left without its part.
    """

    def __init__(
        self, length: int, *, seed: int, batch: int, rank: int = 0, processes: int = 1, drop_last: bool = True
    ) -> None:
        """Raises InputError: sizes that do not fit each other, or that leave no batch."""
        if processes < 1 or not 0 <= rank < processes:
            raise InputError(f"rank: expected 0 to {processes - 1} of {processes} processes, got {rank}")
        if batch < 1 or batch % processes:
            raise InputError(
                f"batch: expected a multiple of the {processes} processes that share it, got {batch}"
            )
        kept = length - length % (batch if drop_last else processes)
        if kept < 1:
            raise InputError(
                f"batch: expected at most the {length} samples of an epoch, got {batch}; choose a smaller one"
            )
        self._kept, self._length, self._seed = kept, length, seed
        self._batch, self._rank, self._processes = batch, rank, processes
        self.epoch, self.mosaic, self.first = 0, True, 0

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-self._kept // self._batch)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        sequence = np.random.SeedSequence((self._seed, self.epoch, _ORDER))
        order = np.random.default_rng(sequence).permutation(self._length)[: self._kept]
        for step in range(self.first, len(self)):
            shared = order[step * self._batch : (step + 1) * self._batch]
            yield [
                SampleKey(self.epoch, int(index), self.mosaic)
                for index in shared[self._rank :: self._processes]
            ]


class SampleLoader(Generic[Collated]):
    """Batches of a source, epoch by epoch, from workers that stay alive between epochs."""

    def __init__(self, batches: DataLoader[Collated], sampler: EpochSampler) -> None:
        self._batches = batches
        self._sampler = sampler

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._sampler)

    def epoch(self, number: int, *, mosaic: bool = True, first: int = 0) -> Iterator[Collated]:
        """The batches of an epoch from the batch `first` on. mosaic: False for the last epochs."""
        self._sampler.epoch, self._sampler.mosaic, self._sampler.first = number, mosaic, first
        return iter(self._batches)


def loader(
    source: SampleSource,
    *,
    batch: int,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
    drop_last: bool = True,
    pin_memory: bool = False,
) -> SampleLoader[Batch]:
    """Batches of the source. batch: samples of all processes together. workers: processes that prepare
    samples, 0 prepares them in this one. rank, processes: which part of each batch, see EpochSampler.
    pin_memory: True where the batches go to a CUDA device. Raises InputError as EpochSampler does.
    """
    sampler = EpochSampler(
        len(source), seed=source.seed, batch=batch, rank=rank, processes=processes, drop_last=drop_last
    )
    return collating_loader(source, sampler, collated, workers=workers, pin_memory=pin_memory)


def collating_loader(
    source: KeyedSource[Prepared],
    sampler: EpochSampler,
    collate: Callable[[Sequence[Prepared]], Collated],
    *,
    workers: int = 0,
    pin_memory: bool = False,
) -> SampleLoader[Collated]:
    """Batches of any source, made from its samples by `collate`. Errors as `loader`."""
    batches: DataLoader[Collated] = DataLoader(
        _Keyed(source),
        batch_sampler=sampler,
        num_workers=_checked_workers(workers),
        collate_fn=collate,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        prefetch_factor=_PREFETCHED if workers else None,
        pin_memory=pin_memory,
    )
    return SampleLoader(batches, sampler)


def collated(samples: Sequence[Sample]) -> Batch:
    """One batch of samples of one size; images (B, 3, H, W) uint8 RGB."""
    height, width = samples[0].image.shape[:2]
    images = np.empty((len(samples), 3, height, width), np.uint8)
    for row, sample in enumerate(samples):
        opencv().split(sample.image, [images[row, 0], images[row, 1], images[row, 2]])
    counts = [len(sample.boxes) for sample in samples]
    ignored_counts = [len(sample.ignored) for sample in samples]
    rows = np.arange(len(samples), dtype=np.int64)
    targets = Targets(
        boxes=torch.from_numpy(np.concatenate([sample.boxes for sample in samples])),
        class_ids=torch.from_numpy(np.concatenate([sample.class_ids for sample in samples])),
        rows=torch.from_numpy(rows.repeat(counts)),
        ignored=torch.from_numpy(np.concatenate([sample.ignored for sample in samples])),
        ignored_rows=torch.from_numpy(rows.repeat(ignored_counts)),
    )
    return Batch(torch.from_numpy(images), targets)


class _Keyed(Dataset[Any]):
    """A source as torch's loader asks it."""

    def __init__(self, source: KeyedSource[Any]) -> None:
        self._source = source

    def __getitem__(self, key: SampleKey) -> Any:
        return self._source.sample(key.epoch, key.number, mosaic=key.mosaic)


def _start_worker(_: int) -> None:
    # Workers are parallel already; OpenCV's own threads would take each other's cores.
    opencv().setNumThreads(0)


def _checked_workers(workers: int) -> int:
    if workers < 0:
        raise InputError(f"workers: expected 0 or more, got {workers}")
    return workers
