"""Checkpoints: a folder with weights.safetensors and manifest.json, checked when written and when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tercelet.contract.artefact import finish_artefact, new_artefact, read_manifest, verify_file
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import DetectorRecord, Manifest, Postprocess, Provenance
from tercelet.contract.preprocess import Preprocess
from tercelet.training.detectors.detector import Detector
from tercelet.training.importing.safetensors_file import read_safetensors
from tercelet.training.loading import load_upstream

WEIGHTS_FILE = "weights.safetensors"
DEFAULT_IMAGE_SIZE = 640
_PROBE_SIDE = 64
# Upstream states may be wrapped, and may lack the counters of batch normalisation (see load_upstream).
_WRAPPERS = ("", "module.", "model.")
_COUNTER = "num_batches_tracked"

State = Mapping[str, NDArray[Any]]


def write_checkpoint(
    output: str | Path,
    detector: Detector,
    *,
    labels: Sequence[str],
    provenance: Provenance,
    source: State | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a detector as a checkpoint and return its manifest.

    labels: one for each class. provenance: its image_size (640 px if None), made a multiple of what the
    detector needs, becomes the canvas; tensors and parameters are filled in. source: the state that the
    detector was loaded from. The file is read back and must equal the detector's state, and `source` where
    there is one, to the last bit of float32; a forward pass on a small probe must be finite.
    Raises InputError or CheckFailedError; then nothing is left on disk.
    """
    if len(labels) != detector.classes:
        raise InputError(
            f"{output}: expected {detector.classes} labels, one for each class, got {len(labels)}"
        )
    written = {name: v.detach().cpu().contiguous().numpy() for name, v in detector.state_dict().items()}
    side = _canvas_side(detector, provenance.image_size or DEFAULT_IMAGE_SIZE)
    manifest = Manifest(
        kind="checkpoint",
        detector=DetectorRecord(detector.detector, detector.options),
        labels=tuple(labels),
        preprocess=Preprocess(side, side),
        provenance=_counted(provenance, detector),
        files={},
        postprocess=Postprocess(iou_threshold=detector.suppression_iou),
    )
    with new_artefact(output, kind="checkpoint", overwrite=overwrite) as folder:
        path = folder / WEIGHTS_FILE
        save_file(written, path, metadata={"format": "pt"})
        read, _ = read_safetensors(path.read_bytes(), where=str(path))
        _check_equal(read, written, what="the detector's state", output=output)
        if source is not None:
            _check_equal(read, _matched(detector, read, source), what="the source's state", output=output)
        _check_probe(detector, output)
        return finish_artefact(folder, manifest)


def load_checkpoint(folder: str | Path) -> tuple[Detector, Manifest]:
    """The detector of a checkpoint, in eval mode, and its manifest.

    Raises InputError for a folder that is no checkpoint, CheckFailedError if the weights are not the ones
    that the manifest names.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest.kind != "checkpoint":
        raise InputError(
            f"{folder}: expected a checkpoint, got a {manifest.kind}; give the folder made by tercelet import"
        )
    path = verify_file(folder, manifest, WEIGHTS_FILE)
    state, _ = read_safetensors(path.read_bytes(), where=str(path))
    detector = load_upstream(manifest.detector.name, state, **manifest.detector.options)
    if len(manifest.labels) != detector.classes:
        raise InputError(
            f"{folder}: labels: expected {detector.classes}, one for each class of the weights, "
            f"got {len(manifest.labels)}"
        )
    return detector, manifest


def _canvas_side(detector: Detector, image_size: int) -> int:
    step = detector.size_multiple
    return -(-max(image_size, detector.minimum_size) // step) * step


def _counted(provenance: Provenance, detector: Detector) -> Provenance:
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    return replace(provenance, tensors=len(detector.state_dict()), parameters=parameters)


def _matched(detector: Detector, names: Mapping[str, Any], source: State) -> State:
    """The source's tensor for each name, as `upstream_state` shapes it; counters it lacks are left out."""
    matched = {}
    for name in names:
        found = next((source[wrapper + name] for wrapper in _WRAPPERS if wrapper + name in source), None)
        if found is not None:
            matched[name] = found.astype(np.float32) if found.dtype.kind == "f" else found
        elif not name.endswith(_COUNTER):
            raise CheckFailedError(f"{name}: is in the checkpoint but not in the weights it was made from")
    return detector.upstream_state(matched)


def _check_equal(read: State, expected: State, *, what: str, output: str | Path) -> None:
    for name, wanted in expected.items():
        got = read.get(name)
        if (
            got is None
            or got.dtype != wanted.dtype
            or got.shape != wanted.shape
            or got.tobytes() != wanted.tobytes()
        ):
            raise CheckFailedError(
                f"{output}: {name}: the file read back differs from {what}; nothing was kept"
            )


def _check_probe(detector: Detector, output: str | Path) -> None:
    """One forward pass on a fixed pattern; every number must be finite."""
    side = _canvas_side(detector, _PROBE_SIDE)
    ramp = torch.linspace(0, 1, 3 * side * side).reshape(1, 3, side, side)
    was_training = detector.training
    detector.eval()
    try:
        with torch.inference_mode():
            result = detector(ramp)
    finally:
        detector.train(was_training)
    if not all(bool(part.isfinite().all()) for part in result):
        raise CheckFailedError(
            f"{output}: on a {side}x{side} test pattern the detector gives nan or infinity; "
            "the weights are damaged or the training diverged; nothing was written"
        )
