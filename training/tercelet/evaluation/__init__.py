"""Judging detectors: AP on data sets, two detectors side by side, parity of a graph with its source.

    from tercelet.evaluation import evaluate
    print(evaluate("bundle/", "coco/annotations/instances_val2017.json").precision.ap)

Names are loaded when they are first used. No torch here: all of it runs on the device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tercelet.evaluation.comparing import ComparisonResult, compare
    from tercelet.evaluation.confusion import ConfusionMatrix, confusion_matrix
    from tercelet.evaluation.datasets import Dataset, open_dataset
    from tercelet.evaluation.evaluating import evaluate
    from tercelet.evaluation.evaluating_rooms import RoomEvaluation, evaluate_rooms
    from tercelet.evaluation.judging import evaluate_detections
    from tercelet.evaluation.matching import Matches, match_detections
    from tercelet.evaluation.parity import candidate_differences, summarise_differences
    from tercelet.evaluation.plan_comparing import evaluate_plans
    from tercelet.evaluation.plan_result import PlanComparison
    from tercelet.evaluation.precision_recall import PrecisionRecall, precision_recall
    from tercelet.evaluation.preparing import prepare_visdrone
    from tercelet.evaluation.result import EvaluationResult
    from tercelet.evaluation.synthetic import SyntheticResult, aerial_scene, synth_aerial

_LAZY = {
    "ComparisonResult": "tercelet.evaluation.comparing",
    "ConfusionMatrix": "tercelet.evaluation.confusion",
    "Dataset": "tercelet.evaluation.datasets",
    "RoomEvaluation": "tercelet.evaluation.evaluating_rooms",
    "evaluate_rooms": "tercelet.evaluation.evaluating_rooms",
    "synth_rooms": "tercelet.evaluation.synthetic.rooms.room_synthesis",
    "EvaluationResult": "tercelet.evaluation.result",
    "Matches": "tercelet.evaluation.matching",
    "PlanComparison": "tercelet.evaluation.plan_result",
    "PrecisionRecall": "tercelet.evaluation.precision_recall",
    "SyntheticResult": "tercelet.evaluation.synthetic",
    "aerial_scene": "tercelet.evaluation.synthetic",
    "candidate_differences": "tercelet.evaluation.parity",
    "compare": "tercelet.evaluation.comparing",
    "confusion_matrix": "tercelet.evaluation.confusion",
    "evaluate": "tercelet.evaluation.evaluating",
    "evaluate_detections": "tercelet.evaluation.judging",
    "evaluate_plans": "tercelet.evaluation.plan_comparing",
    "match_detections": "tercelet.evaluation.matching",
    "open_dataset": "tercelet.evaluation.datasets",
    "precision_recall": "tercelet.evaluation.precision_recall",
    "prepare_visdrone": "tercelet.evaluation.preparing",
    "summarise_differences": "tercelet.evaluation.parity",
    "synth_aerial": "tercelet.evaluation.synthetic",
}
__all__ = [
    "ComparisonResult",
    "ConfusionMatrix",
    "Dataset",
    "EvaluationResult",
    "Matches",
    "PlanComparison",
    "PrecisionRecall",
    "RoomEvaluation",
    "SyntheticResult",
    "aerial_scene",
    "candidate_differences",
    "compare",
    "confusion_matrix",
    "evaluate",
    "evaluate_detections",
    "evaluate_plans",
    "evaluate_rooms",
    "match_detections",
    "open_dataset",
    "precision_recall",
    "prepare_visdrone",
    "summarise_differences",
    "synth_aerial",
    "synth_rooms",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
