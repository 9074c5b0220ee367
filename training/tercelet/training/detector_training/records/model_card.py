"""The card of a model: what it is, what it learned from and how, and how good it is, as Markdown."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from tercelet.evaluation.average_precision import ClassPrecision
from tercelet.evaluation.result import figure_text

MODEL_CARD_FILE = "CARD.md"


@dataclass(frozen=True)
class DataFingerprint:
    """Which data: a name for people, the number of frames, how many objects each class has (in the order of
    the labels), and the sha256 over all that was labelled."""

    name: str
    frames: int
    objects: Mapping[str, int]
    sha256: str


@dataclass(frozen=True)
class ClassTable:
    """Figures by class that are not those of boxes in pictures: headings, and a row of texts a class."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All that a card states.

    summary: one or two sentences on what it is. detector, options: what it was built with. canvas: (height,
    width) in pixels, None for networks that look at clouds. start: what the weights were before. licence: of
    the weights. limits: a sentence each.
    trained_on, validated_on: the data, which nobody should take for the same; validated_on None without.
    recipe: every hyperparameter by name; mappings in it are flattened. versions, hardware: as by
    `library_versions` and `hardware_words`. seconds: of the training. epochs, best_epoch: how many there
    were, and whose weights these are. metrics: by name, 0 to 1, None where undefined. per_class: by label,
    or a table of its own.
    files: what lies beside the card, and what each is.
    """

    title: str
    summary: str
    detector: str
    options: Mapping[str, object]
    labels: Sequence[str]
    parameters: int
    canvas: tuple[int, int] | None
    start: str
    licence: str
    intended_use: str
    limits: Sequence[str]
    trained_on: DataFingerprint
    validated_on: DataFingerprint | None
    recipe: Mapping[str, object]
    seed: int
    versions: Mapping[str, str]
    hardware: str
    seconds: float
    epochs: int
    best_epoch: int
    metrics: Mapping[str, float | None]
    per_class: Mapping[str, ClassPrecision] | ClassTable
    files: Mapping[str, str]


def library_versions() -> dict[str, str]:
    """Versions that decide what a training does: Tercelet, torch and Python."""
    try:
        own = version("tercelet")
    except PackageNotFoundError:
        own = "not installed"
    return {"tercelet": own, "torch": torch.__version__, "python": platform.python_version()}


def hardware_words(device: torch.device | str = "cpu", *, processes: int = 1) -> str:
    """What computed, without a name of the machine: "2 CPU threads", "1 NVIDIA L4, 8 CPU threads"."""
    threads = torch.get_num_threads()
    words = f"{threads} CPU thread{'' if threads == 1 else 's'}"
    if torch.device(device).type == "cuda":
        words = f"{torch.cuda.get_device_name(device)}, {words}"
    return words if processes == 1 else f"{processes} processes, each {words}"


def model_card(card: ModelCard) -> str:
    """The card as Markdown, with a line end at its end."""
    parts = [
        f"# {card.title}",
        card.summary,
        _table(("", ""), _facts(card)),
        f"## Intended use\n\n{card.intended_use}",
        "## Limits\n\n" + ("\n".join(f"* {limit}" for limit in card.limits) or "None were stated."),
        "## Figures\n\n" + _figures(card),
        "## Data\n\n" + _data(card),
        "## Recipe\n\n" + _recipe(card),
        "## Files\n\n" + _table(("file", "what it is"), [*card.files.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(card: ModelCard) -> list[tuple[str, str]]:
    options = ", ".join(f"{name} {_value(value)}" for name, value in card.options.items())
    return [
        ("detector", f"{card.detector} ({options})" if options else card.detector),
        ("classes", f"{len(card.labels)}: {', '.join(card.labels)}"),
        ("parameters", f"{card.parameters:,}"),
        *_canvas(card.canvas),
        ("weights before training", card.start),
        ("licence of the weights", card.licence),
    ]


def _canvas(size: tuple[int, int] | None) -> list[tuple[str, str]]:
    return [] if size is None else [("canvas", f"{size[1]}x{size[0]} pixels (width x height)")]


def _figures(card: ModelCard) -> str:
    if card.validated_on is None:
        return "Not evaluated: there was no validation data."
    whole = _table(("", "0..1"), [(name, figure_text(value)) for name, value in card.metrics.items()])
    by_class = _table(*_by_class(card.per_class))
    return f"On {card.validated_on.name}, {card.validated_on.frames} frames.\n\n{whole}\n\n{by_class}"


def _by_class(
    figures: Mapping[str, ClassPrecision] | ClassTable,
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Headings and rows."""
    if isinstance(figures, ClassTable):
        return figures.headings, figures.rows
    rows = [
        (name, figure_text(item.ap), figure_text(item.ap50), str(item.ground_truth), str(item.detections))
        for name, item in figures.items()
    ]
    return ("class", "AP", "AP50", "objects", "detections"), rows


def _data(card: ModelCard) -> str:
    used = [("training", card.trained_on)]
    if card.validated_on is not None:
        used.append(("validation", card.validated_on))
    sets = [(role, data.name, f"{data.frames:,}", f"`{data.sha256}`") for role, data in used]
    names = dict.fromkeys(name for _, data in used for name in data.objects)
    objects = [(name, *(f"{data.objects.get(name, 0):,}" for _, data in used)) for name in names]
    totals = ("all", *(f"{sum(data.objects.values()):,}" for _, data in used))
    return (
        _table(("", "name", "frames", "sha256 of frames and labels"), sets)
        + "\n\nObjects:\n\n"
        + _table(("class", *(role for role, _ in used)), [*objects, totals])
    )


def _recipe(card: ModelCard) -> str:
    facts = [
        ("seed", str(card.seed)),
        ("epochs", f"{card.epochs}, these weights are those of epoch {card.best_epoch}"),
        ("time", _duration(card.seconds)),
        ("hardware", card.hardware),
        *((f"{name} version", text) for name, text in card.versions.items()),
    ]
    return _table(("", ""), facts) + "\n\n" + _table(("hyperparameter", "value"), _flat(card.recipe))


def _flat(values: Mapping[str, object], *, before: str = "") -> list[tuple[str, str]]:
    """Name and value of each; those of a mapping inside as outer.inner."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, before=f"{before}{name}.")
        else:
            rows.append((f"{before}{name}", _value(value)))
    return rows


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; what would break its cells is escaped."""
    lines = [headings, ["---"] * len(headings), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
