"""What passes between the rooms: geometry, preprocessing, labels, detections, manifests, artefacts."""

from tercelet.contract.artefact import read_manifest
from tercelet.contract.detections import Detections
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError, TerceletError
from tercelet.contract.geometry import Letterbox, letterbox_for, pairwise_iou
from tercelet.contract.manifest import Manifest
from tercelet.contract.preprocess import Preprocess, fill_canvas

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
