"""Arrays tied to an ONNX Runtime session, and the engine's errors in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import CheckFailedError, InputError


def tie(session: Any, name: str, canvases: NDArray[np.uint8], results: Mapping[str, NDArray[Any]]) -> Any:
    """The engine's own tie between the canvases of input `name` and arrays for results by output."""
    binding = session.io_binding()
    _tie_array(binding.bind_input, name, canvases)
    for output, array in results.items():
        _tie_array(binding.bind_output, output, array)
    return binding


def _tie_array(bind: Callable[..., None], name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def check_contiguous(canvases: NDArray[np.uint8]) -> None:
    """InputError for canvases that the engine cannot read where they lie."""
    if not canvases.flags.c_contiguous or canvases.dtype != np.uint8:
        raise InputError(
            f"expected contiguous uint8 canvases to bind to, got {canvases.dtype} with strides "
            f"{canvases.strides}; make them with numpy.ascontiguousarray"
        )


def run_bound(session: Any, binding: Any, backend: str) -> None:
    """Run what `binding` ties together; InputError after close, CheckFailedError where the engine fails."""
    if session is None:
        raise InputError(f"{backend}: expected an open network, this one was closed; open it again")
    try:
        session.run_with_iobinding(binding)
    except Exception as error:  # as in onnxruntime.py: the engine's errors share no base class
        raise CheckFailedError(f"{backend} failed: {line_of(error)}") from error


def line_of(error: BaseException) -> str:
    """What an error says, on one line and not endless."""
    return " ".join(str(error).split())[:300]
