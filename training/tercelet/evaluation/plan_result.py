"""What several plans found on the same frames and what they cost, as data, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tercelet.contract.plan import PlanName
from tercelet.evaluation.recall import SIZE_AREAS, FoundObjects
from tercelet.evaluation.result import (
    FIGURES,
    EvaluationResult,
    class_map_remark,
    figure_text,
    unmatched_categories_remark,
)
from tercelet.evaluation.table import text_table

_SIZES = tuple(size for size in SIZE_AREAS if size != "all")


@dataclass(frozen=True)
class PlanCost:
    """Means over the frames.

    inferences: canvases through the detector, the full frame's included. pixels: of those canvases. ms: the
    pipeline's own time from preprocess to postprocess, without reading; ms_median and ms_p95 of the same;
    ms_by_stage: in the order of work. short_frames: frames with a part that was wanted and for which no
    canvas was left. evidence: which sources told where to look.
    """

    inferences: float
    pixels: float
    ms: float
    ms_median: float
    ms_p95: float
    ms_by_stage: Mapping[str, float]
    short_frames: int
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class PlanResult:
    """One plan. working: what was found by detections above the working score; everything: by all that AP
    is computed from. cost: with the working score."""

    plan: PlanName
    evaluation: EvaluationResult
    working: FoundObjects
    everything: FoundObjects
    cost: PlanCost

    def record(self) -> dict[str, Any]:
        """JSON-ready; undefined values are None."""
        whole, cost = self.evaluation.record(), self.cost
        return {
            **{name: whole[name] for name in FIGURES},
            "recall": self.working.recall(),
            **{f"recall_{size}": self.working.recall(size) for size in _SIZES},
            "recall_all": self.everything.recall(),
            "precision": self.working.precision,
            "found": self.working.found["all"],
            "wrong": self.working.wrong,
            "inferences_per_frame": cost.inferences,
            "pixels_per_frame": cost.pixels,
            "ms_per_frame": cost.ms,
            "ms_per_frame_median": cost.ms_median,
            "ms_per_frame_p95": cost.ms_p95,
            "ms_by_stage": dict(cost.ms_by_stage),
            "short_frames": cost.short_frames,
            "evidence": list(cost.evidence),
            "average_recall": whole["recall"],
            "per_class": whole["per_class"],
            "detections": whole["detections"],
            "left_out_detections": self.evaluation.left_out_detections,
            "unmatched_labels": dict(self.evaluation.unmatched_labels),
        }


@dataclass(frozen=True)
class PlanComparison:
    """At least one plan, all of one bundle on the frames of one data set.

    settings: thresholds, recall_score (0 where all detections count), recall_iou, and what else was chosen.
    """

    plans: tuple[PlanResult, ...]
    settings: Mapping[str, Any]

    @property
    def shared(self) -> EvaluationResult:
        """For what is the same with every plan: data set, protocol, classes, ground truth."""
        return self.plans[0].evaluation

    def plan(self, name: PlanName) -> PlanResult:
        """The plan of that name; KeyError where it was not evaluated."""
        return {item.plan: item for item in self.plans}[name]

    def recall_rule(self) -> str:
        """What recall and precision mean here, in words."""
        score, iou = self.settings["recall_score"], self.settings["recall_iou"]
        counted = f"with a score above {score:g}" if score else "of any score"
        return (
            f"recall: share of the objects that detections {counted} find, one to one, of the same class, "
            f"the best score first, at IoU {iou:g} or more; precision: share of those detections that find "
            "one. By area: tiny below 16x16 pixels (small, too), small below 32x32, large from 96x96 on"
        )

    def record(self) -> dict[str, Any]:
        """JSON-ready; undefined values are None."""
        whole = self.shared.record()
        mapping = {key: value for key, value in whole["class_mapping"].items() if key != "unmatched_labels"}
        objects = self.plans[0].everything.objects
        return {
            "plans": {item.plan: item.record() for item in self.plans},
            "protocol": whole["protocol"],
            "recall_rule": self.recall_rule(),
            "bundle": whole["bundle"],
            "dataset": whole["dataset"],
            "frames": whole["frames"],
            "ground_truth": whole["ground_truth"],
            "ground_truth_by_size": {size: objects[size] for size in _SIZES},
            "left_out_ground_truth": self.shared.left_out_ground_truth,
            "class_mapping": mapping,
            "settings": dict(self.settings),
            "notes": whole["notes"],
        }


def plan_comparison_text(result: PlanComparison) -> str:
    """The comparison for people: a row a plan, where the time went, and how to read it."""
    shared, objects = result.shared, result.plans[0].everything.objects
    sizes = ", ".join(f"{objects[size]} {size}" for size in _SIZES)
    parts = [
        f"{shared.bundle} on {shared.dataset}: {shared.frames} frames, {shared.ground_truth} objects "
        f"({sizes})",
        f"protocol  {shared.protocol}",
        _figures(result),
        _times(result),
        "\n".join([result.recall_rule(), *_remarks(result)]),
    ]
    return "\n\n".join(parts)


def _figures(result: PlanComparison) -> str:
    header = ("plan", "AP", "AP50", "recall", *_SIZES, "precision", "inferences", "Mpx", "ms")
    rows = [
        (
            item.plan,
            figure_text(item.evaluation.precision.ap),
            figure_text(item.evaluation.precision.ap50),
            figure_text(item.working.recall()),
            *(figure_text(item.working.recall(size)) for size in _SIZES),
            figure_text(item.working.precision),
            f"{item.cost.inferences:.2f}",
            f"{item.cost.pixels / 1e6:.2f}",
            f"{item.cost.ms:.1f}",
        )
        for item in result.plans
    ]
    return text_table(header, rows)


def _times(result: PlanComparison) -> str:
    """Milliseconds a frame; stages in the order of the plan that has most of them."""
    most = max((item.cost.ms_by_stage for item in result.plans), key=len)
    stages = dict.fromkeys((*most, *(stage for item in result.plans for stage in item.cost.ms_by_stage)))
    rows = [
        (
            item.plan,
            *(f"{value:.1f}" for value in (item.cost.ms, item.cost.ms_median, item.cost.ms_p95)),
            *(f"{item.cost.ms_by_stage.get(stage, 0.0):.1f}" for stage in stages),
        )
        for item in result.plans
    ]
    return text_table(("ms a frame", "mean", "median", "p95", *stages), rows)


def _remarks(result: PlanComparison) -> list[str]:
    shared = result.shared
    every = ", ".join(f"{item.plan} {figure_text(item.everything.recall())}" for item in result.plans)
    score, lowest = result.settings["recall_score"], result.settings["score"]
    remarks = [f"recall of all detections that AP is computed from: {every}"]
    if score > lowest:
        remarks.append(
            f"AP comes from a run down to score {lowest:g}; recall, precision and cost from one down to "
            f"{score:g}"
        )
    remarks.append(
        "ms: from preprocess to postprocess, reading left out; the plans took turns on every frame"
    )
    remarks += [
        f"{item.plan}: in {item.cost.short_frames} of {shared.frames} frames no canvas was left for a part "
        "that was wanted"
        for item in result.plans
        if item.cost.short_frames
    ]
    if not shared.by_name:
        remarks.append(class_map_remark(shared))
    if shared.unmatched_categories:
        remarks.append(unmatched_categories_remark(shared))
    if shared.left_out_ground_truth:
        remarks.append(f"in ignored regions and left out: {shared.left_out_ground_truth} objects")
    return [*remarks, *shared.notes]
