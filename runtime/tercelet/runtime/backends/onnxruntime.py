"""ONNX Runtime: the embedded default, on the CPU; the CUDA provider where it was installed and asked for."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tercelet.contract.artefact import verify_file
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import Manifest, Network
from tercelet.contract.session import SessionOptions
from tercelet.runtime.backends.onnxruntime_binding import line_of
from tercelet.runtime.backends.onnxruntime_density import OnnxRuntimeDensitySession
from tercelet.runtime.backends.onnxruntime_detector import OnnxRuntimeSession
from tercelet.runtime.backends.onnxruntime_points import OnnxRuntimePointSession, Runner

__all__ = [
    "Runner",
    "installed_distributions",
    "open_density_session",
    "open_point_session",
    "open_runner",
    "open_session",
    "run_once",
]

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
            f"{path}: onnxruntime {engine.__version__} refuses it: {line_of(error)}{_advice(manifest, error)}"
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
                f"{path}: this library of native ops cannot be loaded here: {line_of(error)}; build it on "
                f"this machine: tercelet build-ops {folder}, or do without it: --no-native-ops"
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
        raise CheckFailedError(f"{name}: refuses the graph: {line_of(error)}") from error
    return Runner(session, name)


def run_once(model: bytes, inputs: Mapping[str, NDArray[Any]]) -> tuple[str, list[NDArray[Any]]]:
    """Run a serialized graph once on the CPU: is the engine sound? Returns its version and the outputs.

    Whatever importing or running the engine raises comes through.
    """
    import onnxruntime as engine

    session = engine.InferenceSession(model, providers=[_PROVIDERS["cpu"]])
    return str(engine.__version__), list(session.run(None, dict(inputs)))


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
            f"this bundle needs onnxruntime ({line_of(error)}): pip install 'tercelet[cpu]'"
        ) from error
    return onnxruntime


def _check_signature(session: Any, network: Network, path: Path) -> None:
    for expected, got in ((network.inputs, session.get_inputs()), (network.outputs, session.get_outputs())):
        first = 1 if network.batch == "up_to" else 0  # which has a name there, and no number
        stated = [(item.name, list(item.shape)[first:]) for item in expected]
        found = [(item.name, list(item.shape)[first:]) for item in got]
        if stated != found:
            raise InputError(f"{path}: manifest.json states {stated}, the graph has {found}; export it anew")
