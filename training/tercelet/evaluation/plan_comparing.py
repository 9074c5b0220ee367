"""The function behind `tercelet evaluate --plan`: what plans find on the same frames, and what they cost.

Found twice: AP needs every detection down to a score that nobody works with, which takes time and, where
boxes are cut by the border of a region, changes which of them survive. So recall, precision and cost are
those of a second run at the score that one works with.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import read_manifest
from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_folder, check_json_place, write_json
from tercelet.contract.manifest import Manifest
from tercelet.contract.plan import PLAN_NAMES, AerialReport, PlanName, plan_named
from tercelet.evaluation.class_mapping import ClassMap
from tercelet.evaluation.datasets import Dataset, DatasetFormat, open_dataset
from tercelet.evaluation.datasets.dataset import ProtocolName
from tercelet.evaluation.drawing import save_comparison
from tercelet.evaluation.evaluating import IOU_THRESHOLD, SCORE_THRESHOLD, chosen_options, read_frame
from tercelet.evaluation.judging import Judge
from tercelet.evaluation.plan_plot import save_recall_cost
from tercelet.evaluation.plan_result import PlanComparison, PlanCost, PlanResult
from tercelet.evaluation.recall import MATCH_IOU, FoundObjects, found_objects
from tercelet.runtime.fusion import FusionName
from tercelet.runtime.given_path import given_path
from tercelet.runtime.opening import open_pipeline
from tercelet.runtime.pipelines.aerial_options import is_used
from tercelet.runtime.pipelines.pipeline import Pipeline
from tercelet.runtime.progress import Progress

# What a detector usually works with.
RECALL_SCORE = 0.25


def evaluate_plans(
    bundle: str | Path,
    dataset: str | Path,
    *,
    plans: str | Sequence[str],
    recall_score: float | None = RECALL_SCORE,
    format: DatasetFormat | None = None,
    images: str | Path | None = None,
    split: str = "val",
    protocol: ProtocolName | None = None,
    class_map: str | Path | ClassMap | None = None,
    score: float = SCORE_THRESHOLD,
    iou: float = IOU_THRESHOLD,
    max_detections: int | None = None,
    threads: int | None = None,
    limit: int | None = None,
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
    save: str | Path | None = None,
    json: str | Path | None = None,
    quiet: bool = False,
) -> PlanComparison:
    """Run a bundle or checkpoint over a data set once with every plan: AP, recall by size, and the cost.

    plans: names of plans, or one text of them with commas between. Every frame goes through all of them
    before the next one comes, in turns as to who is first, after a warm-up of each. recall_score: lowest
    score of the second run, which gives recall, precision and cost; None or 0 takes them from the first one,
    that of AP, with the lowest score `score`. density: of the plans that use one: "dmnet", and "canvas"
    unless `evidence` says otherwise. evidence: of the plan "canvas". canvases to object_size: as for
    `tercelet.runtime.open_pipeline`, for all plans. save: folder for pictures, in a folder for each plan, and
    recall_cost.svg. All else as for `evaluate`.
    Raises InputError (as evaluate; a plan that is unknown, named twice or lacks its density network),
    MissingDependencyError.
    """
    check_json_place(json)
    folder = None if save is None else given_path(save, name="save")
    if folder is not None:
        check_folder(folder)
    names = plan_names(plans)
    least = _checked_score(recall_score, score)
    manifest = read_manifest(given_path(bundle, name="bundle"))
    chosen = chosen_options(
        density=density,
        evidence=evidence,
        canvases=canvases,
        budget_ms=budget_ms,
        density_threshold=density_threshold,
        overlap=overlap,
        fusion=fusion,
        object_px=object_px,
        enlarging=enlarging,
        object_size=object_size,
    )
    _check_plans(names, manifest, chosen)
    data = open_dataset(
        dataset, format=format, images=images, split=split, labels=manifest.labels, limit=limit
    )
    make_judge = partial(
        Judge,
        data,
        manifest.labels,
        protocol=protocol,
        class_map=class_map,
        max_detections=max_detections,
    )
    # The judgement has the limit of a frame, as in `evaluate`.
    open_plan = partial(open_pipeline, bundle, threads=threads, iou_threshold=iou, max_detections=sys.maxsize)
    scores = (score, least) if least > score else (score,)
    with Progress(len(scores) * len(data.images), "evaluate", silent=quiet) as progress:
        done = []
        for lowest in scores:
            runs = [_PlanRun(name, make_judge()) for name in names]
            with ExitStack() as opened:
                for run in runs:
                    options = _options_of(run.name, chosen)
                    pipeline = open_plan(score_threshold=lowest, plan=run.name, **options)
                    run.pipeline = opened.enter_context(pipeline)
                _detect_all(runs, data, folder if lowest == scores[-1] else None, progress)
            done.append(runs)
    settings = {
        "score": score,
        "iou": iou,
        "max_detections": done[0][0].judge.max_detections,
        "recall_score": least,
        "recall_iou": MATCH_IOU,
        **chosen,
    }
    result = PlanComparison(
        plans=tuple(
            _plan_result(judged, working, str(bundle), settings)
            for judged, working in zip(done[0], done[-1], strict=True)
        ),
        settings=settings,
    )
    if folder is not None:
        save_recall_cost(folder, result)
    if json is not None:
        write_json(json, result.record())
    return result


def plan_names(plans: str | Sequence[str]) -> tuple[PlanName, ...]:
    """The plans named in a text with commas, or in several; InputError for none, unknown ones and doubles."""
    texts = (plans,) if isinstance(plans, str) else plans
    words = [word.strip() for text in texts for word in text.split(",")]
    names: list[PlanName] = []
    for word in words:
        name = plan_named(word)
        if name is None:
            raise InputError(f"plan: expected some of {', '.join(PLAN_NAMES)}, got {word!r}")
        if name in names:
            raise InputError(f"plan: expected every plan once, got {name} twice")
        names.append(name)
    if not names:
        raise InputError(f"plan: expected at least one of {', '.join(PLAN_NAMES)}, got none")
    return tuple(names)


def _checked_score(recall_score: float | None, score: float) -> float:
    """0 where all that AP is computed from counts."""
    least = 0.0 if recall_score is None else recall_score
    if not 0 <= least <= 1:
        raise InputError(f"recall_score: expected a number from 0 to 1, got {recall_score}")
    if 0 < least < score:
        raise InputError(
            f"recall_score: expected 0 (all that is kept) or at least {score:g}, the lowest score that is "
            f"kept, got {least:g}; give a lower --score or a higher --recall-score"
        )
    return least


def _check_plans(names: Sequence[PlanName], manifest: Manifest, chosen: Mapping[str, Any]) -> None:
    """InputError, before anything is opened, for what no pipeline could do."""
    brings_density = manifest.aerial is not None and manifest.aerial.density is not None
    if "dmnet" in names and "density" not in chosen and not brings_density:
        raise InputError(
            "plan: dmnet needs a density network, and the bundle brings none; give one with "
            "--density BUNDLE, or leave dmnet out"
        )
    for option in ("density", "evidence"):
        if option in chosen and not any(option in _options_of(name, chosen) for name in names):
            raise InputError(
                f"{option}: none of the plans asked for ({', '.join(names)}) would use it; leave it out, or "
                "add the plan canvas"
            )
    if "density_threshold" in chosen and {"dmnet", "canvas"} <= set(names):
        raise InputError(
            "density_threshold: means objects in a window to dmnet, evidence in a cell to canvas; "
            "evaluate the two one after the other, each with its own"
        )


def _options_of(name: PlanName, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What of the options concerns a plan: nobody pays for a density network that he does not look at."""
    options = dict(chosen)
    looks_at_density = name == "dmnet" or (
        name == "canvas" and "density" in chosen.get("evidence", ("density",))
    )
    if not looks_at_density:
        options.pop("density", None)
    for option in chosen:
        if not is_used(option.removeprefix("density_"), name):
            options.pop(option, None)
    return options


