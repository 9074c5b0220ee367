"""A density network, opened in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.manifest import Network
from tercelet.runtime.backends.onnxruntime_binding import check_contiguous, run_bound, tie


class OnnxRuntimeDensitySession:
    """An opened density network, see contract.session.DensitySession."""

    def __init__(self, session: Any, network: Network, backend: str) -> None:
        self._session = session
        self._input = network.inputs[0].name
        self._output = network.outputs[0]
        self._binding: Any = None
        self._canvases: NDArray[np.uint8] | None = None
        self.backend = backend

    def run(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See contract.session.DensitySession. Raises CheckFailedError where the engine fails."""
        result: NDArray[np.float32] = np.zeros(self._output.shape, np.float32)
        # The engine reads memory as it lies: a view in another order has to be copied first.
        canvases = np.ascontiguousarray(canvases)
        run_bound(
            self._session,
            tie(self._session, self._input, canvases, {self._output.name: result}),
            self.backend,
        )
        return result

    def bind(self, canvases: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """See contract.session.DensitySession; canvases must be contiguous and outlive the result."""
        check_contiguous(canvases)
        result: NDArray[np.float32] = np.zeros(self._output.shape, np.float32)
        self._binding = tie(self._session, self._input, canvases, {self._output.name: result})
        self._canvases = canvases  # the engine reads its memory: it must not go

        def run() -> NDArray[np.float32]:
            run_bound(self._session, self._binding, self.backend)
            return result

        return run

    def close(self) -> None:
        """Drop the engine's session and its memory."""
        self._session = self._binding = self._canvases = None
