"""A detector and a density network without weights: bright blobs on dark ground, found exactly.

With them a test knows what must come out of a pipeline, to the pixel.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from tercelet.contract.manifest import (
    DensityRecord,
    DetectorRecord,
    Manifest,
    Network,
    Postprocess,
    Provenance,
    TensorRecord,
)
from tercelet.contract.preprocess import ColorOrder, Preprocess
from tercelet.contract.session import TopCandidates
from tercelet.runtime.pipelines.aerial_options import AerialOptions
from tercelet.runtime.pipelines.density_crops import DensityCropsPipeline
from tercelet.runtime.pipelines.density_source import DensitySource
from tercelet.runtime.pipelines.single import fastest_resize

# Half of the way from the ground, which the padding around a frame passes for too, to a blob.
_BRIGHT = 185
# Blobs with a smaller side on the canvas are noticed but not believed, as by any detector.
_SURE, _UNSURE = 4, np.float32(0.1)
_PROVENANCE = Provenance(source="none", sha256="0" * 64, format="none")


def frame_with(
    height: int, width: int, *boxes: tuple[int, int, int, int], color: tuple[int, int, int] = (255, 255, 255)
) -> NDArray[np.uint8]:
    """A frame of the padding's grey with bright boxes (left, top, right, bottom)."""
    frame = np.full((height, width, 3), 114, np.uint8)
    for left, top, right, bottom in boxes:
        frame[top:bottom, left:right] = color
    return frame


def blobs_in(canvas: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4) and class of the bright blobs: 0, or 1 where the first channel is dark."""
    bright = (canvas[..., 1] > _BRIGHT).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    left, top, wide, high = stats[1:, :4].T
    boxes = np.stack((left, top, left + wide, top + high), axis=1).astype(np.float32)
    middles = ((top + high // 2).astype(int), (left + wide // 2).astype(int))
    return boxes, (canvas[(*middles, 0)] < _BRIGHT).astype(np.int64)


class BlobSession:
    """Answers like an engine with a network of `candidates` a canvas; the larger the blob the surer, from
    0.5 on.

    runs: how many times it ran, canvases: on how many. on_run: called with the canvases of each run.
    """

    backend = "blobs"

    def __init__(self, *, batch: int = 1, is_flexible: bool = False, candidates: int = 400) -> None:
        self.batch = batch
        self.is_flexible = is_flexible
        self.candidates = candidates
        self.runs = self.canvases = 0
        self.closed = False
        self.on_run: Callable[[int], object] = lambda count: None

    def run(self, canvases: NDArray[np.uint8]) -> TopCandidates:
        assert self.is_flexible or len(canvases) == self.batch
        assert len(canvases) <= self.batch
        self.runs += 1
        self.canvases += len(canvases)
        self.on_run(len(canvases))
        parts = [self._candidates_of(canvas) for canvas in canvases]
        return TopCandidates(*(np.stack([part[i] for part in parts]) for i in range(3)))

    def _candidates_of(self, canvas: NDArray[np.uint8]) -> tuple[NDArray[np.floating], ...]:
        found, kinds = blobs_in(canvas)
        sides = np.sqrt((found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]))
        certain = (0.5 + 0.49 * np.minimum(sides / 100, 1)).astype(np.float32)
        certain[sides < _SURE] = _UNSURE
        order = np.argsort(-certain, kind="stable")[: self.candidates]
        boxes = np.zeros((self.candidates, 4), np.float32)
        scores, class_ids = np.zeros(self.candidates, np.float32), np.zeros(self.candidates, np.int64)
        count = len(order)
        boxes[:count], scores[:count], class_ids[:count] = found[order], certain[order], kinds[order]
        return boxes, scores, class_ids

    def bind(self, canvases: NDArray[np.uint8]) -> Callable[[int], TopCandidates]:
        step = 1 if self.is_flexible else self.batch
        assert len(canvases) % step == 0

        def run(count: int) -> TopCandidates:
            parts = [
                self.run(
                    canvases[start : min(start + self.batch, count) if self.is_flexible else start + step]
                )
                for start in range(0, count, self.batch if self.is_flexible else step)
            ]
            return TopCandidates(*(np.concatenate(part)[:count] for part in zip(*parts, strict=True)))

        return run

    def close(self) -> None:
        self.closed = True


class BlobDensity:
    """A density network with cells of `cell` pixels: one object in the cell of each blob's middle."""

    backend = "blobs"

    def __init__(self, height: int, width: int, cell: int) -> None:
        self._shape = height // cell, width // cell
        self._cell = cell
        self.closed = False

    def run(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.bind(canvases)()

    def bind(self, canvases: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        def run() -> NDArray[np.float32]:
            density = np.zeros((1, *self._shape), np.float32)
            boxes, _ = blobs_in(canvases[0])
            middles = ((boxes[:, :2] + boxes[:, 2:]) / 2 // self._cell).astype(int)
            np.add.at(density[0], (middles[:, 1], middles[:, 0]), 1)
            return density

        return run

    def close(self) -> None:
        self.closed = True


def detector_manifest(
    size: tuple[int, int] = (64, 64), *, candidates: int = 400, color: ColorOrder = "BGR"
) -> Manifest:
    """Of a detector of two classes with a canvas of (height, width)."""
    return Manifest(
        kind="bundle",
        detector=DetectorRecord("blobs"),
        labels=("white", "colourful"),
        preprocess=Preprocess(*size, color=color),
        provenance=_PROVENANCE,
        files={},
        pipeline="single",
        network=Network(
            file="model.onnx",
            inputs=(TensorRecord("canvases", "uint8", (1, *size, 3), "canvas"),),
            outputs=(),
            candidates=candidates,
            opset=18,
            ir_version=10,
        ),
    )


def density_manifest(size: tuple[int, int] = (64, 96), *, cell: int = 4) -> Manifest:
    """Of a density network with a canvas of (height, width) and cells of `cell` pixels."""
    shape = (1, size[0] // cell, size[1] // cell)
    return Manifest(
        kind="bundle",
        detector=DetectorRecord("blob-density"),
        labels=("object",),
        preprocess=Preprocess(*size),
        provenance=_PROVENANCE,
        files={},
        pipeline="density",
        network=Network(
            file="model.onnx",
            inputs=(TensorRecord("canvases", "uint8", (1, *size, 3), "canvas"),),
            outputs=(TensorRecord("density", "float32", shape, "objects"),),
            candidates=0,
            opset=18,
            ir_version=10,
        ),
        density=DensityRecord(cell=cell),
    )


def density_source(size: tuple[int, int] = (64, 96), *, cell: int = 4) -> DensitySource:
    """A density network of blobs with a canvas of (height, width)."""
    manifest = density_manifest(size, cell=cell)
    return DensitySource(manifest, BlobDensity(*size, cell), resize_into=fastest_resize())


def blob_pipeline(
    session: BlobSession | None = None,
    *,
    size: tuple[int, int] = (64, 64),
    density: DensitySource | None = None,
    color: ColorOrder = "BGR",
    network_color: ColorOrder = "BGR",
    score: float = 0.25,
    most: int = 500,
    **options: object,
) -> DensityCropsPipeline:
    """The aerial pipeline around a blob detector; options as for AerialOptions."""
    session = session or BlobSession()
    return DensityCropsPipeline(
        detector_manifest(size, candidates=session.candidates, color=network_color),
        session,
        postprocess=Postprocess(score_threshold=score, max_detections=most),
        options=AerialOptions(**options),  # type: ignore[arg-type]
        density=density,
        color=color,
    )
