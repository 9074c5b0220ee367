"""From a folder to a pipeline that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from tercelet.contract.artefact import MANIFEST_NAME, read_manifest, verify_file
from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.plan import PlanName
from tercelet.contract.preprocess import ColorOrder
from tercelet.contract.session import DensitySession, Session, SessionOpener, SessionOptions
from tercelet.runtime.backends import density_session_opener, session_opener
from tercelet.runtime.fusion import FusionName
from tercelet.runtime.given_path import given_path
from tercelet.runtime.golden import check_density_golden
from tercelet.runtime.golden import check_golden as run_golden_check
from tercelet.runtime.pipelines.aerial_options import AerialOptions, options_from_record, with_overrides
from tercelet.runtime.pipelines.density_crops import DensityCropsPipeline
from tercelet.runtime.pipelines.density_source import DensitySource
from tercelet.runtime.pipelines.pipeline import Pipeline
from tercelet.runtime.pipelines.single import Overrides, SinglePipeline, fastest_resize

# More cores than any machine of the kind has; an engine starts what it is told, until the system gives up.
MAXIMUM_THREADS = 256
# Of an aerial frame, where neither the caller nor the bundle says; VisDrone judges as many.
AERIAL_DETECTIONS = 500


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
    plan: PlanName | None = None,
    density: str | Path | None = None,
    evidence: Sequence[str] | None = None,
    canvases: int | None = None,
    budget_ms: float | None = None,
    density_threshold: float | None = None,
    overlap: float | None = None,
    fusion: FusionName | None = None,
    object_px: float | None = None,
    enlarging: float | None = None,
    object_size: float | None = None,
    seed: int | None = None,
) -> Pipeline:
    """Open a bundle, or a checkpoint where torch is installed, as a callable: frame in, detections out.

    A bundle of pipeline rgbd gives an `RgbdPipeline` instead: `RgbdFrame` or upright cloud in, `Detections3d`
    out; color, class_agnostic and the options from plan to object_size are refused there. seed: of such a
    bundle alone, points are drawn at random with it instead of evenly.

    With one of the options from plan on, or with a bundle of pipeline density_crops, parts of a frame are
    looked at again on canvases of the network's size (see `AerialOptions`, and `Detections.report` for what
    was done). plan: "full" (none), "grid" (uniform tiles), "dmnet" (density crops as published) or "canvas"
    (regions at the scale their objects need, packed). density: folder of a density bundle. evidence: what
    tells where objects are: "full" (weak candidates of the full frame), "density", "previous" (the frame
    before); several may be combined; None takes density where one is given. canvases: at most so many a frame
    besides the full one. budget_ms: of a frame. density_threshold: least evidence, None chooses. overlap,
    fusion, object_px, enlarging, object_size: see AerialOptions; an option that the plan has no use for is
    refused. max_detections: None takes 500 for plans, or the manifest's value where that is larger.

    threads: inside an operator, None for one a core. spinning: let idle threads burn their core for lower
    latency. color: channel order of the frames that will be handed in. score_threshold, iou_threshold (0..1),
    max_detections, class_agnostic: None takes the manifest's value. check_golden: run the bundle's golden
    pair once before the first frame. native_ops: False runs custom ops through standard operators, also where
    the bundle brings a native library.
    Raises InputError (bad folder, manifest or option), CheckFailedError (damaged file, golden pair missed),
    MissingDependencyError (engine or device not there). Use as a context manager, or call close().
    """
    _checked_threads(threads)
    folder = Path(path)
    manifest = read_manifest(folder)
    overrides = Overrides(score_threshold, iou_threshold, max_detections, class_agnostic)
    given: dict[str, object] = {
        "plan": plan,
        "evidence": _evidence(evidence, plan, density),
        "canvases": canvases,
        "budget_ms": budget_ms,
        "threshold": density_threshold,
        "overlap": overlap,
        "fusion": fusion,
        "object_px": object_px,
        "enlarging": enlarging,
        "object_size": object_size,
    }
    options = SessionOptions(threads=threads, spinning=spinning, device=device, native_ops=native_ops)
    if manifest.pipeline == "rgbd":
        # What reads clouds takes 30 ms to import, which a detector of pictures need not pay.
        from tercelet.runtime.rgbd_opening import open_rgbd, refuse_picture_options

        of_pictures = {"density": density, "class_agnostic": class_agnostic} | given
        refuse_picture_options(folder, manifest, of_pictures | {"color": color if color != "BGR" else None})
        opened_rgbd = open_rgbd(
            folder,
            manifest,
            options=options,
            postprocess=overrides.apply(manifest.postprocess or Postprocess()),
            check_golden=check_golden,
            seed=seed,
        )
        return cast(Pipeline, opened_rgbd)
    if seed is not None:
        raise InputError(f"seed: expected with a detector of clouds only, got it with {folder}; leave it out")
    beside = _density_folder(folder, manifest, density)
    closer = _looking_closer(manifest, given, density=density, has_density=beside is not None)
    if closer is not None and max_detections is None:
        most = max((manifest.postprocess or Postprocess()).max_detections, AERIAL_DETECTIONS)
        overrides = replace(overrides, max_detections=most)
    postprocess = overrides.apply(manifest.postprocess or Postprocess())
    with ExitStack() as opened:
        session = open_session(folder, manifest, options)
        opened.callback(session.close)
        if check_golden:
            run_golden_check(folder, manifest, session)
        pipeline: Pipeline
        if closer is None:
            pipeline = SinglePipeline(manifest, session, postprocess=postprocess, color=color)
        else:
            source = None
            if beside is not None and closer.asks_density:
                source = _density_source(beside, options, check=check_golden)
                opened.callback(source.close)
            pipeline = DensityCropsPipeline(
                manifest, session, postprocess=postprocess, options=closer, density=source, color=color
            )
        opened.pop_all()  # from here on the pipeline closes them
    return pipeline


def _evidence(
    evidence: Sequence[str] | None, plan: PlanName | None, density: str | Path | None
) -> tuple[str, ...] | None:
    """What was asked for as a tuple; a density network that was named is evidence where nothing else is."""
    if evidence is None:
        return ("density",) if density is not None and plan in (None, "canvas") else None
    return (evidence,) if isinstance(evidence, str) else tuple(evidence)


def _looking_closer(
    manifest: Manifest, given: Mapping[str, object], *, density: str | Path | None, has_density: bool
) -> AerialOptions | None:
    """How the pipeline looks closer, None where neither the bundle nor the caller wants that."""
    asked = density is not None or any(value is not None for value in given.values())
    if manifest.pipeline != "density_crops" and not asked:
        return None
    closer = with_overrides(options_from_record(manifest.aerial, has_density=has_density), **given)
    if density is not None and not closer.asks_density:
        raise InputError(
            f"density: plan {closer.plan} with evidence {', '.join(closer.evidence)} never asks a density "
            "network; leave it out, or take plan canvas with evidence density, or plan dmnet"
        )
    return closer


def open_single(
    path: str | Path,
    *,
    threads: int | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    class_agnostic: bool | None = None,
    check_golden: bool = True,
    options: SessionOptions | None = None,
) -> SinglePipeline:
    """The detector of a bundle or checkpoint alone on full frames, also where a bundle could look closer.

    options: of the engine, in place of threads. All others and errors as for `open_pipeline`.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    overrides = Overrides(score_threshold, iou_threshold, max_detections, class_agnostic)
    postprocess = overrides.apply(manifest.postprocess or Postprocess())
    session = open_session(folder, manifest, options or SessionOptions(threads=_checked_threads(threads)))
    try:
        if check_golden:
            run_golden_check(folder, manifest, session)
        return SinglePipeline(manifest, session, postprocess=postprocess)
    except BaseException:  # Ctrl-C too must release the engine; re-raised
        session.close()
        raise


