"""Training samples of 2D detectors: frames, windows and mosaics with their boxes, in shuffled batches."""

from __future__ import annotations

from tercelet.training.detector_training.samples.augmentation import Augmentation, Windows
from tercelet.training.detector_training.samples.frames import CACHES, CacheName
from tercelet.training.detector_training.samples.loading import (
    EpochSampler,
    SampleKey,
    SampleLoader,
    collated,
    loader,
)
from tercelet.training.detector_training.samples.source import Sample, SampleSource
from tercelet.training.detector_training.samples.truth import Truth
from tercelet.training.detector_training.samples.views import ValidationView, validation_views

__all__ = [
    "CACHES",
    "Augmentation",
    "CacheName",
    "EpochSampler",
    "Sample",
    "SampleKey",
    "SampleLoader",
    "SampleSource",
    "Truth",
    "ValidationView",
    "Windows",
    "collated",
    "loader",
    "validation_views",
]
