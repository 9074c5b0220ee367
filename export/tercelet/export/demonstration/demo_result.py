"""What a demo made and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tercelet.contract.manifest import Manifest
from tercelet.contract.plan import PlanName
from tercelet.evaluation.comparing import ComparisonResult
from tercelet.evaluation.plan_result import PlanComparison
from tercelet.evaluation.result import EvaluationResult
from tercelet.export.demonstration.demo_scenes import DemoScenes
from tercelet.runtime.benchmarking import BenchmarkResult
from tercelet.runtime.running import RunSummary


@dataclass(frozen=True)
class PlanDemo:
    """One plan. scenes, flight: what it did on the pictures and on the clip. benchmark: on the pictures."""

    plan: PlanName
    scenes: RunSummary
    flight: RunSummary
    benchmark: BenchmarkResult


@dataclass(frozen=True)
class PackagedDemo:
    """A demo of the weights that travel with the package.

    is_exported: whether the bundle was exported here; otherwise it is the finished one, and `missing` names
    the packages that an export needs. comparison: of the exported one with the finished one. evaluation: None
    where the package that computes AP is not installed. plans: the full frame alone comes first.
    """

    bundle: Path
    is_exported: bool
    missing: tuple[str, ...]
    manifest: Manifest
    density: Manifest
    scenes: DemoScenes
    pictures: tuple[Path, ...]
    comparison: ComparisonResult | None
    plans: tuple[PlanDemo, ...]
    evaluation: PlanComparison | None
    stages_s: Mapping[str, float]
    seconds: float

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        density = self.density.density_parity
        return {
            "bundle": str(self.bundle),
            "exported": self.is_exported,
            "missing": list(self.missing),
            "parity": asdict(self.manifest.parity) if self.manifest.parity else None,
            "density_parity": asdict(density) if density else None,
            "scenes": self.scenes.truth.record(),
            "flight": {"file": str(self.scenes.flight), "frames": self.scenes.flight_frames},
            "pictures": [str(path) for path in self.pictures],
            "comparison": self.comparison.record() if self.comparison else None,
            "plans": {
                item.plan: {
                    "scenes": asdict(item.scenes),
                    "flight": asdict(item.flight),
                    "benchmark": asdict(item.benchmark),
                }
                for item in self.plans
            },
            "evaluation": self.evaluation.record() if self.evaluation else None,
            "stages_s": dict(self.stages_s),
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class WeightsDemo:
    """A demo of somebody's weights: what the chain made, and what each of its stages measured.

    evaluation: None without labelled frames.
    """

    checkpoint: Path
    bundle: Path
    pictures: tuple[Path, ...]
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
            "parity": asdict(self.manifest.parity) if self.manifest.parity else None,
            "comparison": self.comparison.record(),
            "run": asdict(self.run),
            "evaluation": self.evaluation.record() if self.evaluation else None,
            "benchmark": asdict(self.benchmark),
            "seconds": self.seconds,
        }
