"""Checkpoints: a folder with weights.safetensors and manifest.json, checked when written and when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tercelet.contract.artefact import finish_artefact, new_artefact, read_manifest, verify_file
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import (
    CloudRecord,
    DensityRecord,
    DetectorRecord,
    Manifest,
    Postprocess,
    Provenance,
)
from tercelet.contract.preprocess import Preprocess
from tercelet.training.detectors.density_net import DENSITY_LABELS, DensityNet
from tercelet.training.detectors.detector import Detector
from tercelet.training.detectors.families import Network
from tercelet.training.detectors.point_detector import PointDetector
from tercelet.training.importing.safetensors_file import read_safetensors
from tercelet.training.loading import load_upstream, without_wrappers

WEIGHTS_FILE = "weights.safetensors"
DEFAULT_IMAGE_SIZE = 640
_PROBE_SIDE = 64
_NO_CANVAS = (1, 1)
# Above these upstream keeps a proposal, and drops the lesser of two boxes of a class.
_OBJECTNESS = 0.05
_BOUNDS_IOU = 0.25
# Upstream states may lack the counters of batch normalisation (see load_upstream).
_COUNTER = "num_batches_tracked"

State = Mapping[str, NDArray[Any]]
Stored = Literal["fp32", "fp16"]
STORED: tuple[Stored, ...] = ("fp32", "fp16")


def write_checkpoint(
    output: str | Path,
    detector: Network,
    *,
    labels: Sequence[str],
    provenance: Provenance,
    source: State | None = None,
    canvas: tuple[int, int] | None = None,
    notes: Mapping[str, str | bytes] | None = None,
    stored: Stored = "fp32",
    overwrite: bool = False,
) -> Manifest:
    """Write a detector, of pictures or points, or a density network as a checkpoint and return its manifest.

    labels: one for each class; DENSITY_LABELS for a density network. provenance: its image_size, made a
    multiple of what the network needs, becomes the canvas unless `canvas` (height, width in pixels) is given;
    with neither it is 640 px, or a density network's `default_canvas`. A network of points looks at no
    picture: its canvas is 1x1 and says nothing. tensors and parameters are filled in.
    source: the state that the network was loaded from. notes: further files by name. The file is read back
    and must equal the network's state, and `source` where there is one, to the last bit of float32; a
    forward pass on a small probe must be finite.
    stored: "fp16" rounds every parameter of two or more dimensions to half precision, here and in the file,
    so that figures measured with `detector` afterwards are those of the file; biases, norms and anchors stay
    float32, and arithmetic does too. A `source` would then differ and is refused.
    Raises InputError or CheckFailedError; then nothing is left on disk.
    """
    _check_labels(output, detector, labels)
    _check_stored(output, stored, source)
    halves = _round_parameters(output, detector) if stored == "fp16" else {}
    state = {name: v.detach().cpu().contiguous().numpy() for name, v in detector.state_dict().items()}
    height, width = _canvas_size(detector, canvas, provenance.image_size)
    manifest = Manifest(
        kind="checkpoint",
        detector=DetectorRecord(detector.detector, detector.options),
        labels=tuple(labels),
        preprocess=Preprocess(height, width),
        provenance=_counted(provenance, detector),
        files={},
        postprocess=_postprocess(detector),
        density=DensityRecord(detector.cell) if isinstance(detector, DensityNet) else None,
        cloud=CloudRecord(detector.points) if isinstance(detector, PointDetector) else None,
        stored=None if stored == "fp32" else stored,
    )
    with new_artefact(output, kind="checkpoint", overwrite=overwrite) as folder:
        path = folder / WEIGHTS_FILE
        save_file({**state, **halves}, path, metadata={"format": "pt"})
        read, _ = read_safetensors(path.read_bytes(), where=str(path))
        _check_equal(read, state, what="the detector's state", output=output)
        if source is not None:
            _check_equal(read, _matched(detector, read, source), what="the source's state", output=output)
        _check_probe(detector, output)
        for name, content in (notes or {}).items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return finish_artefact(folder, manifest)


def load_checkpoint(folder: str | Path) -> tuple[Network, Manifest]:
    """The network of a checkpoint, in eval mode, and its manifest.

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
    expected = _label_count(detector)
    if len(manifest.labels) != expected:
        raise InputError(
            f"{folder}: labels: expected {expected}, one for each class of the weights, "
            f"got {len(manifest.labels)}"
        )
    return detector, manifest


def round_checkpoint(checkpoint: str | Path, output: str | Path, *, overwrite: bool = False) -> Manifest:
    """Write a checkpoint anew with its weights in half precision, at half the size; returns the manifest.

    Labels, canvas, provenance and further files stay. What the network finds may change a little: evaluate
    the new one. Raises as `load_checkpoint` and `write_checkpoint` do.
    """
    folder = Path(checkpoint)
    detector, manifest = load_checkpoint(folder)
    others = [name for name in manifest.files if name != WEIGHTS_FILE]
    return write_checkpoint(
        output,
        detector,
        labels=manifest.labels,
        provenance=manifest.provenance,
        canvas=(manifest.preprocess.height, manifest.preprocess.width),
        notes={name: verify_file(folder, manifest, name).read_bytes() for name in others},
        stored="fp16",
        overwrite=overwrite,
    )