class _PlanRun:
    """A plan's pipeline, and what has come out of it so far."""

    pipeline: Pipeline

    def __init__(self, name: PlanName, judge: Judge) -> None:
        self.name = name
        self.judge = judge
        self._stages: list[Mapping[str, float]] = []
        self._reports: list[AerialReport] = []

    def warm_up(self, frame: NDArray[np.uint8]) -> None:
        """Make memory and warm the engine; the black frame makes the pipeline forget what it saw."""
        self.pipeline(frame)
        self.pipeline(np.zeros_like(frame))

    def take(self, frame: NDArray[np.uint8]) -> Detections:
        """Detect in the next frame."""
        found = self.pipeline(frame)
        assert found.report is not None  # of every pipeline that was opened with a plan
        self.judge.add(found)
        self._stages.append(found.timing_ms)
        self._reports.append(found.report)
        return found

    def cost(self) -> PlanCost:
        """All that was spent."""
        totals = np.array([sum(spent.values()) for spent in self._stages])
        names = dict.fromkeys(stage for spent in self._stages for stage in spent)
        return PlanCost(
            inferences=float(np.mean([report.inferences for report in self._reports])),
            pixels=float(np.mean([report.pixels for report in self._reports])),
            ms=float(totals.mean()),
            ms_median=float(np.median(totals)),
            ms_p95=float(np.percentile(totals, 95)),
            ms_by_stage={
                name: float(np.mean([spent.get(name, 0.0) for spent in self._stages])) for name in names
            },
            short_frames=sum(bool(report.plan.left_out) for report in self._reports),
            evidence=tuple(dict.fromkeys(name for report in self._reports for name in report.evidence)),
        )

    def found(self) -> FoundObjects:
        """What was found of the ground truth, by as many detections of a class as AP may use."""
        return found_objects(self.judge.frames, limit=self.judge.rules.max_dets[-1])


def _plan_result(judged: _PlanRun, working: _PlanRun, bundle: str, settings: Mapping[str, Any]) -> PlanResult:
    return PlanResult(
        plan=judged.name,
        evaluation=judged.judge.result(bundle=bundle, settings=settings),
        working=working.found(),
        everything=judged.found(),
        cost=working.cost(),
    )


def _detect_all(runs: Sequence[_PlanRun], data: Dataset, save: Path | None, progress: Progress) -> None:
    """Every frame through all plans, another one first each time: nobody always finds the caches warm."""
    for number, image in enumerate(data.images):
        frame = read_frame(image)
        if number == 0:
            for run in runs:
                run.warm_up(frame)
        first = number % len(runs)
        for run in (*runs[first:], *runs[:first]):
            found = run.take(frame)
            if save is not None:
                save_comparison(save / run.name, image, frame, found, data.categories)
        progress.advance()
