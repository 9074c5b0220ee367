"""The verb `import`: upstream weights in, a checked checkpoint out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tercelet.contract.artefact import check_output_free
from tercelet.contract.errors import InputError
from tercelet.contract.labels import check_labels, labels_from_file, numbered_labels
from tercelet.contract.manifest import Provenance
from tercelet.training.detectors.families import find_family
from tercelet.training.importing.weights import UpstreamWeights, read_weights

_LEVELS = 3
# Of the last layer: its number, and the level in the name of a branch.
_HEAD_BRANCH = re.compile(r"(?:.*\.)?(\d+)\.(?:cv2|m)\.(\d+)\.")


def import_weights(
    weights: str | Path,
    *,
    detector: str,
    output: str | Path | None = None,
    classes: int | None = None,
    options: Mapping[str, Any] | None = None,
    labels: str | Path | Sequence[str] | None = None,
    licence: str | None = None,
    overwrite: bool = False,
    report: Callable[[str], object] | None = None,
) -> Path:
    """Import an upstream weight file as a checkpoint and return the checkpoint's folder.

    weights: .pt, .pth, .safetensors or .h5; nothing in it is run. detector: a name of `detector_names()`.
    output: default is the file's stem with -checkpoint, in the current folder. classes: refuse weights with
    another number; None takes what the weights have. options: further ones of the detector that weights
    cannot tell, such as grid="xy". labels: class names, or a text file with one a line; None takes the
    file's, then those that the mean sizes of a network of points mean, or class_0, class_1, ... where it has
    none. A density network has no classes: give neither.
    licence: of the weights, where the file does not state it or you hold another. report: is given a line
    where class names had to be made up.
    Raises InputError or CheckFailedError; then nothing is left on disk.
    """
    path = Path(weights)
    family, _ = find_family(detector)
    if family.kind == "density" and (labels is not None or classes is not None):
        raise InputError(
            f"{detector}: has no classes, it counts objects; "
            f"leave {'labels' if classes is None else 'classes'} out"
        )
    output = check_output_free(output_of_import(path, output), kind="checkpoint", overwrite=overwrite)
    given = _given_labels(labels)
    upstream = read_weights(path, names=given is None)
    # Torch takes a second or two to load; what is refused so far is refused without it.
    from tercelet.training.checkpoint import write_checkpoint
    from tercelet.training.detectors.density_net import DENSITY_LABELS, DensityNet
    from tercelet.training.detectors.point_detector import PointDetector
    from tercelet.training.loading import load_upstream

    asked = dict(options or {}) | ({} if classes is None else {"classes": classes})
    try:
        model = load_upstream(detector, upstream.state, **asked)
    except InputError as error:
        raise InputError(f"{path}: {error}{_note_on_levels(upstream.state)}") from error
    known = upstream.class_names
    if isinstance(model, PointDetector) and known is None:
        known = model.default_labels
    names = DENSITY_LABELS if isinstance(model, DensityNet) else _labels(given, known, model.classes, path)
    write_checkpoint(
        output,
        model,
        labels=names,
        provenance=_provenance(path, upstream, licence),
        source=upstream.state,
        overwrite=overwrite,
    )
    if report and given is None and known is None and family.kind != "density":
        report(f"{path}: has no class names; made up {_span(names)}, give the right ones with --labels FILE")
    return output


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def output_of_import(weights: str | Path, output: str | Path | None) -> Path:
    """Where `import_weights` writes with these arguments. Raises InputError for an empty name."""
    if output is None:
        return Path(f"{Path(weights).stem}-checkpoint")
    if not str(output):
        raise InputError("output: expected the name of a folder, got an empty one; leave -o out or name one")
    return Path(output)


def _given_labels(labels: str | Path | Sequence[str] | None) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if not isinstance(labels, (str, Path)):
        return check_labels(labels, where="labels")
    if not str(labels):
        raise InputError("labels: expected a text file, got an empty name; leave --labels out or name a file")
    return labels_from_file(labels)


def _note_on_levels(names: Iterable[str]) -> str:
    """How many levels the head of these upstream names has; empty if the usual three."""
    parts = [match.groups() for name in names if (match := _HEAD_BRANCH.match(name))]
    last = max((int(layer) for layer, _ in parts), default=0)
    levels = {int(level) for layer, level in parts if int(layer) == last}
    if not levels or len(levels) == _LEVELS:
        return ""
    return f"; its head has {len(levels)} levels, those of the detectors here have {_LEVELS} (P3, P4, P5)"


def _labels(
    given: tuple[str, ...] | None, known: tuple[str, ...] | None, classes: int, path: Path
) -> tuple[str, ...]:
    names = next((n for n in (given, known) if n is not None), numbered_labels(classes))
    if len(names) != classes:
        origin = "the labels" if given else "the names in the file"
        raise InputError(
            f"{path}: expected {classes} class names, as many as the weights have classes, "
            f"got {len(names)} from {origin}; give the right ones with --labels FILE"
        )
    return names


def _provenance(path: Path, upstream: UpstreamWeights, licence: str | None) -> Provenance:
    stated = upstream.licence
    if licence and stated and licence != stated:
        licence = f"{licence} (given at import; the file states: {stated})"
    return Provenance(
        source=path.name,
        sha256=upstream.sha256,
        format=upstream.format,
        licence=licence or stated,
        date=upstream.date,
        image_size=upstream.image_size,
        producer=upstream.producer,
    )
