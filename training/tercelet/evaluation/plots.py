"""Pictures of an evaluation for people: precision against recall, F1 against score, the confusion matrix.

matplotlib is optional and imported at the first use, without pyplot: no window system is asked for, and
nothing of a caller's own figures is touched.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.contract.json_output import write_json
from tercelet.contract.labels import color_for
from tercelet.evaluation.confusion import ConfusionMatrix
from tercelet.evaluation.precision_recall import RECALL_POINTS, Curve, PrecisionRecall

PRECISION_RECALL_NAME = "precision_recall.png"
F1_NAME = "f1.png"
CONFUSION_NAME = "confusion.png"
_DOTS = 120  # an inch
# Beyond these a legend and numbers in cells can no longer be read.
_LEGEND_CLASSES = 20
_CELL_CLASSES = 20
_INK, _FAINT, _GRID = "#1f2933", "#8a96a1", "#e3e7eb"


def require_matplotlib() -> None:
    """Raise MissingDependencyError now, not after the work, where matplotlib is not installed."""
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"plots are drawn with matplotlib, which cannot be imported ({error}): "
            "pip install 'tercelet[evaluate]' (it is part of 'tercelet[train]' too)"
        ) from error


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure of so many inches that draws into memory; 120 dots an inch."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DOTS, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    """Write a Figure as PNG, parents made, and return the path; InputError where it cannot be written."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def plain_axes(axes: Any, *, title: str, x: str, y: str) -> None:
    """Title, names of the axes, a faint grid, and no frame to the right and above."""
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.set_xlabel(x, color=_INK)
    axes.set_ylabel(y, color=_INK)
    axes.grid(True, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save_evaluation_plots(
    folder: Path, curves: PrecisionRecall, confusion: ConfusionMatrix
) -> tuple[Path, ...]:
    """Write precision_recall.png, f1.png and confusion.png, and the numbers of each as .json beside them.

    Both are of the same classes. Returns the paths. Raises InputError where they cannot be written,
    MissingDependencyError without matplotlib.
    """
    numbers = folder / PRECISION_RECALL_NAME.replace(".png", ".json")
    counts = folder / CONFUSION_NAME.replace(".png", ".json")
    pictures = (
        save_figure(precision_recall_figure(curves, confusion.classes), folder / PRECISION_RECALL_NAME),
        save_figure(f1_figure(curves, confusion.classes), folder / F1_NAME),
        save_figure(confusion_figure(confusion), folder / CONFUSION_NAME),
    )
    write_json(numbers, curves.record(confusion.classes))
    write_json(counts, confusion.record())
    return (*pictures, numbers, counts)


def precision_recall_figure(curves: PrecisionRecall, classes: Sequence[str]) -> Any:
    """A matplotlib Figure: the interpolated curve of each class with objects, and their mean in black."""
    figure = new_figure(9, 5.5)
    axes = figure.add_subplot()
    plain_axes(axes, title=f"Precision and recall at IoU {curves.iou:g}", x="recall", y="precision")
    judged = _with_objects(curves, classes)
    for index, name, curve in judged:
        label = f"{name}  {curve.ap:.3f}"
        axes.plot(RECALL_POINTS, curve.interpolated(), label=label, **_line_of(index, len(judged)))
    if judged:
        mean = curves.mean_curve()
        text = f"mean of {len(judged)}  {mean.mean():.3f}"
        axes.plot(RECALL_POINTS, mean, color=_INK, linewidth=2.6, label=text)
    _finish(axes, len(judged), title="AP")
    return figure


def f1_figure(curves: PrecisionRecall, classes: Sequence[str]) -> Any:
    """A matplotlib Figure: F1 of what is above a score, for each class with objects and over all of them."""
    figure = new_figure(9, 5.5)
    axes = figure.add_subplot()
    plain_axes(axes, title=f"F1 at IoU {curves.iou:g}", x="lowest score", y="F1")
    judged = _with_objects(curves, classes)
    for index, name, curve in judged:
        best = curve.best()
        label = name if best is None else f"{name}  {best.f1:.3f} above {best.score:.3f}"
        axes.plot(curve.scores, curve.f1(), label=label, **_line_of(index, len(judged)))
    best = curves.overall.best()
    if best is not None:
        text = f"all together  {best.f1:.3f} above {best.score:.3f}"
        axes.plot(curves.overall.scores, curves.overall.f1(), color=_INK, linewidth=2.6, label=text)
        axes.axvline(best.score, color=_INK, linewidth=1, linestyle="--")
    _finish(axes, len(judged), title="best F1")
    return figure


def confusion_figure(confusion: ConfusionMatrix) -> Any:
    """A matplotlib Figure: shares of each row as shades, counts in the cells where there are few classes.

    Classes with neither objects nor detections are left out.
    """
    counts, shares = confusion.counts, confusion.shares()
    shown = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    shown = np.union1d(shown, [len(confusion.classes)])
    counts, shares = counts[np.ix_(shown, shown)], shares[np.ix_(shown, shown)]
    names = [confusion.names[index] for index in shown]
    side = min(16.0, max(4.5, 2.4 + 0.62 * len(names)))
    figure = new_figure(side + 1.2, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 9 if len(names) <= _CELL_CLASSES else 6
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=small)
    axes.set_yticks(range(len(names)), names, fontsize=small)
    axes.set_xlabel("found as", color=_INK)
    axes.set_ylabel("ground truth", color=_INK)
    title = f"Confusion, score above {confusion.score:g}, IoU {confusion.iou:g}"
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.tick_params(length=0)
    axes.spines[:].set_color(_GRID)
    figure.colorbar(image, ax=axes, label="share of the row", shrink=0.8)
    if len(names) <= _CELL_CLASSES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[row, column] > 0.55 else _INK
            text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=ink)
    return figure


def _with_objects(curves: PrecisionRecall, classes: Sequence[str]) -> list[tuple[int, str, Curve]]:
    named = zip(classes, curves.per_class, strict=True)
    return [(index, name, curve) for index, (name, curve) in enumerate(named) if curve.ground_truth]


def _line_of(index: int, drawn: int) -> dict[str, Any]:
    """The class's colour, darker than on pictures so that it shows on white; grey among many classes."""
    if drawn > _LEGEND_CLASSES:
        return {"color": _FAINT, "linewidth": 0.7}
    blue, green, red = color_for(index)
    return {"color": (red / 330, green / 330, blue / 330), "linewidth": 1.4}


def _finish(axes: Any, drawn: int, *, title: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    if not drawn:
        axes.text(0.5, 0.5, "no objects in the ground truth", ha="center", color=_FAINT)
        return
    handles, names = axes.get_legend_handles_labels()
    if drawn > _LEGEND_CLASSES:
        handles, names = handles[-1:], names[-1:]
    axes.figure.legend(
        handles, names, title=title, loc="outside right upper", frameon=False, fontsize=8.5, title_fontsize=9
    )