def _checked_threads(threads: int | None) -> int | None:
    if threads is not None and not 1 <= threads <= MAXIMUM_THREADS:
        raise InputError(f"threads: expected 1 to {MAXIMUM_THREADS}, got {threads}")
    return threads


def _density_folder(folder: Path, manifest: Manifest, density: str | Path | None) -> Path | None:
    """The density bundle to use: the one that was named, or the one inside the bundle."""
    if density is not None:
        return given_path(density, name="density")
    if manifest.aerial is None or manifest.aerial.density is None:
        return None
    # The outer manifest holds the hash of the inner one, which holds those of the density network's files.
    name = f"{manifest.aerial.density}/{MANIFEST_NAME}"
    return verify_file(folder, manifest, name).parent


def _density_source(folder: Path, options: SessionOptions, *, check: bool) -> DensitySource:
    manifest = read_manifest(folder)
    session = open_density_session(folder, manifest, options)
    try:
        if check:
            check_density_golden(folder, manifest, session)
        return DensitySource(manifest, session, resize_into=fastest_resize())
    except BaseException:  # Ctrl-C too must release the engine; re-raised
        session.close()
        raise


def open_density_session(folder: Path, manifest: Manifest, options: SessionOptions) -> DensitySession:
    """Open the network of a density bundle. Raises InputError where the folder is none."""
    try:
        manifest.density_parts()
        if manifest.kind != "bundle" or manifest.target is None:
            raise InputError(
                f"manifest.json: expected a density bundle, got a {manifest.kind}: tercelet export it first"
            )
        opener = density_session_opener(manifest.target.backend)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    return opener(folder, manifest, options)


def open_session(folder: Path, manifest: Manifest, options: SessionOptions) -> Session:
    """Open the network of a bundle with its backend, of a checkpoint with whatever package offers that."""
    if manifest.kind == "bundle":
        if manifest.pipeline == "density":
            raise InputError(
                f"{folder}: expected a detector, got a density network; it shows a detector where to look: "
                "tercelet run DETECTOR SOURCE --density " + str(folder)
            )
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
