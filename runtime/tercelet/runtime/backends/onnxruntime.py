"""ONNX Runtime: the embedded default, on the CPU; the CUDA provider where it was installed and asked for."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import verify_file
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import Manifest, Network
from tercelet.contract.session import Proposals, SessionOptions, TopCandidates

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
    """Open a detector's graph after its sha256 was compared; raises as `_open_engine`."""
    network, _, _ = manifest.bundle_parts()
    session, backend = _open_engine(folder, manifest, network, options)
    return OnnxRuntimeSession(session, network, backend)


def open_density_session(
    folder: Path, manifest: Manifest, options: SessionOptions
) -> OnnxRuntimeDensitySession:
    """Open a density network's graph after its sha256 was compared; raises as `_open_engine`."""
    network, _ = manifest.density_parts()
    session, backend = _open_engine(folder, manifest, network, options)
    return OnnxRuntimeDensitySession(session, network, backend)


def open_point_session(folder: Path, manifest: Manifest, options: SessionOptions) -> OnnxRuntimePointSession:
    """Open the graph of a bundle of pipeline rgbd after its sha256 was compared; raises as `_open_engine`."""
    network, _ = manifest.cloud_parts()
    session, backend = _open_engine(folder, manifest, network, options)
    return OnnxRuntimePointSession(Runner(session, backend), network)


def _open_engine(
    folder: Path, manifest: Manifest, network: Network, options: SessionOptions
) -> tuple[Any, str]:
    """The engine's session, and the engine's name with its version.

    Raises CheckFailedError for a damaged file or one that the engine refuses, MissingDependencyError where
    onnxruntime is missing, installed twice over itself, or lacks the device asked for.
    """
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
    # The native ops run on the CPU; a GPU would have to wait for them at every node.
    wants_native = options.native_ops and options.device == "cpu"
    has_native_ops = wants_native and _register_plugins(settings, folder, manifest)
    try:
        session = engine.InferenceSession(str(path), sess_options=settings, providers=[provider])
    except Exception as error:  # onnxruntime raises a dozen classes of its own, all straight below Exception
        raise CheckFailedError(
            f"{path}: onnxruntime {engine.__version__} refuses it: {_line(error)}{_advice(manifest, error)}"
        ) from error
    if session.get_providers()[0] != provider:
        raise MissingDependencyError(
            f"device {options.device!r} was asked for, the engine fell back to {session.get_providers()[0]}: "
            "the driver or a CUDA library is missing; use --device cpu or see tercelet doctor"
        )
    _check_signature(session, network, path)
    native = " with native ops" if has_native_ops else ""
    return session, f"onnxruntime {engine.__version__} {options.device}{native}"


def _register_plugins(settings: Any, folder: Path, manifest: Manifest) -> bool:
    """Register the bundle's libraries for this machine, each after its sha256 was compared; whether any
    was."""
    here = (platform.machine(), platform.system())
    fitting = [
        plugin
        for plugin in manifest.plugins
        if plugin.backend == "onnxruntime" and (plugin.machine, plugin.system) == here
    ]
    if len(fitting) > 1:
        names = " and ".join(plugin.file for plugin in fitting)
        raise InputError(
            f"{folder}: expected one library of native ops for this machine, got {names}; build it anew: "
            f"tercelet build-ops {folder}, or open it without native ops (--no-native-ops)"
        )
    for plugin in fitting:
        path = verify_file(folder, manifest, plugin.file)
        try:
            settings.register_custom_ops_library(str(path.resolve()))
        except Exception as error:  # as above: the engine's errors share no base class
            raise CheckFailedError(
                f"{path}: this library of native ops cannot be loaded here: {_line(error)}; build it on this "
                f"machine: tercelet build-ops {folder}, or do without it: --no-native-ops"
            ) from error
    return bool(fitting)


def _advice(manifest: Manifest, error: BaseException) -> str:
    """What helps where an engine lacks the standard operator that stands in for a custom op."""
    if (
        manifest.lowering is None
        or not (manifest.network and manifest.network.ops)
        or "NOT_IMPLEMENTED" not in str(error)
    ):
        return ""
    forms = ", ".join(sorted(set(manifest.lowering.forms.values())))
    return (
        f"; its custom ops stand as {forms}, which this version lacks: "
        "tercelet build-ops gives it native ones, or export it with --op-form row_gather"
    )


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


def open_runner(model: bytes, *, library: Path | None = None, threads: int | None = None) -> Runner:
    """Open a serialized graph. library: of native ops. threads: None takes one a core.

    Raises CheckFailedError where the engine refuses it, MissingDependencyError where it is not installed.
    """
    engine = _import_engine()
    name = f"onnxruntime {engine.__version__}"
    settings = engine.SessionOptions()
    settings.intra_op_num_threads = threads or 0
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        if library is not None:
            settings.register_custom_ops_library(str(library.resolve()))
        session = engine.InferenceSession(model, settings, providers=[_PROVIDERS["cpu"]])
    except Exception as error:  # as in _open_engine: the engine's errors share no base class
        raise CheckFailedError(f"{name}: refuses the graph: {_line(error)}") from error
    return Runner(session, name)


