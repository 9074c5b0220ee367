"""ONNX Runtime: the embedded default, on the CPU; the CUDA provider where it was installed and asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import verify_file
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import Manifest, Network
from tercelet.contract.session import SessionOptions, TopCandidates

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def installed_distributions() -> dict[str, str]:
    """The installed ones of onnxruntime and onnxruntime-gpu with their versions.

    Read off the folders beside the package: importlib.metadata takes 20 ms, at every start.
    """
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return {}
    found = {}
    for path in Path(spec.origin).parents[1].glob("onnxruntime*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        if name in ("onnxruntime", "onnxruntime_gpu"):
            found[name.replace("_", "-")] = version
    return found


def open_session(folder: Path, manifest: Manifest, options: SessionOptions) -> OnnxRuntimeSession:
    """Open the bundle's graph after its sha256 was compared.

    Raises CheckFailedError for a damaged file or one that the engine refuses, MissingDependencyError where
    onnxruntime is missing, installed twice over itself, or lacks the device asked for.
    """
    network, _, _ = manifest.bundle_parts()
    path = verify_file(folder, manifest, network.file)
    engine = _import_engine()
    provider = _PROVIDERS[options.device]
    if provider not in engine.get_available_providers():
        raise MissingDependencyError(
            f"device {options.device!r} was asked for, this onnxruntime offers "
            f"{', '.join(engine.get_available_providers())}: pip install 'tercelet[gpu]' or use --device cpu"
        )
    settings = engine.SessionOptions()
    settings.intra_op_num_threads = options.threads or 0
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    try:
        session = engine.InferenceSession(str(path), sess_options=settings, providers=[provider])
    except Exception as error:  # onnxruntime raises a dozen classes of its own, all straight below Exception
        raise CheckFailedError(
            f"{path}: onnxruntime {engine.__version__} refuses it: {_line(error)}"
        ) from error
    if session.get_providers()[0] != provider:
        raise MissingDependencyError(
            f"device {options.device!r} was asked for, the engine fell back to {session.get_providers()[0]}: "
            "the driver or a CUDA library is missing; use --device cpu or see tercelet doctor"
        )
    _check_signature(session, network, path)
    return OnnxRuntimeSession(session, network, f"onnxruntime {engine.__version__} {options.device}")


def run_once(model: bytes, inputs: Mapping[str, NDArray[Any]]) -> tuple[str, list[NDArray[Any]]]:
    """Run a serialized graph once on the CPU: is the engine sound? Returns its version and the outputs.

    Whatever importing or running the engine raises comes through.
    """
    import onnxruntime as engine

    session = engine.InferenceSession(model, providers=[_PROVIDERS["cpu"]])
    return str(engine.__version__), list(session.run(None, dict(inputs)))


class OnnxRuntimeSession:
    """An opened graph, see contract.session.Session."""

    def __init__(self, session: Any, network: Network, backend: str) -> None:
        self._session = session
        self._input = network.inputs[0].name
        self._outputs = [output.name for output in network.outputs]
        self.batch = network.inputs[0].shape[0]
        self.backend = backend

    def run(self, canvases: NDArray[np.uint8]) -> TopCandidates:
        """canvases: (batch, height, width, 3) uint8. Raises CheckFailedError where the engine fails."""
        try:
            boxes, scores, class_ids = self._session.run(self._outputs, {self._input: canvases})
        except Exception as error:  # as in open_session: the engine's errors share no base class
            raise CheckFailedError(
                f"{self.backend} failed on a canvas {canvases.shape}: {_line(error)}"
            ) from error
        return TopCandidates(boxes, scores, class_ids)

    def close(self) -> None:
        """Drop the engine's session and its memory."""
        self._session = None


def _import_engine() -> Any:
    both = installed_distributions()
    if len(both) == 2:
        raise MissingDependencyError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "pip uninstall onnxruntime onnxruntime-gpu, then install one of them again"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"this bundle needs onnxruntime ({_line(error)}): pip install 'tercelet[cpu]'"
        ) from error
    return onnxruntime


def _check_signature(session: Any, network: Network, path: Path) -> None:
    for expected, got in ((network.inputs, session.get_inputs()), (network.outputs, session.get_outputs())):
        stated = [(item.name, list(item.shape)) for item in expected]
        found = [(item.name, list(item.shape)) for item in got]
        if stated != found:
            raise InputError(f"{path}: manifest.json states {stated}, the graph has {found}; export it anew")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
