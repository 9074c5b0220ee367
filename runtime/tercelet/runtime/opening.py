"""From a folder to a pipeline that is ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from tercelet.contract.artefact import MANIFEST_NAME, read_manifest
from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.preprocess import ColorOrder
from tercelet.contract.session import Session, SessionOpener, SessionOptions
from tercelet.runtime.backends import session_opener
from tercelet.runtime.golden import check_golden as run_golden_check
from tercelet.runtime.pipelines.single import Overrides, SinglePipeline

# More cores than any machine of the kind has; an engine starts what it is told, until the system gives up.
MAXIMUM_THREADS = 256


def open_pipeline(
    path: str | Path,
    *,
    threads: int | None = None,
    spinning: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    color: ColorOrder = "BGR",
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    class_agnostic: bool | None = None,
    check_golden: bool = True,
    native_ops: bool = True,
) -> SinglePipeline:
    """Open a bundle, or a checkpoint where torch is installed, as a callable: frame in, detections out.

    threads: inside an operator, None for one a core. spinning: let idle threads burn their core for lower
    latency. color: channel order of the frames that will be handed in. score_threshold, iou_threshold (0..1),
    max_detections, class_agnostic: None takes the manifest's value. check_golden: run the bundle's golden
    pair once before the first frame. native_ops: False runs custom ops through standard operators, also where
    the bundle brings a native library.
    Raises InputError (bad folder, manifest or option), CheckFailedError (damaged file, golden pair missed),
    MissingDependencyError (engine or device not there). Use as a context manager, or call close().
    """
    if threads is not None and not 1 <= threads <= MAXIMUM_THREADS:
        raise InputError(f"threads: expected 1 to {MAXIMUM_THREADS}, got {threads}")
    folder = Path(path)
    manifest = read_manifest(folder)
    overrides = Overrides(score_threshold, iou_threshold, max_detections, class_agnostic)
    postprocess = overrides.apply(manifest.postprocess or Postprocess())
    options = SessionOptions(threads=threads, spinning=spinning, device=device, native_ops=native_ops)
    session = open_session(folder, manifest, options)
    try:
        if check_golden:
            run_golden_check(folder, manifest, session)
        return SinglePipeline(manifest, session, postprocess=postprocess, color=color)
    except BaseException:  # Ctrl-C too must release the engine; re-raised
        session.close()
        raise


def open_session(folder: Path, manifest: Manifest, options: SessionOptions) -> Session:
    """Open the network of a bundle with its backend, of a checkpoint with whatever package offers that."""
    if manifest.kind == "bundle":
        _, _, target = manifest.bundle_parts()
        try:
            opener = session_opener(target.backend)
        except InputError as error:
            raise InputError(f"{folder / MANIFEST_NAME}: {error}") from error
        return opener(folder, manifest, options)
    from importlib.metadata import entry_points  # 20 ms that a bundle need not pay

    for point in entry_points(group="tercelet.sessions"):
        if point.name == manifest.kind:
            try:
                return cast(SessionOpener, point.load())(folder, manifest, options)
            except ImportError as error:
                raise MissingDependencyError(
                    f"{folder} is a {manifest.kind}, which runs with torch ({error}): "
                    "pip install 'tercelet[train]', or run the bundle that tercelet export makes of it"
                ) from error
    raise MissingDependencyError(
        f"{folder} is a {manifest.kind}, which only an installation with training can run: "
        "pip install 'tercelet[train]', or run the bundle that tercelet export makes of it"
    )
