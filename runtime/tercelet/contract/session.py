"""What a backend is to everybody else: something that turns canvases into fixed-size candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.manifest import Manifest


class TopCandidates(NamedTuple):
    """The K best (anchor, class) pairs of each canvas, best first, before non-maximum suppression.

    boxes: (B, K, 4) float32 xyxy in canvas pixels. scores: (B, K) float32 in 0..1. class_ids: (B, K) int64.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


class Proposals(NamedTuple):
    """What a detector makes of one cloud, before suppression, in the frame and unit of its points.

    boxes: (1, P, 7) float32 as in contract.box3d. objectness: (1, P) float32 0..1. class_scores: (1, P, C)
    float32 0..1.
    """

    boxes: NDArray[np.float32]
    objectness: NDArray[np.float32]
    class_scores: NDArray[np.float32]


@dataclass(frozen=True)
class SessionOptions:
    """How a session may use the machine.

    threads: threads inside an operator; None lets the engine take one a core. spinning: idle threads wait in
    a loop (lower latency, and the cores are lost to everybody else). device: "cpu" or "cuda". native_ops: use
    the bundle's native libraries of custom ops, where it has one for this machine.
    """

    threads: int | None = None
    spinning: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    native_ops: bool = True


class BoundRun(Protocol):
    """A session tied to one array of canvases; its results lie in memory that the next run overwrites."""

    def __call__(self, count: int) -> TopCandidates:
        """Run the first `count` canvases of the array; views of the results, (count, K, ...)."""
        ...


class Session(Protocol):
    """An opened network. `batch` canvases go in at once, or any number up to that where `is_flexible`.

    backend: the engine and its version.
    """

    batch: int
    is_flexible: bool
    backend: str

    def run(self, canvases: NDArray[np.uint8]) -> TopCandidates:
        """canvases: (B, height, width, 3) uint8 as the manifest's preprocess says."""
        ...

    def bind(self, canvases: NDArray[np.uint8]) -> BoundRun:
        """Tie the session to `canvases` (N, height, width, 3), which the caller fills again and again.

        N may be anything: a session of fewer canvases at once runs several times.
        """
        ...

    def close(self) -> None:
        """Release the engine; the session cannot run afterwards."""
        ...


class DensitySession(Protocol):
    """An opened density network, of one canvas at once."""

    backend: str

    def run(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """canvases: (1, height, width, 3) uint8 -> (1, h, w) float32 objects by cell, a new array."""
        ...

    def bind(self, canvases: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """Tie the session to `canvases` (1, height, width, 3): each call gives (1, h, w), overwritten by the
        next."""
        ...

    def close(self) -> None:
        """Release the engine."""
        ...


class PointSession(Protocol):
    """An opened network of pipeline rgbd, of one cloud at once."""

    backend: str

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Proposals:
        """inputs: by the names of the manifest's network.inputs, all of them; the first is the cloud
        (1, N, features) float32 as the manifest's cloud says. New arrays."""
        ...

    def close(self) -> None:
        """Release the engine."""
        ...


class SessionOpener(Protocol):
    """What the entry points of group tercelet.sessions are."""

    def __call__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> Session:
        """Open the network of the artefact in `folder`."""
        ...


class DensitySessionOpener(Protocol):
    """What a backend offers for density bundles."""

    def __call__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> DensitySession:
        """Open the density network of the bundle in `folder`."""
        ...


class PointSessionOpener(Protocol):
    """What a backend offers for bundles of pipeline rgbd."""

    def __call__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> PointSession:
        """Open the network of the bundle in `folder`."""
        ...
