"""What every pipeline is to its callers."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.session import Session


class Pipeline(Protocol):
    """Frame in, detections out; a context manager. Not for use from several threads at once."""

    manifest: Manifest
    session: Session
    postprocess: Postprocess
    labels: tuple[str, ...]

    def __call__(self, frame: NDArray[np.uint8]) -> Detections:
        """frame: (H, W, 3) uint8, BGR unless opened otherwise. Raises InputError for any other."""
        ...

    def close(self) -> None:
        """Release the engine."""
        ...

    def __enter__(self) -> Pipeline: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
