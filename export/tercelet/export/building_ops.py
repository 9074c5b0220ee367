"""The verb `build-ops`: native kernels of custom ops, built on the device and put into a bundle. No torch, no
onnx."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tercelet.contract.artefact import (
    check_output_free,
    finish_artefact,
    new_artefact,
    read_manifest,
    verify_file,
)
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Manifest, Plugin
from tercelet.contract.op_spec import DOMAIN
from tercelet.contract.session import SessionOptions
from tercelet.export.op_conformance import Conformance, check_native_library
from tercelet.ops import OPS
from tercelet.ops.building import BACKENDS, Backend, NativeLibrary, build_library
from tercelet.runtime.golden import check_golden
from tercelet.runtime.opening import open_session
from tercelet.runtime.point_golden import check_point_golden
from tercelet.runtime.rgbd_opening import open_point_session

Report = Callable[[str], None]
BUNDLED: Backend = "onnxruntime"


@dataclass(frozen=True)
class BuiltOps:
    """libraries: what was built, or found built. bundle: where the library for ONNX Runtime was put, if
    asked. conformance: that library's run of the case table."""

    libraries: tuple[NativeLibrary, ...]
    conformance: Conformance | None
    bundle: Path | None


def build_ops(
    bundle: str | Path | None = None,
    *,
    output: str | Path | None = None,
    backends: tuple[Backend, ...] = ("onnxruntime",),
    overwrite: bool = False,
    report: Report | None = None,
) -> BuiltOps:
    """Build the native ops on this machine, run them on every case of their table, and put them into a
    bundle.

    bundle: None builds into the cache only. output: a new bundle; None replaces `bundle` by itself with the
    library in it, once that is complete. backends: of "onnxruntime", "cuda", "tensorrt"; a bundle takes that
    for ONNX Runtime, the engine of every bundle so far. overwrite: replace an older bundle at `output`.
    Raises MissingDependencyError (compiler, CMake, toolkit or headers), CheckFailedError (does not compile, a
    case or the golden pair differs) or InputError; the bundle is then as it was.
    """
    say = report or (lambda line: None)
    if not backends:
        raise InputError(f"backends: expected some of {', '.join(BACKENDS)}, got none")
    place, manifest = None, None
    if bundle is not None:
        manifest = _bundle_manifest(Path(bundle))
        place = Path(bundle).resolve() if output is None else Path(output)
        check_output_free(place, kind="bundle", overwrite=overwrite or output is None)
        if BUNDLED not in backends:
            raise InputError(
                f"{bundle}: expected {BUNDLED} among the backends, got {', '.join(backends)}; add --backend "
                f"{BUNDLED}, or leave the bundle out to build only"
            )
    elif output is not None:
        raise InputError("output: expected a bundle to put the library into, got none; name one before -o")
    libraries = tuple(build_library(backend, report=say) for backend in backends)
    native = next((library for library in libraries if library.backend == BUNDLED), None)
    conformance = check_native_library(native.path) if native else None
    if conformance:
        say(f"{conformance.cases} cases within {conformance.difference:.2g} of the reference")
    if native is not None and manifest is not None and place is not None:
        _put_into_bundle(native.path, Path(str(bundle)), manifest, place, overwrite or output is None)
        say(f"wrote {place}")
    return BuiltOps(libraries, conformance, place)


def _bundle_manifest(bundle: Path) -> Manifest:
    manifest = read_manifest(bundle)
    if manifest.kind != "bundle":
        raise InputError(f"{bundle}: expected a bundle, got a {manifest.kind}; make one with tercelet export")
    network, _, _ = manifest.bundle_parts()
    if not any(name.startswith(f"{DOMAIN}::") for name in network.ops):
        raise InputError(f"{bundle}: its network has no custom ops, so there is nothing to build for it")
    unknown = [name for name in network.ops if name.removeprefix(f"{DOMAIN}::") not in OPS]
    if unknown:
        raise InputError(f"{bundle}: this version of tercelet does not know {', '.join(unknown)}")
    return manifest


def _put_into_bundle(library: Path, bundle: Path, manifest: Manifest, place: Path, overwrite: bool) -> None:
    machine, system = platform.machine(), platform.system()
    name = f"plugins/{library.stem}-{system.lower()}-{machine}{library.suffix}"
    plugin = Plugin(name, BUNDLED, machine, system, tuple(f"{DOMAIN}::{op}" for op in OPS))
    others = tuple(item for item in manifest.plugins if item.file != name)
    with new_artefact(place, kind="bundle", overwrite=overwrite) as folder:
        for file in (file for file in manifest.files if file != name):
            source = verify_file(bundle, manifest, file)
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / file)
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(library, folder / name)
        complete = finish_artefact(folder, replace(manifest, plugins=(*others, plugin)))
        _check_golden(folder, complete)


def _check_golden(folder: Path, manifest: Manifest) -> None:
    """Open the bundle and run its golden pair."""
    if manifest.pipeline == "rgbd":
        points = open_point_session(folder, manifest, SessionOptions())
        try:
            check_point_golden(folder, manifest, points)
        finally:
            points.close()
        return
    session = open_session(folder, manifest, SessionOptions())
    try:
        check_golden(folder, manifest, session)
    finally:
        session.close()
