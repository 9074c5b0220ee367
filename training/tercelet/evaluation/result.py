"""What an evaluation found, as data, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tercelet.evaluation.average_precision import ClassPrecision, Precision
from tercelet.evaluation.class_mapping import EvaluatedClass
from tercelet.evaluation.table import text_table

FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


@dataclass(frozen=True)
class EvaluationResult:
    """What was found, and all that a reader needs to know to compare it with other figures.

    protocol: what was done, in words. frames: all of them, those without ground truth included.
    left_out_*: boxes in ignored regions that the protocol dropped, before its limit of a frame. classes: what
    was judged against what, in the order of precision.per_class; by_name: whether by equal names, not by a
    class map. unmatched_labels: all detections of each label that belongs to no class; unmatched_categories:
    boxes of each such category.
    settings: thresholds of the pipeline, and what else was chosen. notes: on the data set, one sentence each.
    """

    bundle: str
    dataset: str
    protocol: str
    precision: Precision
    frames: int
    left_out_ground_truth: int
    left_out_detections: int
    classes: tuple[EvaluatedClass, ...]
    by_name: bool
    unmatched_labels: Mapping[str, int]
    unmatched_categories: Mapping[str, int]
    settings: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def per_class(self) -> dict[str, ClassPrecision]:
        """The figures of each evaluated class by its name."""
        names = [item.name for item in self.classes]
        return dict(zip(names, self.precision.per_class, strict=True))

    @property
    def ground_truth(self) -> int:
        """Boxes that count: of an evaluated class, not ignored, not left out."""
        return sum(item.ground_truth for item in self.precision.per_class)

    def record(self) -> dict[str, Any]:
        """JSON-ready; undefined values are None."""
        return {
            "protocol": self.protocol,
            "bundle": self.bundle,
            "dataset": self.dataset,
            **{name: getattr(self.precision, name) for name in FIGURES},
            "recall": dict(self.precision.recall),
            "per_class": {name: vars(item) for name, item in self.per_class.items()},
            "frames": self.frames,
            "ground_truth": self.ground_truth,
            "detections": sum(item.detections for item in self.precision.per_class),
            "left_out": {"ground_truth": self.left_out_ground_truth, "detections": self.left_out_detections},
            "class_mapping": {
                "by_name": self.by_name,
                "classes": {
                    item.name: {"labels": list(item.labels), "categories": list(item.categories)}
                    for item in self.classes
                },
                "unmatched_labels": dict(self.unmatched_labels),
                "unmatched_categories": dict(self.unmatched_categories),
            },
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }


def result_text(result: EvaluationResult) -> str:
    """The result for people: figures, classes with ground truth, and all that was left out."""
    found = [(name, getattr(result.precision, name)) for name in FIGURES] + [*result.precision.recall.items()]
    figures = [(_heading(name), figure_text(value)) for name, value in found]
    judged = {name: item for name, item in result.per_class.items() if item.ground_truth}
    rows = [
        (name, figure_text(item.ap), figure_text(item.ap50), str(item.ground_truth), str(item.detections))
        for name, item in judged.items()
    ]
    parts = [
        f"{result.bundle} on {result.dataset}: {result.frames} frames, {result.ground_truth} objects",
        f"protocol  {result.protocol}",
        text_table(("", "0..1"), figures),
        text_table(("class", "AP", "AP50", "objects", "detections"), rows),
        *_remarks(result),
    ]
    return "\n\n".join(parts[:4]) + ("\n\n" + "\n".join(parts[4:]) if parts[4:] else "")


def _remarks(result: EvaluationResult) -> list[str]:
    remarks = []
    if not result.by_name:
        remarks.append(class_map_remark(result))
    empty = {name: item.detections for name, item in result.per_class.items() if not item.ground_truth}
    if empty:
        remarks.append(
            f"{len(empty)} classes without objects here are not in the means; "
            f"{sum(empty.values())} detections of them{_most(empty)}"
        )
    if result.unmatched_categories:
        remarks.append(unmatched_categories_remark(result))
    if result.unmatched_labels:
        remarks.append(
            f"not evaluated, no category of the data set: {len(result.unmatched_labels)} labels with "
            f"{sum(result.unmatched_labels.values())} detections{_most(result.unmatched_labels)}"
        )
    if result.left_out_ground_truth or result.left_out_detections:
        remarks.append(
            f"in ignored regions and left out: {result.left_out_ground_truth} objects, "
            f"{result.left_out_detections} detections"
        )
    return [*remarks, *result.notes]


def class_map_remark(result: EvaluationResult) -> str:
    """Which labels are judged against which categories."""
    pairs = (f"{' + '.join(c.labels)} = {' + '.join(c.categories)}" for c in result.classes)
    return f"class map: {'; '.join(pairs)}"


def unmatched_categories_remark(result: EvaluationResult) -> str:
    """What of the data set nobody was asked to find."""
    return (
        f"not evaluated, no label of the detector: {len(result.unmatched_categories)} categories with "
        f"{sum(result.unmatched_categories.values())} objects{_most(result.unmatched_categories)}"
    )


def _most(counts: Mapping[str, int]) -> str:
    """The five largest counts by name in brackets, empty if there is nothing to count."""
    largest = sorted(((n, name) for name, n in counts.items() if n), key=lambda item: (-item[0], item[1]))
    named = ", ".join(f"{name} {n}" for n, name in largest[:5])
    return f" ({named}{', ...' if len(largest) > 5 else ''})" if named else ""


def _heading(name: str) -> str:
    """ap_small -> AP small."""
    return name[:2].upper() + name[2:].replace("_", " ")


def figure_text(value: float | None) -> str:
    """Four decimals, a dash where it is undefined."""
    return "-" if value is None else f"{value:.4f}"
