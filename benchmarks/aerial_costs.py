"""What the stages of the aerial pipeline cost on one core: part `costs` of bench_aerial.py."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.artefact import read_manifest
from tercelet.contract.labels import numbered_labels
from tercelet.contract.manifest import Provenance
from tercelet.contract.session import SessionOptions
from tercelet.export import export
from tercelet.runtime import open_pipeline
from tercelet.runtime.opening import open_density_session, open_session
from tercelet.runtime.pipelines.density_source import DensitySource
from tercelet.runtime.pipelines.single import fastest_resize
from tercelet.training import build, write_checkpoint

Frames = Sequence[NDArray[np.uint8]]
# The detector that a density network is compared with; its weights are random, which costs the same.
DETECTOR, CLASSES, SIDE = "yolo11n", 80, 640
STAGES = ("preprocess", "density", "plan", "cut", "infer", "postprocess")
WARM_UP = 3


def measure_stages(
    frames: Frames, *, bundle: Path, rounds: int, score: float | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Milliseconds of each stage, and of plan and fusion together, over all frames and rounds."""
    spent: dict[str, list[float]] = {}
    canvases, found = [], []
    with open_pipeline(bundle, threads=1, score_threshold=score, **options) as pipeline:
        for number in range(WARM_UP + rounds):
            for frame in frames:
                detections = pipeline(frame)
                if number < WARM_UP:
                    continue
                assert detections.report is not None
                times = dict(detections.timing_ms)
                times["plan + fusion"] = times["plan"] + times["postprocess"]
                times["all"] = sum(detections.timing_ms.values())
                for stage, value in times.items():
                    spent.setdefault(stage, []).append(value)
                canvases.append(detections.report.inferences)
                found.append(len(detections))
    return {
        "ms": {stage: summary(values) for stage, values in spent.items()},
        "inferences": float(np.mean(canvases)),
        "detections": float(np.mean(found)),
        "samples": len(canvases),
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles, 95th percentile and least."""
    names = {"least": 0, "low": 25, "median": 50, "high": 75, "p95": 95}
    return {name: float(np.percentile(values, at)) for name, at in names.items()}


def detector_bundle(folder: Path) -> Path:
    """DETECTOR with random weights, exported for one canvas."""
    torch.manual_seed(0)
    checkpoint = folder / "checkpoint"
    write_checkpoint(
        checkpoint,
        build(DETECTOR, classes=CLASSES).eval(),
        labels=numbered_labels(CLASSES),
        provenance=Provenance(source="random weights", sha256="0" * 64, format="none"),
    )
    return export(checkpoint, output=folder / "bundle", size=SIDE)


def measure_density(frames: Frames, densities: Sequence[str], *, rounds: int) -> dict[str, Any]:
    """Density networks, canvas and all, against one pass of the detector's network, in turn."""
    if not densities:
        return {}
    options = SessionOptions(threads=1)
    with tempfile.TemporaryDirectory() as name:
        bundle = detector_bundle(Path(name))
        detector = open_session(bundle, read_manifest(bundle), options)
        canvas = np.full((1, SIDE, SIDE, 3), 114, np.uint8)
        run = detector.bind(canvas)
        sources = {}
        for density in densities:
            manifest = read_manifest(Path(density))
            session = open_density_session(Path(density), manifest, options)
            sources[density] = DensitySource(manifest, session, resize_into=fastest_resize())
        spent: dict[str, list[float]] = {DETECTOR: [], **{density: [] for density in sources}}
        for number in range(WARM_UP + rounds):
            frame = frames[number % len(frames)]
            steps: dict[str, Callable[[], Any]] = {DETECTOR: lambda: run(1)}
            for density, source in sources.items():
                steps[density] = _density_step(source, frame)
            for step, act in steps.items():
                start = time.process_time()
                act()
                if number >= WARM_UP:
                    spent[step].append((time.process_time() - start) * 1e3)
        for source in sources.values():
            source.close()
        detector.close()
    own = np.array(spent[DETECTOR])
    return {
        step: {"cpu_ms": summary(values), "of_detector": summary((np.array(values) / own).tolist())}
        for step, values in spent.items()
    }


def _density_step(source: DensitySource, frame: NDArray[np.uint8]) -> Callable[[], Any]:
    return lambda: source.density_of(frame, color="BGR")


def print_stages(name: str, result: dict[str, Any], out: TextIO) -> None:
    """One table of stages."""
    print(
        f"{name}: {result['samples']} frames, {result['inferences']:.1f} canvases and "
        f"{result['detections']:.0f} detections a frame, ms on one thread",
        file=out,
    )
    print(f"  {'stage':<16}{'median':>9}{'quartiles':>18}{'p95':>9}{'least':>9}", file=out)
    for stage in (*STAGES, "plan + fusion", "all"):
        row = result["ms"].get(stage)
        if row is not None:
            spread = f"{row['low']:.2f}..{row['high']:.2f}"
            print(
                f"  {stage:<16}{row['median']:>9.2f}{spread:>18}{row['p95']:>9.2f}{row['least']:>9.2f}",
                file=out,
            )


def print_density(name: str, result: dict[str, Any], out: TextIO) -> None:
    """The table of density networks."""
    if not result:
        return
    print(
        f"{name}: density of a frame, resizing included, against one {DETECTOR} pass at {SIDE} px", file=out
    )
    for step, row in result.items():
        share = row["of_detector"]
        print(
            f"  {Path(step).name:<28}{row['cpu_ms']['median']:>9.2f} CPU ms   {share['median']:.3f} of it "
            f"({share['low']:.3f}..{share['high']:.3f})",
            file=out,
        )
