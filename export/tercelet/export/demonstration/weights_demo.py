"""The demo of somebody's weights: the whole chain from the import on. Needs torch and onnx."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.scenes import synthetic_frames
from tercelet.evaluation.comparing import ComparisonResult, compare
from tercelet.evaluation.evaluating import evaluate
from tercelet.export.demonstration.demo_folder import CHECKPOINT, times_of, written_since
from tercelet.export.demonstration.demo_result import WeightsDemo
from tercelet.export.demonstration.installed import EVALUATE_PACKAGES, check_installed
from tercelet.export.exporting import export
from tercelet.runtime import vision
from tercelet.runtime.benchmarking import benchmark
from tercelet.runtime.running import run
from tercelet.training.importing.import_weights import import_weights


def demonstrate_weights(
    weights: Path,
    detector: str,
    *,
    images: Sequence[Path],
    data: Path | None,
    output: Path,
    quick: bool,
    report: Callable[[str], object],
) -> WeightsDemo:
    """Import, export, compare, run, evaluate, benchmark. images: generated ones where none are given.

    quick: fewer frames to benchmark, no cold start. Raises what the stages raise; CheckFailedError too if
    bundle and checkpoint disagree.
    """
    start = perf_counter()
    if data is not None:
        check_installed(EVALUATE_PACKAGES, extra="evaluate", what="data")
    images = images or _synthetic_pictures(output / "frames")
    report(f"1/5 import: {weights}")
    checkpoint = import_weights(weights, detector=detector, output=output / CHECKPOINT, overwrite=True)
    report("2/5 export: torch to ONNX, compared on the frames")
    bundle = export(
        checkpoint,
        output=output / "bundle",
        frames=images,
        overwrite=True,
        report=lambda line: report("    " + line),
    )
    report("3/5 run: detections, pictures, and the checkpoint on the same frames")
    drawn = output / "pictures"
    before = times_of(drawn)
    summary = run(bundle, images, json=output / "detections.jsonl", save=drawn)
    comparison = _agreement(checkpoint, bundle, images)
    report(f"4/5 evaluate: {data or 'skipped, no labelled frames (--data)'}")
    evaluation = evaluate(bundle, data, quiet=True) if data else None
    report("5/5 benchmark")
    times = benchmark(bundle, images=images, frames=20 if quick else 100, cold_start=not quick)
    return WeightsDemo(
        checkpoint=checkpoint,
        bundle=bundle,
        pictures=written_since(before, drawn),
        manifest=read_manifest(bundle),
        comparison=comparison,
        run=summary,
        evaluation=evaluation,
        benchmark=times,
        seconds=perf_counter() - start,
    )


def _agreement(checkpoint: Path, bundle: Path, images: Sequence[Path]) -> ComparisonResult:
    """Both on the same frames; CheckFailedError if they do not find the same."""
    comparison = compare(checkpoint, bundle, images=images, quiet=True)
    if not comparison.agrees:
        raise CheckFailedError(f"{bundle}: does not find what {checkpoint} finds: {comparison.reason}")
    return comparison


def _synthetic_pictures(folder: Path) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}; choose another --output") from error
    paths = []
    for index, frame in enumerate(synthetic_frames(3, height=540, width=960)):
        paths.append(folder / f"scene{index}.png")
        vision.write_image(paths[-1], frame)
    return paths
