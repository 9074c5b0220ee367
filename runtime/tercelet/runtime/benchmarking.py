"""The verb `benchmark`: latency by stage, cold start and memory of one bundle, or of several side by side.

Several bundles run in one process and take turns, block of frames by block of frames, every second round
in reverse: whatever slows the machine down for a while slows all of them. Ratios are taken within a round.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Literal, Protocol

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Manifest
from tercelet.contract.plan import AerialReport, PlanName
from tercelet.runtime.benchmark_frames import benchmark_frames
from tercelet.runtime.cold_start import REPEATS, Memory, StartCost, measure_memory, measure_starts
from tercelet.runtime.fusion import FusionName
from tercelet.runtime.given_path import given_path
from tercelet.runtime.latency import Distribution, Ratio, distribution_of, ratio_of
from tercelet.runtime.machine_identity import Machine, identify_machine
from tercelet.runtime.opening import open_pipeline
from tercelet.runtime.pipelines.pipeline import Pipeline
from tercelet.runtime.progress import Progress

ROUNDS = 10
# Measured beside the stages, and kept with them.
_WHOLES = ("total", "cpu")


class Frames(Protocol):
    """What a benchmark runs on: `BenchmarkFrames` of pictures, `BenchmarkRooms` of RGB-D."""

    @property
    def description(self) -> str:
        """In a few words."""
        ...

    def take(self, index: int) -> tuple[Any, float | None]:
        """Frame `index` as the pipeline takes it, and the milliseconds of reading it, None for one in
        memory."""
        ...

    def first_file(self, folder: Path) -> Path:
        """Where a fresh process finds the first frame; `folder` is there to write it into."""
        ...


@dataclass(frozen=True)
class Settings:
    """How it was measured: frames and warm-up frames of each bundle, rounds, and the engine's options."""

    frames: int
    warmup: int
    rounds: int
    threads: int | None
    spinning: bool
    device: str
    images: str


