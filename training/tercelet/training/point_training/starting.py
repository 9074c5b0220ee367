"""What a training of a point detector starts from: fresh weights, or those of another as they match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from tercelet.contract.errors import InputError
from tercelet.training.building import build
from tercelet.training.checkpoint import load_checkpoint
from tercelet.training.detector_training.starting import Start, taken_over
from tercelet.training.detectors.families import find_family
from tercelet.training.detectors.point_detector import PointDetector
from tercelet.training.importing.weights import read_weights
from tercelet.training.loading import load_upstream


def start_point_detector(
    detector: str,
    *,
    classes: int,
    points: int | None,
    init: str | Path | None,
    options: Mapping[str, Any] | None = None,
) -> Start[PointDetector]:
    """The network to train, for `classes` classes and clouds of `points`, None for what its options say.

    init: a checkpoint's folder or a weight file of the same network: every tensor of the same name and shape
    is taken over, the others are drawn anew and named. options: of the detector besides classes and points;
    None takes those of init. Without init there is no Faster R-CNN inside unless it is asked for: one with
    random weights finds nothing. InputError where less than half of init fits.
    """
    given = dict(options or {})
    if "points" in given and points is not None:
        raise InputError("points: expected once, got --points and --option points")
    if points is not None:
        given["points"] = points
    if init is None:
        if "image_branch" in find_family(detector)[0].load().options_type.__dataclass_fields__:
            given.setdefault("image_branch", False)
        return Start(_point_detector(build(detector, classes=classes, **given), detector))
    source, licence = _source(detector, Path(init))
    kept = {name: value for name, value in source.options.items() if name != "classes"}
    network = _point_detector(build(detector, classes=classes, **{**kept, **given}), detector)
    return replace(taken_over(network, source.state_dict(), source=Path(init).name), licence=licence)


def _source(detector: str, path: Path) -> tuple[PointDetector, str | None]:
    if path.is_dir():
        found, manifest = load_checkpoint(path)
        if found.detector != detector:
            raise InputError(f"{path}: expected a checkpoint of {detector}, got one of {found.detector}")
        return _point_detector(found, detector), manifest.provenance.licence
    read = read_weights(path, names=False)
    return _point_detector(load_upstream(detector, read.state), detector), read.licence


def _point_detector(network: nn.Module, name: str) -> PointDetector:
    if not isinstance(network, PointDetector):
        raise InputError(f"{name}: expected a detector of clouds of points, got a network of pictures")
    return network.train()
