"""A network of pipeline rgbd, opened in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Network
from tercelet.contract.session import Proposals
from tercelet.runtime.backends.onnxruntime_binding import line_of


class Runner:
    """A graph opened by itself, on the CPU: arrays in and out by name. inputs: the names it takes."""

    def __init__(self, session: Any, engine: str) -> None:
        self._session = session
        self.engine = engine
        self.inputs: tuple[str, ...] = tuple(item.name for item in session.get_inputs())
        self._outputs = [item.name for item in session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs. Whatever the engine raises comes through."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class OnnxRuntimePointSession:
    """An opened network of pipeline rgbd, see contract.session.PointSession."""

    def __init__(self, runner: Runner, network: Network) -> None:
        self._runner: Runner | None = runner
        self._inputs = network.inputs
        self._outputs = tuple(item.name for item in network.outputs)
        self.backend = runner.engine

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Proposals:
        """See contract.session.PointSession. InputError for inputs by other names or of other shapes,
        CheckFailedError where the engine fails."""
        if self._runner is None:
            raise InputError(f"{self.backend}: expected an open network, this one was closed; open it again")
        stated = {item.name: (item.dtype, tuple(item.shape)) for item in self._inputs}
        found = {name: (array.dtype.name, array.shape) for name, array in inputs.items()}
        if stated != found:
            raise InputError(f"{self.backend}: expected inputs {stated}, got {found}")
        try:
            results = self._runner.run(inputs)
        except Exception as error:  # as in onnxruntime.py: the engine's errors share no base class
            shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
            raise CheckFailedError(f"{self.backend} failed on {shapes}: {line_of(error)}") from error
        return Proposals(*(results[name] for name in self._outputs))

    def close(self) -> None:
        """Drop the engine's session and its memory."""
        self._runner = None
