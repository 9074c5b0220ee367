"""Run a checkpoint as it is, in torch: the same session protocol as a bundle's engine, for comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.contract.manifest import DEFAULT_CANDIDATES, Manifest
from tercelet.contract.session import BoundRun, SessionOptions, TopCandidates
from tercelet.training.checkpoint import load_checkpoint
from tercelet.training.detectors.density_net import DensityNet
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.point_detector import PointDetector


class TorchSession:
    """A detector that takes uint8 canvases (1, height, width, 3) of the manifest's preprocess."""

    batch = 1
    is_flexible = False

    def __init__(self, detector: Detector, manifest: Manifest, *, device: str) -> None:
        self.backend = f"torch {torch.__version__}"
        self._detector = detector.to(device)
        self._device = device
        self._shape = (self.batch, manifest.preprocess.height, manifest.preprocess.width, 3)
        self._color = manifest.preprocess.color
        self._count = candidate_count(detector, manifest.preprocess.height, manifest.preprocess.width)

    def run(self, canvases: NDArray[np.uint8]) -> TopCandidates:
        """The best candidates of a canvas; InputError for another shape or type."""
        if canvases.shape != self._shape or canvases.dtype != np.uint8:
            raise InputError(f"expected canvases {self._shape} uint8, got {canvases.shape} {canvases.dtype}")
        images = images_from_canvases(canvases, self._color, device=self._device)
        with torch.inference_mode():
            found = self._detector.top_candidates(images, self._count)
        boxes, scores, class_ids = (part.cpu().numpy() for part in found)
        return TopCandidates(boxes.astype(np.float32), scores.astype(np.float32), class_ids.astype(np.int64))

    def bind(self, canvases: NDArray[np.uint8]) -> BoundRun:
        """See contract.session.Session; one canvas after the other."""

        def run(count: int) -> TopCandidates:
            parts = [self.run(canvases[index : index + 1]) for index in range(count)]
            return TopCandidates(*(np.concatenate(part) for part in zip(*parts, strict=True)))

        return run

    def close(self) -> None:
        """Give the weights back."""
        self._detector = self._detector.to("meta")


def open_session(folder: Path, manifest: Manifest, options: SessionOptions) -> TorchSession:
    """Open the checkpoint in `folder`. options.threads is torch's, and so holds for the whole process.

    Raises InputError or CheckFailedError as load_checkpoint does, MissingDependencyError without the device.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError("device cuda was asked for, but torch finds none here; use cpu")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    detector, _ = load_checkpoint(folder)
    if isinstance(detector, DensityNet):
        raise InputError(
            f"{folder}: expected the checkpoint of a detector, got {detector.detector}, which gives no boxes "
            "but a density; tercelet export makes it a bundle for tercelet run --density"
        )
    if isinstance(detector, PointDetector):
        raise InputError(
            f"{folder}: expected the checkpoint of a detector of pictures, got {detector.detector}, which "
            "looks at clouds of points; tercelet export makes it a bundle for tercelet run"
        )
    detector.check_size(manifest.preprocess.height, manifest.preprocess.width)
    return TorchSession(detector, manifest, device=options.device)


def candidate_count(detector: Detector, height: int, width: int) -> int:
    """DEFAULT_CANDIDATES, or all (anchor, class) pairs of a canvas of this size where that is fewer."""
    return min(DEFAULT_CANDIDATES, detector.anchor_count(height, width) * detector.classes)


def images_from_canvases(
    canvases: NDArray[np.uint8],
    color: Literal["RGB", "BGR"],
    dtype: torch.dtype = torch.float32,
    *,
    device: str = "cpu",
) -> torch.Tensor:
    """Canvases (B, H, W, 3) uint8 as what a detector takes: (B, 3, H, W) RGB in 0..1, contiguous.

    color: the order of the canvases' channels.
    """
    images = torch.from_numpy(np.ascontiguousarray(canvases.transpose(0, 3, 1, 2))).to(device)
    return (images.flip(1) if color == "BGR" else images).to(dtype) / 255
