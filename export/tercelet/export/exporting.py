"""The verb `export`: checkpoint in, bundle out, checked before it is handed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.artefact import check_output_free, finish_artefact, new_artefact
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import (
    DEFAULT_CANDIDATES,
    Golden,
    Lowering,
    Manifest,
    Network,
    Parity,
    Postprocess,
    Target,
)
from tercelet.contract.preprocess import Preprocess
from tercelet.contract.scenes import synthetic_frame
from tercelet.contract.session import Session, SessionOptions
from tercelet.export.aerial_bundle import (
    AERIAL_BATCH,
    check_density_bundle,
    finish_aerial,
    put_density_beside,
)
from tercelet.export.density_exporting import DensityRequest, export_density, refuse_detector_options
from tercelet.export.onnx_from_detector import onnx_from_detector
from tercelet.export.op_lowering import AUTO, lower_ops
from tercelet.export.parity_check import Gates, check_batch, check_parity, parity_canvases
from tercelet.export.passes.store_half import rounded_weights
from tercelet.export.point_exporting import PointRequest, export_points, refuse_picture_options
from tercelet.runtime.golden import GOLDEN_FILE, write_golden
from tercelet.runtime.opening import open_session
from tercelet.runtime.pipelines.aerial_options import MAXIMUM_CANVASES
from tercelet.training.checkpoint import STORED, Stored, load_checkpoint
from tercelet.training.detectors.density_net import DensityNet
from tercelet.training.detectors.point_detector import PointDetector

MODEL_FILE = "model.onnx"
# As many canvases as a frame may take at all.
MAXIMUM_BATCH = MAXIMUM_CANVASES
# The golden pair must also hold on another CPU and another version of the engine, not to the last bit.
GOLDEN_PX = 0.5
GOLDEN_SCORE = 5e-3
Report = Callable[[str], object]


@dataclass(frozen=True)
class _Request:
    preprocess: Preprocess
    opset: int | None
    op_form: str
    inline_ops: bool
    candidates: int
    canvases: list[NDArray[np.uint8]]
    gates: Gates
    batch: int
    stored: Stored


def export(
    checkpoint: str | Path,
    *,
    output: str | Path | None = None,
    target: Literal["onnxruntime"] = "onnxruntime",
    precision: Literal["fp32"] = "fp32",
    size: int | tuple[int, int] | None = None,
    opset: int | None = None,
    op_form: str = AUTO,
    inline_ops: bool = False,
    candidates: int = DEFAULT_CANDIDATES,
    batch: int | None = None,
    density: str | Path | None = None,
    frames: Sequence[str | Path] | None = None,
    gate_px: float | None = None,
    gate_score: float | None = None,
    stored: Stored = "fp32",
    points: int | None = None,
    boxes: int | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> Path:
    """Export a checkpoint to a bundle for ONNX Runtime and return the bundle's folder.

    A density network takes checkpoint, output, target, precision, size (multiples of what it needs), opset,
    frames, stored, overwrite and report; what concerns boxes and custom ops is refused. A detector of clouds
    takes checkpoint, output, target, precision, points, opset, op_form, inline_ops, frames (files of upright
    clouds), stored, overwrite and report, one with image votes boxes too.

    output: default is the checkpoint's name with -bundle. size: canvas side, or (height, width), in pixels,
    multiples of 32 (MultiSEAM at least 224); default as the checkpoint says. opset: 17 to 20; None takes
    18, or 19 where there is AKConv. op_form: custom ops in standard operators: "deform_conv", "row_gather"
    (for ONNX Runtime before 1.25) or "auto", the quicker one as measured here; build_ops adds native kernels
    later. inline_ops: no custom nodes at all. candidates: K of the graph. batch: canvases in one
    run, above 1 any number up to that; None takes 1, and with density 16. density: folder of a density bundle
    to put beside the detector, for pipeline density_crops. frames: pictures, folders or videos on which the
    graph is compared with torch; at least three frames are used, what is missing is filled with synthetic
    ones.
    gate_px, gate_score: the largest 99.9th percentile difference of a box coordinate in canvas pixels and of
    a score that passes; None takes 1e-3 px and 1e-4, raised to four times torch's own rounding where that is
    larger. stored: "fp16" halves the file: large weights lie in it in half precision, arithmetic is as
    before; for checkpoints written so the graph stays within the gates, others are rounded, which the gates
    seldom let pass. points: of a cloud, for a detector of clouds, at least 1000; None takes what it
    recommends. boxes: of the picture, for a network with image votes; None takes 100. report: gets each step.
    Raises InputError, or CheckFailedError above a gate; then nothing is left on disk.
    """
    checkpoint = Path(checkpoint)
    say = report or (lambda line: None)
    _check_options(target, precision, stored, candidates, batch)
    detector, manifest = load_checkpoint(checkpoint)
    if output is None:
        output = checkpoint.resolve().name.removesuffix("-checkpoint") + "-bundle"
    if isinstance(detector, PointDetector):
        refuse_picture_options(
            detector.detector,
            size=size is not None,
            candidates=candidates != DEFAULT_CANDIDATES,
            batch=batch is not None,
            density=density is not None,
            gate_px=gate_px is not None,
            gate_score=gate_score is not None,
        )
        asked = PointRequest(points, opset, op_form, inline_ops, frames or (), stored, boxes)
        output = check_output_free(output, kind="bundle", overwrite=overwrite)
        return export_points(detector, manifest, output, asked, overwrite=overwrite, say=say)
    for name, given in (("points", points), ("boxes", boxes)):
        if given is not None:
            raise InputError(
                f"{detector.detector}: {name}: it looks at pictures and takes none; leave it out"
            )
    preprocess = _canvas_for(manifest.preprocess, size)
    detector.check_size(preprocess.height, preprocess.width)
    output = check_output_free(output, kind="bundle", overwrite=overwrite)
    canvases = parity_canvases(frames, preprocess)
    if stored == "fp16" and (rounded := rounded_weights(detector)):
        say(
            f"{rounded} weights hold no numbers of half precision and are rounded: a checkpoint that is "
            "stored in fp16 needs no rounding (tercelet.training.round_checkpoint)"
        )
    if isinstance(detector, DensityNet):
        refuse_detector_options(
            detector.detector,
            candidates=candidates != DEFAULT_CANDIDATES,
            op_form=op_form != AUTO,
            inline_ops=inline_ops,
            gate_px=gate_px is not None,
            gate_score=gate_score is not None,
            batch=batch is not None,
            density=density is not None,
        )
        wanted = DensityRequest(preprocess, opset, canvases, stored)
        return export_density(detector, manifest, output, wanted, overwrite=overwrite, say=say)
    if density is not None:
        check_density_bundle(density)
    if batch is None:
        batch = 1 if density is None else AERIAL_BATCH
    gates = Gates(gate_px, gate_score)
    request = _Request(preprocess, opset, op_form, inline_ops, candidates, canvases, gates, batch, stored)
    with new_artefact(output, kind="bundle", overwrite=overwrite) as folder:
        made = _write_bundle(folder, detector, manifest, request, say)
        if density is not None:
            finish_aerial(folder, put_density_beside(folder, made, density))
    say(f"wrote {output}")
    return output


def _check_options(target: str, precision: str, stored: str, candidates: int, batch: int | None) -> None:
    """InputError for the first one that is out of range."""
    if target != "onnxruntime":
        raise InputError(f"target: expected onnxruntime, got {target!r}")
    if precision != "fp32":
        raise InputError(f"precision: expected fp32, got {precision!r}")
    if stored not in STORED:
        raise InputError(f"stored: expected one of {', '.join(STORED)}, got {stored!r}")
    if candidates < 1:
        raise InputError(f"candidates: expected at least 1, got {candidates}")
    if batch is not None and not 1 <= batch <= MAXIMUM_BATCH:
        raise InputError(f"batch: expected 1 to {MAXIMUM_BATCH}, got {batch}")


def _write_bundle(folder: Path, detector: Any, source: Manifest, request: _Request, say: Report) -> Manifest:
    """The finished bundle, compared with torch."""
    manifest = _write_graph(folder, detector, source, request, say)
    session = open_session(folder, manifest, SessionOptions())
    try:
        parity = _compare(detector, session, request, say)
        preprocess = request.preprocess
        canvas = synthetic_frame(0, height=preprocess.height, width=preprocess.width)[None]
        write_golden(folder, canvas, session.run(canvas))
    finally:
        session.close()
    golden = Golden(GOLDEN_FILE, tolerance_px=GOLDEN_PX, tolerance_score=GOLDEN_SCORE)
    return finish_artefact(folder, replace(manifest, parity=parity, golden=golden))


def _write_graph(folder: Path, detector: Any, source: Manifest, request: _Request, say: Report) -> Manifest:
    """The bundle's graph and manifest, not yet compared."""
    preprocess = request.preprocess
    say(f"exporting {source.detector.name} at {preprocess.height}x{preprocess.width}")
    network = onnx_from_detector(
        detector,
        folder / MODEL_FILE,
        preprocess=preprocess,
        candidates=request.candidates,
        opset=request.opset,
        batch=request.batch,
        stored=request.stored,
    )
    network, lowering = _lower(folder, network, request, say)
    manifest = replace(
        source,
        kind="bundle",
        pipeline="single",
        preprocess=preprocess,
        network=network,
        lowering=lowering,
        postprocess=source.postprocess or Postprocess(iou_threshold=detector.suppression_iou),
        target=Target(backend="onnxruntime", precision="fp32", versions=_versions()),
        stored=None if request.stored == "fp32" else request.stored,
    )
    return finish_artefact(folder, manifest)