def run_once(model: bytes, inputs: Mapping[str, NDArray[Any]]) -> tuple[str, list[NDArray[Any]]]:
    """Run a serialized graph once on the CPU: is the engine sound? Returns its version and the outputs.

    Whatever importing or running the engine raises comes through.
    """
    import onnxruntime as engine

    session = engine.InferenceSession(model, providers=[_PROVIDERS["cpu"]])
    return str(engine.__version__), list(session.run(None, dict(inputs)))


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
        except Exception as error:  # as in _open_engine: the engine's errors share no base class
            raise CheckFailedError(
                f"{self.backend} failed on a canvas {canvases.shape}: {_line(error)}"
            ) from error
        return TopCandidates(boxes, scores, class_ids)

    def bind(self, canvases: NDArray[np.uint8]) -> BoundDetector:
        """See contract.session.Session; canvases must be contiguous and live as long as the result."""
        bound = BoundDetector(self, canvases)
        self._bound.append(bound)
        return bound

    def binding(self, canvases: NDArray[np.uint8], results: Mapping[str, NDArray[Any]]) -> Any:
        """The engine's own tie between these canvases and these arrays for results."""
        return _tie(self._session, self._input, canvases, results)

    def run_bound(self, binding: Any) -> None:
        """Run what `binding` ties together. Raises CheckFailedError where the engine fails."""
        _run_bound(self._session, binding, self.backend)

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
        _check_contiguous(canvases)
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
        _run_bound(
            self._session,
            _tie(self._session, self._input, canvases, {self._output.name: result}),
            self.backend,
        )
        return result

    def bind(self, canvases: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """See contract.session.DensitySession; canvases must be contiguous and outlive the result."""
        _check_contiguous(canvases)
        result: NDArray[np.float32] = np.zeros(self._output.shape, np.float32)
        self._binding = _tie(self._session, self._input, canvases, {self._output.name: result})
        self._canvases = canvases  # the engine reads its memory: it must not go

        def run() -> NDArray[np.float32]:
            _run_bound(self._session, self._binding, self.backend)
            return result

        return run

    def close(self) -> None:
        """Drop the engine's session and its memory."""
        self._session = self._binding = self._canvases = None


class OnnxRuntimePointSession:
    """An opened network of pipeline rgbd, see contract.session.PointSession."""

    def __init__(self, runner: Runner, network: Network) -> None:
        self._runner: Runner | None = runner
        self._input = network.inputs[0].name
        self.backend = runner.engine

    def run(self, points: NDArray[np.float32]) -> Proposals:
        """See contract.session.PointSession. Raises CheckFailedError where the engine fails."""
        if self._runner is None:
            raise InputError(f"{self.backend}: expected an open network, this one was closed; open it again")
        try:
            found = self._runner.run({self._input: points})
        except Exception as error:  # as in _open_engine: the engine's errors share no base class
            raise CheckFailedError(
                f"{self.backend} failed on a cloud {points.shape}: {_line(error)}"
            ) from error
        return Proposals(found["boxes"], found["objectness"], found["class_scores"])

    def close(self) -> None:
        """Drop the engine's session and its memory."""
        self._runner = None


def _tie(session: Any, name: str, canvases: NDArray[np.uint8], results: Mapping[str, NDArray[Any]]) -> Any:
    binding = session.io_binding()
    _tie_array(binding.bind_input, name, canvases)
    for output, array in results.items():
        _tie_array(binding.bind_output, output, array)
    return binding


def _tie_array(bind: Callable[..., None], name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _check_contiguous(canvases: NDArray[np.uint8]) -> None:
    if not canvases.flags.c_contiguous or canvases.dtype != np.uint8:
        raise InputError(
            f"expected contiguous uint8 canvases to bind to, got {canvases.dtype} with strides "
            f"{canvases.strides}; make them with numpy.ascontiguousarray"
        )


def _run_bound(session: Any, binding: Any, backend: str) -> None:
    if session is None:
        raise InputError(f"{backend}: expected an open network, this one was closed; open it again")
    try:
        session.run_with_iobinding(binding)
    except Exception as error:  # as in _open_engine: the engine's errors share no base class
        raise CheckFailedError(f"{backend} failed: {_line(error)}") from error


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
        first = 1 if network.batch == "up_to" else 0  # which has a name there, and no number
        stated = [(item.name, list(item.shape)[first:]) for item in expected]
        found = [(item.name, list(item.shape)[first:]) for item in got]
        if stated != found:
            raise InputError(f"{path}: manifest.json states {stated}, the graph has {found}; export it anew")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
