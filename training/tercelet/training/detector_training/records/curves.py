"""The course of a training as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.evaluation.plots import new_figure, plain_axes, save_figure
from tercelet.training.detector_training.records.epoch_rows import EpochRow

CURVES_FILE = "curves.png"
_COLORS = ("#2b62c4", "#d9822b", "#2f8f5b", "#a23b72", "#5b6770")
_INK = "#1f2933"


def save_curves(rows: Sequence[EpochRow], path: str | Path, *, images_word: str = "images") -> Path:
    """Write a PNG of losses, AP, learning rate and speed over the epochs, and return the path.

    images_word: what the network looks at, images or rooms.
    Raises InputError without a row, MissingDependencyError without matplotlib.
    """
    if not rows:
        raise InputError(f"{path}: expected at least one epoch to draw, got none")
    figure = new_figure(11, 7)
    (losses, precision), (rate, speed) = figure.subplots(2, 2)
    epochs = [row.epoch for row in rows]
    plain_axes(losses, title="Loss", x="epoch", y="mean of the epoch's steps")
    _line(losses, epochs, [row.loss for row in rows], "all", _INK, width=2.2)
    for name, color in zip(rows[0].losses, _COLORS * len(rows[0].losses), strict=False):
        _line(losses, epochs, [row.losses[name] for row in rows], name, color)
    plain_axes(precision, title=_best_title(rows), x="epoch", y="0 to 1")
    for name, color in (("ap25", _COLORS[1]), ("ap50", _COLORS[0]), ("ap", _COLORS[2])):
        known = [(row.epoch, value) for row in rows if (value := getattr(row, name)) is not None]
        if not known:
            continue
        _line(precision, [epoch for epoch, _ in known], [value for _, value in known], name.upper(), color)
    precision.set_ylim(0, 1.02)
    plain_axes(rate, title="Learning rate", x="epoch", y="at the end of the epoch")
    _line(rate, epochs, [row.lr for row in rows], "lr", _COLORS[3])
    plain_axes(speed, title="Speed", x="epoch", y=f"{images_word} a second")
    _line(speed, epochs, [row.images_per_second for row in rows], f"{images_word} a second", _COLORS[0])
    _waiting(speed, epochs, [100 * row.data_wait for row in rows])
    for axes in (losses, precision, rate, speed):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        if axes is not precision:
            axes.set_ylim(bottom=0)
        if axes.get_legend_handles_labels()[0] and axes is not rate and axes is not speed:
            axes.legend(frameon=False, fontsize=9)
    return save_figure(figure, Path(path))


def _waiting(axes: Any, epochs: Sequence[int], percent: Sequence[float]) -> None:
    """Percent of the time that went by waiting for images, on an axis of its own to the right."""
    right = axes.twinx()
    _line(right, epochs, percent, "waiting for images", _COLORS[1])
    right.set_ylim(0, max(10.0, *percent) * 1.1)
    right.set_ylabel("% of the time waiting for images", color=_COLORS[1])
    right.spines[["top", "left"]].set_visible(False)
    axes.yaxis.label.set_color(_COLORS[0])


def _line(
    axes: Any, x: Sequence[float], y: Sequence[float], label: str, color: str, *, width: float = 1.5
) -> None:
    # A single epoch, or evaluations far between, would leave nothing to see without points.
    marker = "o" if len(x) <= 30 else ""
    axes.plot(x, y, label=label, color=color, linewidth=width, marker=marker, markersize=3.5)


def _best_title(rows: Sequence[EpochRow]) -> str:
    judged = [row for row in rows if row.ap50 is not None]
    if not judged:
        return "AP, not evaluated"
    best = max(judged, key=lambda row: row.ap50 or 0.0)
    return f"AP, best AP50 {best.ap50:.3f} in epoch {best.epoch}"
