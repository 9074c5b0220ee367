"""The verb `demo`: the whole chain in one go, ending with pictures and a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from tercelet.contract.artefact import MANIFEST_NAME, read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.json_output import check_json_place, write_json
from tercelet.contract.labels import numbered_labels
from tercelet.contract.manifest import Manifest, Provenance
from tercelet.contract.scenes import synthetic_frames
from tercelet.evaluation.comparing import ComparisonResult, compare
from tercelet.evaluation.evaluating import evaluate
from tercelet.evaluation.result import EvaluationResult
from tercelet.export.exporting import export
from tercelet.runtime import vision
from tercelet.runtime.benchmarking import BenchmarkResult, benchmark
from tercelet.runtime.running import RunSummary, run
from tercelet.training.building import build
from tercelet.training.checkpoint import write_checkpoint
from tercelet.training.importing.import_weights import import_weights

# Where a checkout has real data and weights beside it, relative to the working directory.
_NEIGHBOUR = Path("../shared/data")
_OFFICIAL = "weights/yolov5n_v6.1-v7.0_official.pt"
_FALLBACK_DETECTOR = "yolov5n"
Report = Callable[[str], None]


@dataclass(frozen=True)
class DemoResult:
    """What the chain made, and what each of its stages measured. evaluation: None without labelled frames."""

    checkpoint: Path
    bundle: Path
    pictures: tuple[Path, ...]
    trained: bool
    manifest: Manifest
    comparison: ComparisonResult
    run: RunSummary
    evaluation: EvaluationResult | None
    benchmark: BenchmarkResult
    seconds: float

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "checkpoint": str(self.checkpoint),
            "bundle": str(self.bundle),
            "pictures": [str(path) for path in self.pictures],
            "trained": self.trained,
            "parity": asdict(self.manifest.parity) if self.manifest.parity else None,
            "comparison": self.comparison.record(),
            "run": asdict(self.run),
            "evaluation": self.evaluation.record() if self.evaluation else None,
            "benchmark": asdict(self.benchmark),
            "seconds": self.seconds,
        }


def demo(
    *,
    weights: str | Path | None = None,
    detector: str | None = None,
    images: Sequence[str | Path] | None = None,
    data: str | Path | None = None,
    output: str | Path = "demo",
    quick: bool = False,
    json: str | Path | None = None,
    report: Report | None = None,
) -> DemoResult:
    """Import, export, compare, run, evaluate, benchmark; an earlier demo in `output` is replaced.

    weights, detector: upstream weights and what they are; by default the official yolov5n of ../shared/data,
    and where that is absent a network that nobody trained. images: pictures or folders to run on. data:
    labelled frames to evaluate on, as for `evaluate`. quick: fewer frames to benchmark, no cold start.
    report: called with one line a step. json: file for all figures, "-" for stdout.
    Raises what the stages raise; CheckFailedError too if bundle and checkpoint disagree.
    """
    start = perf_counter()
    say = report or (lambda line: None)
    check_json_place(json)
    output = _own_folder(Path(output))
    weights, detector, images, data = _sources(weights, detector, images, data, output)
    say(f"1/5 import: {weights or 'no weights given, an untrained network instead'}")
    checkpoint = _checkpoint(output, weights, detector)
    say("2/5 export: torch to ONNX, compared on the frames")
    bundle = export(
        checkpoint,
        output=output / "bundle",
        frames=images,
        overwrite=True,
        report=lambda line: say("    " + line),
    )
    say("3/5 run: detections, pictures, and the checkpoint on the same frames")
    drawn = output / "pictures"
    before = _times(drawn)
    summary = run(bundle, images, json=output / "detections.jsonl", save=drawn)
    comparison = _agreement(checkpoint, bundle, images)
    say(f"4/5 evaluate: {data or 'skipped, no labelled frames (--data)'}")
    evaluation = evaluate(bundle, data, quiet=True) if data else None
    say("5/5 benchmark")
    times = benchmark(bundle, images=images, frames=20 if quick else 100, cold_start=not quick)
    pictures = tuple(path for path, changed in _times(drawn).items() if before.get(path) != changed)
    result = DemoResult(
        checkpoint=checkpoint,
        bundle=bundle,
        pictures=pictures,
        trained=weights is not None,
        manifest=read_manifest(bundle),
        comparison=comparison,
        run=summary,
        evaluation=evaluation,
        benchmark=times,
        seconds=perf_counter() - start,
    )
    if json is not None:
        write_json(json, result.record())
    return result


def _agreement(checkpoint: Path, bundle: Path, images: Sequence[str | Path]) -> ComparisonResult:
    """Both on the same frames; CheckFailedError if they do not find the same."""
    comparison = compare(checkpoint, bundle, images=images, quiet=True)
    if not comparison.agrees:
        raise CheckFailedError(f"{bundle}: does not find what {checkpoint} finds: {comparison.reason}")
    return comparison


def _own_folder(output: Path) -> Path:
    """The folder itself if it is new, empty, or an earlier demo's; otherwise InputError."""
    earlier = (output / "checkpoint" / MANIFEST_NAME).is_file()
    if output.exists() and not earlier and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: already exists and is no earlier demo's; choose another --output")
    return output


def _times(folder: Path) -> dict[Path, int]:
    """The files of a folder, sorted, and when each was written."""
    files = sorted(path for path in folder.glob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files}


def _sources(
    weights: str | Path | None,
    detector: str | None,
    images: Sequence[str | Path] | None,
    data: str | Path | None,
    output: Path,
) -> tuple[Path | None, str, list[Path], Path | None]:
    """What was given, and for what was not the neighbour's, and for what is not there something made here."""
    if (weights is None) != (detector is None):
        raise InputError("expected weights and detector together, got one of them; say which network it is")
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"{weights}: expected a file with weights, nothing is there; check the path")
    here = _NEIGHBOUR.is_dir()
    if weights is None and here:
        weights, detector = _NEIGHBOUR / _OFFICIAL, _FALLBACK_DETECTOR
    if not images:
        neighbours = [_NEIGHBOUR / "coco" / name for name in ("bus.jpg", "zidane.jpg")]
        images = neighbours if here else _synthetic_pictures(output / "frames")
        if data is None and here:
            data = _NEIGHBOUR / "coco" / "coco8"
    found = Path(weights) if weights is not None else None
    return found, detector or _FALLBACK_DETECTOR, [Path(p) for p in images], Path(data) if data else None


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


def _checkpoint(output: Path, weights: Path | None, detector: str) -> Path:
    folder = output / "checkpoint"
    if weights is not None:
        return import_weights(weights, detector=detector, output=folder, overwrite=True)
    torch.manual_seed(0)
    network = build(detector).eval()
    write_checkpoint(
        folder,
        network,
        labels=numbered_labels(network.options["classes"]),
        provenance=Provenance(source="untrained", sha256="0" * 64, format="none", licence="Apache-2.0"),
        overwrite=True,
    )
    return folder
