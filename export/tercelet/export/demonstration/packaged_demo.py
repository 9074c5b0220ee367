"""The demo of the weights that travel with the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.manifest import Manifest
from tercelet.contract.plan import PlanName
from tercelet.evaluation.comparing import ComparisonResult, compare
from tercelet.evaluation.plan_comparing import evaluate_plans
from tercelet.evaluation.plan_result import PlanComparison
from tercelet.export.demonstration.demo_folder import times_of, written_since
from tercelet.export.demonstration.demo_result import PackagedDemo, PlanDemo
from tercelet.export.demonstration.demo_scenes import DemoScenes, make_scenes
from tercelet.export.demonstration.installed import (
    EVALUATE_PACKAGES,
    EXPORT_PACKAGES,
    missing_packages,
)
from tercelet.export.demonstration.packaged_weights import PackagedWeights, aerial_manifests
from tercelet.runtime.benchmarking import BenchmarkResult, benchmark
from tercelet.runtime.running import RunSummary, run

PICTURES = "pictures"
# Frames of a benchmark of each plan, and those on which two bundles are compared.
_FRAMES, _QUICK_FRAMES, _COMPARED = 20, 8, 2
Report = Callable[[str], object]


def demonstrate_packaged(
    packaged: PackagedWeights, *, output: Path, quick: bool, report: Report
) -> PackagedDemo:
    """Scenes, bundle, pictures, accuracy, latency; all that is made lies below `output`.

    quick: fewer scenes and frames, no cold start. Raises MissingDependencyError where the weights are not
    there, CheckFailedError where the bundle exported here does not find what the finished one finds.
    """
    clock = _Clock(report)
    missing = missing_packages(EXPORT_PACKAGES)
    packaged.check(checkpoints=not missing)
    clock.start("scenes", "1/5 scenes: drawn here, none of them was trained on, and a flight over one")
    scenes = make_scenes(output, quick=quick)
    if missing:
        why = f"{', '.join(missing)} not installed, no export (pip install 'tercelet[export]')"
        clock.start("bundle", f"2/5 bundle: the finished one of the package; {why}")
        bundle, comparison = packaged.bundle, None
    else:
        clock.start("bundle", "2/5 bundle: torch to ONNX, compared with torch and with the finished bundle")
        bundle, comparison = _exported(packaged, output / "bundle", scenes, report)
    manifest, density = aerial_manifests(bundle)
    plans = _plans_of(manifest)
    clock.start("run", f"3/5 run: {' and '.join(plans)}, pictures and flight")
    folders = [output / PICTURES / plan for plan in plans]
    before = [times_of(folder) for folder in folders]
    runs = {plan: _run(bundle, plan, scenes, output) for plan in plans}
    pictures = [
        path for folder, old in zip(folders, before, strict=True) for path in written_since(old, folder)
    ]
    evaluation = _evaluation(packaged, bundle, scenes, plans, clock)
    clock.start("benchmark", "5/5 benchmark")
    times = {plan: _benchmark(bundle, plan, scenes, quick=quick, cold=plan == plans[-1]) for plan in plans}
    return PackagedDemo(
        bundle=bundle,
        is_exported=not missing,
        missing=missing,
        manifest=manifest,
        density=density,
        scenes=scenes,
        pictures=tuple(pictures),
        comparison=comparison,
        plans=tuple(PlanDemo(plan, *runs[plan], times[plan]) for plan in plans),
        evaluation=evaluation,
        stages_s=clock.finish(),
        seconds=clock.seconds,
    )


class _Clock:
    """Says which stage begins, and keeps how long each took."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._begin = self._since = perf_counter()
        self._stage = ""
        self._stages: dict[str, float] = {}

    def start(self, stage: str, line: str) -> None:
        self.finish()
        self._stage = stage
        self._report(line)

    def finish(self) -> dict[str, float]:
        now = perf_counter()
        if self._stage:
            self._stages[self._stage] = now - self._since
        self._since = now
        return self._stages

    @property
    def seconds(self) -> float:
        return perf_counter() - self._begin


def _exported(
    packaged: PackagedWeights, output: Path, scenes: DemoScenes, report: Report
) -> tuple[Path, ComparisonResult]:
    """A fresh bundle, and its comparison with the finished one; CheckFailedError where they differ."""
    from tercelet.export.demonstration.fresh_bundle import export_packaged

    frames = scenes.pictures[:_COMPARED]
    bundle = export_packaged(packaged, output, frames=frames, report=report)
    comparison = compare(packaged.bundle, bundle, images=frames, quiet=True)
    if not comparison.agrees:
        raise CheckFailedError(
            f"{bundle}: does not find what the finished bundle {packaged.bundle} finds: {comparison.reason}"
        )
    return bundle, comparison


def _plans_of(manifest: Manifest) -> tuple[PlanName, ...]:
    """The full frame alone, and what the bundle does."""
    assert manifest.aerial is not None
    return tuple(dict.fromkeys(("full", manifest.aerial.plan)))


def _run(bundle: Path, plan: PlanName, scenes: DemoScenes, output: Path) -> tuple[RunSummary, RunSummary]:
    """The scenes, then the flight: drawn, and as JSON lines."""
    drawn = output / PICTURES / plan
    pictures = run(bundle, scenes.pictures, plan=plan, save=drawn, json=output / f"scenes-{plan}.jsonl")
    flight = run(bundle, scenes.flight, plan=plan, save=drawn, json=output / f"flight-{plan}.jsonl")
    return pictures, flight


def _evaluation(
    packaged: PackagedWeights,
    bundle: Path,
    scenes: DemoScenes,
    plans: tuple[PlanName, ...],
    clock: _Clock,
) -> PlanComparison | None:
    missing = missing_packages(EVALUATE_PACKAGES)
    if missing:
        clock.start(
            "evaluate",
            f"4/5 evaluate: left out, {missing[0]} is not installed: pip install 'tercelet[evaluate]'",
        )
        return None
    clock.start("evaluate", f"4/5 evaluate: {' and '.join(plans)} against what was drawn")
    return evaluate_plans(bundle, scenes.truth.output, plans=plans, class_map=packaged.class_map, quiet=True)


def _benchmark(
    bundle: Path, plan: PlanName, scenes: DemoScenes, *, quick: bool, cold: bool
) -> BenchmarkResult:
    frames = _QUICK_FRAMES if quick else _FRAMES
    return benchmark(
        bundle, images=scenes.pictures, plan=plan, frames=frames, warmup=3, cold_start=cold and not quick
    )
