"""Weights that stand in for those of the package: small, seeded, and found to detect something or other."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from networks import lively_detector

from tercelet.contract.manifest import Provenance
from tercelet.export import bundle_aerial, export
from tercelet.export.demonstration.packaged_weights import CLASS_MAP, PackagedWeights
from tercelet.training import build, write_checkpoint

LABELS = ("person", "car", "large vehicle")
CLASSES = {"person": ["pedestrian", "people"], "car": ["car", "van"], "large vehicle": ["truck", "bus"]}
CANVASES = 2
_PROVENANCE = Provenance(
    source="seeded", sha256="0" * 64, format="none", licence="Apache-2.0", image_size=128
)


def stand_in_weights(folder: Path) -> PackagedWeights:
    """Both checkpoints in half precision, and the aerial bundle made of them."""
    detector = lively_detector("yolov5n", classes=len(LABELS))
    write_checkpoint(
        folder / "detector",
        detector,
        labels=LABELS,
        provenance=_PROVENANCE,
        notes={CLASS_MAP: json.dumps(CLASSES), "CARD.md": "# Stand-in\n"},
        stored="fp16",
    )
    torch.manual_seed(0)
    network = build("density-lite")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    write_checkpoint(
        folder / "density",
        network,
        labels=("object",),
        provenance=_PROVENANCE,
        canvas=(64, 96),
        stored="fp16",
    )
    parts = [
        export(folder / "detector", output=folder / "detector-bundle", batch=4, stored="fp16"),
        export(folder / "density", output=folder / "density-bundle", stored="fp16"),
    ]
    bundle = bundle_aerial(*parts, output=folder / "bundle", canvases=CANVASES, object_px=24.0)
    return PackagedWeights(detector=folder / "detector", density=folder / "density", bundle=bundle)