@dataclass(frozen=True)
class BundleTimes:
    """One bundle. total_ms is the whole frame; stages_ms its parts in the order of work, None for read where
    nothing was read.

    cpu_ms_per_frame counts every thread of the process. cold_start ends with the first detections, golden
    pair included; None if it was not asked for. detections_per_frame tells how much postprocess had to do.
    plan: how parts of a frame were chosen to be looked at again, inferences_per_frame: canvases that went
    through the network, the full frame's included; None where only full frames are looked at. points: of a
    cloud, None for a detector of pictures, whose canvas it is otherwise.
    """

    name: str
    detector: str
    precision: str | None
    canvas: tuple[int, int]
    backend: str
    sha256: str | None
    total_ms: Distribution
    stages_ms: dict[str, Distribution | None]
    frames_per_second: float
    cpu_ms_per_frame: float
    detections_per_frame: float
    cold_start: StartCost | None
    memory: Memory
    plan: PlanName | None = None
    inferences_per_frame: float | None = None
    points: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Time of the first bundle over the time of `against`: below 1, the first one is faster.

    cpu is CPU time a frame; on a machine that others use too it says more than the clock.
    """

    against: str
    total: Ratio
    infer: Ratio
    cpu: Ratio


@dataclass(frozen=True)
class BenchmarkResult:
    """bundles: the first one, then those it was measured against. imports: a fresh process that imports the
    packages alone, to compare cold starts with."""

    machine: Machine
    settings: Settings
    imports: StartCost | None
    bundles: tuple[BundleTimes, ...]
    comparisons: tuple[Comparison, ...]


@dataclass
class _Samples:
    """What was measured on one bundle so far.

    rounds: by stage ("total", "cpu" too), a list of ms each. reports: of the frames that have one.
    """

    rounds: dict[str, list[list[float]]] = field(default_factory=dict)
    detections: int = 0
    reports: list[AerialReport] = field(default_factory=list)

    def column(self, stage: str) -> list[float]:
        return [value for block in self.rounds.get(stage, []) for value in block]

    def stages(self) -> list[str]:
        """In the order of work; read is always the first."""
        return ["read", *(stage for stage in self.rounds if stage not in ("read", *_WHOLES))]


def benchmark(
    bundle: str | Path,
    *,
    against: Sequence[str | Path] = (),
    images: str | Path | Sequence[str | Path] | None = None,
    frames: int = 100,
    warmup: int = 10,
    rounds: int | None = None,
    threads: int | None = None,
    spinning: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    cold_start: bool = True,
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
    progress: bool = False,
) -> BenchmarkResult:
    """Measure a bundle, and those of `against` in the same run.

    images: pictures or folders, for detectors of clouds clouds or folders of RGB-D frames, read from their
    files frame by frame; None for synthetic frames or rooms in memory, of which nothing is read. frames,
    warmup: of each bundle. rounds: blocks that the frames are cut into, 10 or as many as there are frames.
    threads, spinning, device, and plan to object_size: as open_pipeline, the same for every bundle.
    cold_start: start fresh processes too. progress: show it on stderr. Raises InputError (an option, a bundle
    or a picture), CheckFailedError (a damaged bundle), MissingDependencyError.
    """
    rounds = _possible_rounds(frames, warmup, rounds)
    paths = [given_path(path, name="bundle") for path in (bundle, *against)]
    manifests = [read_manifest(path) for path in paths]
    feed = _frames(images, paths, manifests)
    names = distinct_names(paths)
    if isinstance(evidence, str):
        evidence = (evidence,)
    # JSON-ready: fresh processes get them too.
    options: dict[str, Any] = {
        "threads": threads,
        "spinning": spinning,
        "device": device,
        "plan": plan,
        "density": None if density is None else str(given_path(density, name="density")),
        "evidence": None if evidence is None else list(evidence),
        "canvases": canvases,
        "budget_ms": budget_ms,
        "density_threshold": density_threshold,
        "overlap": overlap,
        "fusion": fusion,
        "object_px": object_px,
        "enlarging": enlarging,
        "object_size": object_size,
    }
    steps = len(paths) * (frames + warmup + 1) + (REPEATS * (len(paths) + 1) if cold_start else 0)
    with ExitStack() as engines:
        detectors = [engines.enter_context(open_pipeline(path, **options)) for path in paths]
        backends = [detect.session.backend for detect in detectors]
        with Progress(steps, "benchmark", silent=not progress) as bar:
            samples = _measure(
                detectors, feed, frames=frames, warmup=warmup, rounds=rounds, advance=bar.advance
            )
            # Before others are started: threads that spin would take their cores.
            engines.close()
            imports, starts, memories = _measure_processes(
                paths, feed, options=options, cold_start=cold_start, advance=bar.advance
            )
    results = tuple(
        _bundle_times(name, manifest, backend, sample, start, memory)
        for name, manifest, backend, sample, start, memory in zip(
            names, manifests, backends, samples, starts, memories, strict=True
        )
    )
    return BenchmarkResult(
        machine=identify_machine(),
        settings=Settings(frames, warmup, rounds, threads, spinning, device, feed.description),
        imports=imports,
        bundles=results,
        comparisons=_comparisons(names, samples),
    )


def _frames(
    images: str | Path | Sequence[str | Path] | None, paths: Sequence[Path], manifests: Sequence[Manifest]
) -> Frames:
    """What these bundles look at; InputError where some look at pictures and some at clouds."""
    looks_at_clouds = [manifest.pipeline == "rgbd" for manifest in manifests]
    if not any(looks_at_clouds):
        return benchmark_frames(images)
    if not all(looks_at_clouds):
        other = paths[looks_at_clouds.index(False)]
        raise InputError(
            f"{other}: expected a bundle that looks at clouds as the others do; measure it alone"
        )
    from tercelet.runtime.benchmark_rooms import benchmark_rooms  # which pictures need not pay for

    return benchmark_rooms(images)


def schedule(bundles: int, *, frames: int, rounds: int) -> Iterator[tuple[int, range]]:
    """The order of the blocks: number of the bundle and its frames, the same frames for all in a round.

    Rounds differ by one frame at most; every second one goes from the last bundle to the first.
    """
    for turn in range(rounds):
        block = range(frames * turn // rounds, frames * (turn + 1) // rounds)
        order = range(bundles) if turn % 2 == 0 else reversed(range(bundles))
        for number in order:
            yield number, block


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart; a bundle that is given twice is numbered."""
    whole = [path.resolve().parts for path in paths]
    names = []
    for parts in whole:
        others = [other for other in whole if other != parts]
        count = 1
        while count < len(parts) and any(other[-count:] == parts[-count:] for other in others):
            count += 1
        names.append("/".join(parts[-count:]))
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name} ({seen[name]})"
    return names