def _compare(detector: Any, session: Session, request: _Request, say: Report) -> Parity:
    """The graph against torch, and a batch against its canvases; CheckFailedError where they differ."""
    say(f"comparing with torch on {len(request.canvases)} frames")
    parity = check_parity(
        detector, session, request.canvases, preprocess=request.preprocess, gates=request.gates
    )
    say(
        f"99.9 % of {parity.candidates} candidates within {parity.boxes_px_p999:.2g} px and "
        f"{parity.scores_p999:.2g} of score"
    )
    if parity.noise_px_p999 is not None:
        say(
            f"the gates were raised to {parity.gate_px:.2g} px and {parity.gate_score:.2g} of score: "
            f"rounding alone moves torch's own boxes by {parity.noise_px_p999:.2g} px"
        )
    if check_batch(session, request.canvases, parity) is not None:
        say("canvases give the same in a batch and one by one")
    return parity


def _lower(folder: Path, network: Network, request: _Request, say: Report) -> tuple[Network, Lowering | None]:
    lowering = lower_ops(
        folder / network.file, request.canvases[0], form=request.op_form, inline=request.inline_ops
    )
    if lowering is None:
        return network, None
    timed = ", ".join(f"{form} {spent:.1f} ms" for form, spent in lowering.milliseconds.items())
    say(
        f"custom ops {', '.join(lowering.forms)} as {', '.join(sorted(set(lowering.forms.values())))} "
        f"({lowering.reason}: {timed} on {lowering.engine}), each within "
        f"{lowering.ops_difference:.2g} of its reference"
    )
    return (replace(network, ops=()) if request.inline_ops else network), lowering


def _canvas_for(preprocess: Preprocess, size: int | tuple[int, int] | None) -> Preprocess:
    if size is None:
        return replace(preprocess, color="BGR")
    height, width = (size, size) if isinstance(size, int) else size
    return replace(preprocess, height=height, width=width, color="BGR")


def _versions() -> dict[str, str]:
    names = ("tercelet", "torch", "onnx", "onnxscript", "onnxruntime")
    found = {name: version(name) for name in names if name != "torch"}
    return {**found, "torch": str(torch.__version__)}
