"""Detector and density network in one bundle, so that a drone opens one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tercelet.contract.artefact import (
    check_output_free,
    finish_artefact,
    inside,
    new_artefact,
    read_manifest,
    verify_file,
)
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import AerialRecord, Manifest, Postprocess
from tercelet.contract.plan import PlanName
from tercelet.export.copying import copy_bundle, copy_file
from tercelet.runtime.opening import AERIAL_DETECTIONS, open_pipeline
from tercelet.runtime.pipelines.aerial_options import AerialOptions
from tercelet.runtime.pipelines.single import Overrides

# Canvases in one run: enough for half of the uniform tiles of a 4K frame.
AERIAL_BATCH = 16
DENSITY_FOLDER = "density"


def bundle_aerial(
    detector: str | Path,
    density: str | Path | None = None,
    *,
    output: str | Path | None = None,
    plan: PlanName = "canvas",
    evidence: Sequence[str] | None = None,
    canvases: int | None = None,
    object_px: float | None = None,
    enlarging: float | None = None,
    iou: float | None = None,
    overwrite: bool = False,
    report: Callable[[str], object] | None = None,
) -> Path:
    """Put a detector's bundle and a density bundle into one of pipeline density_crops; returns its folder.

    density: None keeps the density network of a detector's bundle that holds one already; of any other it
    makes a bundle that finds where to look by the detector itself. output: default is the detector's name
    with -aerial. plan, evidence, canvases, object_px, enlarging: what the bundle does unless a caller says
    otherwise, see `tercelet.runtime.open_pipeline`; evidence None takes the density network where there is
    one. iou: threshold of suppression, None keeps the detector's; where several regions show one object a
    lower one pays. Files are compared with their sha256, copied, and the new bundle is opened once, golden
    pairs included. report: gets each step. Raises InputError, also for a density network that plan and
    evidence never ask, CheckFailedError; then nothing is left on disk.
    """
    detector, say = Path(detector), report or (lambda line: None)
    manifest = read_manifest(detector)
    if manifest.kind != "bundle" or manifest.pipeline not in ("single", "density_crops"):
        raise InputError(
            f"{detector}: expected a detector's bundle, got a {manifest.kind} of {manifest.detector.name}"
        )
    inner = None if manifest.aerial is None else manifest.aerial.density
    network = density if density is not None or inner is None else inside(detector, inner)
    postprocess = _postprocess(manifest, iou)
    record = _record(plan, evidence, canvases, object_px, enlarging, density=network)
    if network is not None:
        check_density_bundle(network)
    if output is None:
        output = detector.resolve().name.removesuffix("-bundle") + "-aerial"
    output = check_output_free(output, kind="bundle", overwrite=overwrite)
    with new_artefact(output, kind="bundle", overwrite=overwrite) as folder:
        for name in manifest.files:
            # Compared also where put_density_beside copies it, or where another one takes its place.
            file = verify_file(detector, manifest, name)
            if inner is None or not name.startswith(f"{inner}/"):
                copy_file(file, folder / name)
        made = replace(manifest, pipeline="density_crops", aerial=record, postprocess=postprocess)
        if network is not None:
            made = put_density_beside(folder, made, network)
        finish_aerial(folder, made)
    if inner is not None:
        say(f"{'kept' if density is None else 'replaced'} the density network that {detector} holds")
    say(f"wrote {output}")
    return output


def check_density_bundle(folder: str | Path) -> Manifest:
    """The manifest of a density bundle; InputError where the folder is something else."""
    manifest = read_manifest(folder)
    try:
        manifest.density_parts()
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    if manifest.kind != "bundle":
        raise InputError(f"{folder}: expected a density bundle, got a {manifest.kind}; export it first")
    return manifest


def finish_aerial(folder: Path, manifest: Manifest) -> Manifest:
    """Finish the artefact, and open it once, golden pairs included; CheckFailedError where it fails."""
    complete = finish_artefact(folder, manifest)
    with open_pipeline(folder):
        return complete


def put_density_beside(folder: Path, manifest: Manifest, density: str | Path) -> Manifest:
    """Copy a density bundle into the folder of a detector's, and the manifest that says so."""
    check_density_bundle(density)
    copy_bundle(Path(density), folder / DENSITY_FOLDER)
    record = manifest.aerial or AerialRecord(evidence=("density",))
    return replace(
        manifest,
        pipeline="density_crops",
        aerial=replace(record, density=DENSITY_FOLDER),
        postprocess=_postprocess(manifest, None),
    )


def _record(
    plan: PlanName,
    evidence: Sequence[str] | None,
    canvases: int | None,
    object_px: float | None,
    enlarging: float | None,
    *,
    density: str | Path | None,
) -> AerialRecord:
    if evidence is None:
        sources: tuple[str, ...] = ("full",) if density is None else ("density",)
    else:
        sources = (evidence,) if isinstance(evidence, str) else tuple(evidence)
    general = AerialOptions()
    size = general.object_px if object_px is None else object_px
    power = general.enlarging if enlarging is None else enlarging
    checked = AerialOptions(plan=plan, evidence=sources, canvases=canvases, object_px=size, enlarging=power)
    asks_density = "density" in sources or plan == "dmnet"
    if density is None and asks_density:
        raise InputError(
            "density: expected a density bundle for evidence density and for plan dmnet, got none; name one, "
            "or take evidence full"
        )
    if density is not None and not asks_density:
        raise InputError(
            f"evidence: expected density among it, or plan dmnet, got {','.join(sources)} and plan {plan}, "
            f"which would never ask the density network of {density}; add density to the evidence, or make "
            "the bundle of the detector alone"
        )
    return AerialRecord(
        plan=checked.plan,
        evidence=checked.evidence,
        canvases=canvases,
        object_px=checked.object_px,
        enlarging=checked.enlarging,
    )


def _postprocess(manifest: Manifest, iou: float | None) -> Postprocess:
    general = Overrides(iou_threshold=iou).apply(manifest.postprocess or Postprocess())
    return replace(general, max_detections=max(general.max_detections, AERIAL_DETECTIONS))