def _possible_rounds(frames: int, warmup: int, rounds: int | None) -> int:
    """The number of rounds, once all three are known to be possible."""
    if frames < 1:
        raise InputError(f"frames: expected at least 1, got {frames}")
    if warmup < 0:
        raise InputError(f"warmup: expected 0 or more, got {warmup}")
    if rounds is not None and not 1 <= rounds <= frames:
        raise InputError(f"rounds: expected 1 to {frames}, the number of frames, got {rounds}")
    return rounds if rounds is not None else min(ROUNDS, frames)


def _measure(
    detectors: Sequence[Pipeline],
    feed: Frames,
    *,
    frames: int,
    warmup: int,
    rounds: int,
    advance: Callable[[], None],
) -> list[_Samples]:
    for detect in detectors:
        for index in range(warmup):
            detect(feed.take(index)[0])
            advance()
    samples = [_Samples() for _ in detectors]
    for number, block in schedule(len(detectors), frames=frames, rounds=rounds):
        if len(detectors) > 1:
            # Not counted: the one before has taken the caches.
            detectors[number](feed.take(block[0])[0])
        _measure_block(detectors[number], feed, block, samples[number], advance)
    return samples


def _measure_block(
    detect: Pipeline,
    feed: Frames,
    block: range,
    samples: _Samples,
    advance: Callable[[], None],
) -> None:
    times: dict[str, list[float]] = {}
    for index in block:
        cpu, start = process_time(), perf_counter()
        image, read_ms = feed.take(index)
        detections = detect(image)
        times.setdefault("total", []).append((perf_counter() - start) * 1e3)
        times.setdefault("cpu", []).append((process_time() - cpu) * 1e3)
        samples.detections += len(detections)
        report = getattr(detections, "report", None)  # those of clouds have none
        if report is not None:
            samples.reports.append(report)
        stages = dict(detections.timing_ms) if read_ms is None else {"read": read_ms, **detections.timing_ms}
        for stage, value in stages.items():
            times.setdefault(stage, []).append(value)
        advance()
    for stage, values in times.items():
        samples.rounds.setdefault(stage, []).append(values)


def _measure_processes(
    paths: Sequence[Path],
    feed: Frames,
    *,
    options: dict[str, Any],
    cold_start: bool,
    advance: Callable[[], None],
) -> tuple[StartCost | None, Sequence[StartCost | None], list[Memory]]:
    """The start of the packages alone, the starts of the bundles, and their memory."""
    with tempfile.TemporaryDirectory() as folder:
        frame = feed.first_file(Path(folder))
        memories = []
        for path in paths:
            memories.append(measure_memory(path, frame=frame, options=options))
            advance()
        if not cold_start:
            return None, [None] * len(paths), memories
        imports, starts = measure_starts(paths, frame=frame, options=options, advance=advance)
        return imports, starts, memories


def _bundle_times(
    name: str,
    manifest: Manifest,
    backend: str,
    samples: _Samples,
    start: StartCost | None,
    memory: Memory,
) -> BundleTimes:
    total, reports = samples.column("total"), samples.reports
    columns = {stage: samples.column(stage) for stage in samples.stages()}
    return BundleTimes(
        name=name,
        detector=manifest.detector.name,
        precision=manifest.target.precision if manifest.target else None,
        canvas=(manifest.preprocess.height, manifest.preprocess.width),
        backend=backend,
        sha256=manifest.files.get(manifest.network.file) if manifest.network else None,
        total_ms=distribution_of(total),
        stages_ms={stage: distribution_of(values) if values else None for stage, values in columns.items()},
        frames_per_second=len(total) / sum(total) * 1e3,
        cpu_ms_per_frame=sum(samples.column("cpu")) / len(total),
        detections_per_frame=samples.detections / len(total),
        cold_start=start,
        memory=memory,
        plan=reports[0].plan.name if reports else None,
        inferences_per_frame=sum(report.inferences for report in reports) / len(reports) if reports else None,
        points=manifest.cloud.points if manifest.cloud else None,
    )


def _comparisons(names: Sequence[str], samples: Sequence[_Samples]) -> tuple[Comparison, ...]:
    first = samples[0].rounds
    return tuple(
        Comparison(
            against=name,
            total=ratio_of(first["total"], other.rounds["total"]),
            infer=ratio_of(first["infer"], other.rounds["infer"]),
            cpu=ratio_of(first["cpu"], other.rounds["cpu"]),
        )
        for name, other in zip(names[1:], samples[1:], strict=True)
    )
