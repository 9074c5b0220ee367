"""A detector of pictures, opened in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Network
from tercelet.contract.session import TopCandidates
from tercelet.runtime.backends.onnxruntime_binding import check_contiguous, line_of, run_bound, tie


class OnnxRuntimeSession:
    """An opened detector, see contract.session.Session."""

    def __init__(self, session: Any, network: Network, backend: str) -> None:
        self._session = session
        self._input = network.inputs[0].name
        self._outputs = network.outputs
        self.batch = network.inputs[0].shape[0]
        self.is_flexible = network.batch == "up_to"
        self.backend = backend
        self._bound: list[BoundDetector] = []

    def run(self, canvases: NDArray[np.uint8]) -> TopCandidates:
        """canvases: (batch, height, width, 3) uint8. Raises CheckFailedError where the engine fails."""
        if self._session is None:
            raise InputError(f"{self.backend}: expected an open network, this one was closed; open it again")
        names = [output.name for output in self._outputs]
        try:
            boxes, scores, class_ids = self._session.run(names, {self._input: canvases})
        except Exception as error:  # as in onnxruntime.py: the engine's errors share no base class
            raise CheckFailedError(
                f"{self.backend} failed on a canvas {canvases.shape}: {line_of(error)}"
            ) from error
        return TopCandidates(boxes, scores, class_ids)

    def bind(self, canvases: NDArray[np.uint8]) -> BoundDetector:
        """See contract.session.Session; canvases must be contiguous and live as long as the result."""
        bound = BoundDetector(self, canvases)
        self._bound.append(bound)
        return bound

    def binding(self, canvases: NDArray[np.uint8], results: Mapping[str, NDArray[Any]]) -> Any:
        """The engine's own tie between these canvases and these arrays for results."""
        return tie(self._session, self._input, canvases, results)

    def run_bound(self, binding: Any) -> None:
        """Run what `binding` ties together. Raises CheckFailedError where the engine fails."""
        run_bound(self._session, binding, self.backend)

    def results_for(self, count: int) -> dict[str, NDArray[Any]]:
        """Arrays for the results of `count` canvases, by the names of the outputs."""
        return {
            output.name: np.zeros((count, *output.shape[1:]), np.dtype(output.dtype))
            for output in self._outputs
        }

    def close(self) -> None:
        """Drop the engine's session and its memory, which what was bound to it holds too."""
        self._session = None
        for bound in self._bound:
            bound.forget()


class BoundDetector:
    """See contract.session.BoundRun. Canvases and results stay where they are from run to run."""

    def __init__(self, session: OnnxRuntimeSession, canvases: NDArray[np.uint8]) -> None:
        check_contiguous(canvases)
        self._session = session
        self._canvases = canvases
        step = 1 if session.is_flexible else session.batch
        padded = -(-len(canvases) // step) * step
        if padded > len(canvases):
            raise InputError(
                f"expected canvases in multiples of the network's batch of {step}, got {len(canvases)}"
            )
        self._results = session.results_for(len(canvases))
        self._bindings: dict[tuple[int, int], Any] = {}

    def __call__(self, count: int) -> TopCandidates:
        """See contract.session.BoundRun."""
        batch, done = self._session.batch, 0
        while done < count:
            size = min(batch, count - done) if self._session.is_flexible else batch
            self._session.run_bound(self._binding(done, done + size))
            done += size
        boxes, scores, class_ids = self._results.values()
        return TopCandidates(boxes[:count], scores[:count], class_ids[:count])

    def forget(self) -> None:
        """Give up what keeps the engine alive."""
        self._bindings.clear()

    def _binding(self, start: int, stop: int) -> Any:
        if (start, stop) not in self._bindings:
            part = {name: array[start:stop] for name, array in self._results.items()}
            self._bindings[start, stop] = self._session.binding(self._canvases[start:stop], part)
        return self._bindings[start, stop]
