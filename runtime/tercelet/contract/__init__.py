"""What passes between the rooms: geometry, preprocessing, labels, detections, manifests, artefacts.

Names are loaded when they are first used, so that an error or a version can be had without numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tercelet.contract.artefact import read_manifest
    from tercelet.contract.detections import Detections
    from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError, TerceletError
    from tercelet.contract.geometry import Letterbox, letterbox_for, pairwise_iou
    from tercelet.contract.manifest import Manifest
    from tercelet.contract.preprocess import Preprocess, fill_canvas

_MODULE_OF = {
    "CheckFailedError": "tercelet.contract.errors",
    "Detections": "tercelet.contract.detections",
    "InputError": "tercelet.contract.errors",
    "Letterbox": "tercelet.contract.geometry",
    "Manifest": "tercelet.contract.manifest",
    "MissingDependencyError": "tercelet.contract.errors",
    "Preprocess": "tercelet.contract.preprocess",
    "TerceletError": "tercelet.contract.errors",
    "fill_canvas": "tercelet.contract.preprocess",
    "letterbox_for": "tercelet.contract.geometry",
    "pairwise_iou": "tercelet.contract.geometry",
    "read_manifest": "tercelet.contract.artefact",
}
__all__ = [
    "CheckFailedError",
    "Detections",
    "InputError",
    "Letterbox",
    "Manifest",
    "MissingDependencyError",
    "Preprocess",
    "TerceletError",
    "fill_canvas",
    "letterbox_for",
    "pairwise_iou",
    "read_manifest",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
