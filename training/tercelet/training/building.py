"""Build a detector, of pictures or of points, or a density network by name, with explicit options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.training.detectors.density_net import DensityNet
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.families import Network, find_family
from tercelet.training.detectors.point_detector import PointDetector


def build(detector: str, **options: Any) -> Network:
    """A network with freshly drawn weights, in training mode; its `options` rebuild it.

    Every detector takes `classes` (default 80, for points 10), a density network has none; the other options
    are fields of its `options_type`. InputError for a name that is in no line of `DETECTORS`, an option that
    the network does not have, or a value it cannot take.
    """
    family, scale = find_family(detector)
    detector_type = family.load()
    check_option_names(detector, detector_type, options)
    return detector_type(detector, scale, detector_type.options_type(**options))


def check_option_names(
    detector: str,
    detector_type: type[Detector] | type[DensityNet] | type[PointDetector],
    options: Mapping[str, Any],
) -> None:
    """InputError for the first option that the detector does not have."""
    allowed = [field.name for field in fields(detector_type.options_type)]
    for name in options:
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise InputError(f"{detector}: expected options among {', '.join(allowed)}, got {name!r}; {hint}")
