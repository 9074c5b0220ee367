"""Detectors in plain torch: built, loaded from upstream weights, trained, imported.

Names are resolved on first use, so that importing this package loads neither torch nor anything heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tercelet.training.building import build
    from tercelet.training.candidates import Candidates, TopCandidates
    from tercelet.training.checkpoint import load_checkpoint, round_checkpoint, write_checkpoint
    from tercelet.training.density_training.train_density import train_density
    from tercelet.training.detector_training.train_detector import train_detector
    from tercelet.training.detectors.families import DETECTORS, detector_names
    from tercelet.training.importing.import_weights import import_weights
    from tercelet.training.importing.weights import UpstreamWeights, read_weights
    from tercelet.training.loading import load_upstream
    from tercelet.training.point_training.train_points import train_points

_MODULE_OF = {
    "DETECTORS": "tercelet.training.detectors.families",
    "Candidates": "tercelet.training.candidates",
    "TopCandidates": "tercelet.training.candidates",
    "UpstreamWeights": "tercelet.training.importing.weights",
    "build": "tercelet.training.building",
    "detector_names": "tercelet.training.detectors.families",
    "import_weights": "tercelet.training.importing.import_weights",
    "load_checkpoint": "tercelet.training.checkpoint",
    "load_upstream": "tercelet.training.loading",
    "read_weights": "tercelet.training.importing.weights",
    "round_checkpoint": "tercelet.training.checkpoint",
    "train_density": "tercelet.training.density_training.train_density",
    "train_detector": "tercelet.training.detector_training.train_detector",
    "train_points": "tercelet.training.point_training.train_points",
    "write_checkpoint": "tercelet.training.checkpoint",
}

__all__ = [
    "DETECTORS",
    "Candidates",
    "TopCandidates",
    "UpstreamWeights",
    "build",
    "detector_names",
    "import_weights",
    "load_checkpoint",
    "load_upstream",
    "read_weights",
    "round_checkpoint",
    "train_density",
    "train_detector",
    "train_points",
    "write_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
