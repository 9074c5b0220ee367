"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from networks import lively_detector

from tercelet.contract.manifest import Provenance
from tercelet.export import export
from tercelet.training.checkpoint import write_checkpoint

# Beside other test processes each keeps to one core; waiting for a second one at every operator takes longer.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference fixtures and real data beside the checkout; the test is skipped without it."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("needs ../shared (reference fixtures and real data), which is not here")
    return SHARED


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of yolov5n with three classes, seeded random weights and a canvas of 64x64."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-checkpoint"
    provenance = Provenance(
        source="seeded", sha256="0" * 64, format="none", licence="Apache-2.0", image_size=64
    )
    detector = lively_detector("yolov5n", classes=3)
    write_checkpoint(folder, detector, labels=("cat", "dog", "owl"), provenance=provenance)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path) -> Path:
    """The bundle exported from `tiny_checkpoint`."""
    return export(tiny_checkpoint, output=tiny_checkpoint.parent / "tiny-bundle")


@pytest.fixture(scope="session")
def yolov5n_checkpoint(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official yolov5n, imported."""
    from tercelet.training import import_weights

    folder = tmp_path_factory.mktemp("official") / "yolov5n-checkpoint"
    weights = shared / "data" / "weights" / "yolov5n_v6.1-v7.0_official.pt"
    return import_weights(weights, detector="yolov5n", output=folder)


@pytest.fixture(scope="session")
def yolov5n_bundle(shared: Path, yolov5n_checkpoint: Path) -> Path:
    """The official yolov5n at 640x640, compared with torch on real frames while it is exported."""
    frames = [shared / "data" / "coco" / name for name in ("bus.jpg", "zidane.jpg", "coco8/images/val")]
    return export(yolov5n_checkpoint, output=yolov5n_checkpoint.parent / "yolov5n-bundle", frames=frames)