def _check_stored(output: str | Path, stored: str, source: State | None) -> None:
    if stored not in STORED:
        raise InputError(f"{output}: stored: expected one of {', '.join(STORED)}, got {stored!r}")
    if stored == "fp16" and source is not None:
        raise InputError(
            f"{output}: stored: expected fp32 together with a source, which the file must equal to the last "
            "bit, got fp16; write it without source, or as fp32 and round_checkpoint it"
        )


@torch.no_grad()
def _round_parameters(output: str | Path, detector: Network) -> dict[str, NDArray[np.float16]]:
    """Round in place, and the rounded ones in half precision; CheckFailedError for one beyond its range."""
    large = {name: value for name, value in detector.named_parameters() if value.ndim >= 2}
    halves = {name: value.detach().cpu().half().contiguous() for name, value in large.items()}
    for name, half in halves.items():
        if not bool(half.isfinite().all()):
            raise CheckFailedError(
                f"{output}: {name}: expected finite numbers up to 65504, which half precision can hold, got "
                f"{float(large[name].abs().max()):g}; store it as fp32. Nothing was written"
            )
    for name, half in halves.items():
        large[name].copy_(half)
    return {name: half.numpy() for name, half in halves.items()}


def _postprocess(detector: Network) -> Postprocess | None:
    if isinstance(detector, DensityNet):
        return None
    if isinstance(detector, PointDetector):
        return Postprocess(score_threshold=_OBJECTNESS, iou_threshold=_BOUNDS_IOU)
    return Postprocess(iou_threshold=detector.suppression_iou)


def _label_count(detector: Network) -> int:
    return len(DENSITY_LABELS) if isinstance(detector, DensityNet) else detector.classes


def _check_labels(output: str | Path, detector: Network, labels: Sequence[str]) -> None:
    expected = _label_count(detector)
    if len(labels) != expected:
        raise InputError(f"{output}: expected {expected} labels, one for each class, got {len(labels)}")


def _canvas_size(
    detector: Network, canvas: tuple[int, int] | None, image_size: int | None
) -> tuple[int, int]:
    """Height and width of the canvas that a manifest states; InputError for one that the network refuses."""
    if isinstance(detector, PointDetector):
        return _NO_CANVAS
    if canvas is not None:
        detector.check_size(*canvas)
        return canvas
    if image_size is None and isinstance(detector, DensityNet):
        return detector.default_canvas
    side = _canvas_side(detector, image_size or DEFAULT_IMAGE_SIZE)
    return side, side


def _canvas_side(detector: Detector | DensityNet, image_size: int) -> int:
    step = detector.size_multiple
    return -(-max(image_size, detector.minimum_size) // step) * step


def _counted(provenance: Provenance, detector: Network) -> Provenance:
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    return replace(provenance, tensors=len(detector.state_dict()), parameters=parameters)


def _matched(detector: Network, names: Mapping[str, Any], source: State) -> State:
    """The source's tensor for each name, as `upstream_state` has it; counters it lacks are left out."""
    given = detector.upstream_state(without_wrappers(source))
    matched = {}
    for name in names:
        if name in given:
            found = given[name]
            matched[name] = found.astype(np.float32) if found.dtype.kind == "f" else found
        elif not name.endswith(_COUNTER):
            raise CheckFailedError(f"{name}: is in the checkpoint but not in the weights it was made from")
    return matched


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


def _probe(detector: Network) -> tuple[tuple[torch.Tensor, ...], str]:
    """What a network is tried on, and its size in words."""
    if isinstance(detector, PointDetector):
        return detector.probe(), "a few points"
    side = _canvas_side(detector, _PROBE_SIDE)
    largest = 255 if isinstance(detector, DensityNet) else 1
    ramp = torch.linspace(0, largest, 3 * side * side).reshape(1, 3, side, side)
    return (ramp,), f"{side}x{side}"


def _check_probe(detector: Network, output: str | Path) -> None:
    """One forward pass on a fixed pattern; every number must be finite."""
    pattern, named = _probe(detector)
    was_training = detector.training
    detector.eval()
    try:
        with torch.inference_mode():
            result = detector(*pattern)
    finally:
        detector.train(was_training)
    parts = (result,) if isinstance(result, torch.Tensor) else result
    if not all(bool(part.isfinite().all()) for part in parts):
        raise CheckFailedError(
            f"{output}: on a test pattern of {named} the network gives nan or infinity; "
            "the weights are damaged or the training diverged; nothing was written"
        )
