"""Export of density networks: checkpoint in, bundle of pipeline `density` out, compared with torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.artefact import finish_artefact, new_artefact
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import (
    DensityParity,
    DensityRecord,
    Golden,
    Manifest,
    Postprocess,
    Target,
)
from tercelet.contract.preprocess import Preprocess
from tercelet.contract.scenes import synthetic_frame
from tercelet.contract.session import SessionOptions
from tercelet.export.onnx_from_density import OUTPUT_NAME, CanvasDensity, onnx_from_density
from tercelet.runtime.backends.onnxruntime import open_runner
from tercelet.runtime.golden import GOLDEN_FILE, write_density_golden
from tercelet.runtime.opening import open_density_session
from tercelet.training.checkpoint import Stored
from tercelet.training.detectors.density_net import DensityNet

MODEL_FILE = "model.onnx"
# Float32 rounding of some ten layers, with room; what a fault causes is thousands of times larger.
DENSITY_GATE = 1e-4
# The golden pair must also hold on another CPU and another version of the engine: of the largest cell.
GOLDEN_CELLS = 1e-3


@dataclass(frozen=True)
class DensityRequest:
    """preprocess: of the bundle. opset: None takes 18. canvases: (1, H, W, 3) uint8, three or more. stored:
    how large weights lie in the file, "fp32" or "fp16"."""

    preprocess: Preprocess
    opset: int | None
    canvases: Sequence[NDArray[np.uint8]]
    stored: Stored = "fp32"


def export_density(
    network: DensityNet,
    source: Manifest,
    output: str | Path,
    request: DensityRequest,
    *,
    overwrite: bool,
    say: Callable[[str], object],
) -> Path:
    """Write the bundle of a checkpoint's eval-mode density network; returns its folder.

    Raises InputError for a size that the network refuses, CheckFailedError where the graph differs from torch
    by more than DENSITY_GATE of the largest cell or count; then nothing is left on disk.
    """
    output, preprocess = Path(output), request.preprocess
    say(f"exporting {source.detector.name} at {preprocess.height}x{preprocess.width}")
    with new_artefact(output, kind="bundle", overwrite=overwrite) as folder:
        graph = onnx_from_density(
            network,
            folder / MODEL_FILE,
            preprocess=preprocess,
            opset=request.opset,
            stored=request.stored,
        )
        say(f"comparing with torch on {len(request.canvases)} frames")
        parity = check_density_parity(network, folder / MODEL_FILE, request.canvases, preprocess=preprocess)
        say(f"every cell within {parity.cells_max:.2g} of the largest, counts within {parity.counts_max:.2g}")
        manifest = replace(
            source,
            kind="bundle",
            pipeline="density",
            preprocess=preprocess,
            network=graph,
            postprocess=Postprocess(),
            density=DensityRecord(network.cell),
            density_parity=parity,
            target=Target(backend="onnxruntime", precision="fp32", versions=_versions()),
            stored=None if request.stored == "fp32" else request.stored,
        )
        manifest = finish_artefact(folder, manifest)
        canvas = synthetic_frame(0, height=preprocess.height, width=preprocess.width)[None]
        session = open_density_session(folder, manifest, SessionOptions())
        try:
            write_density_golden(folder, canvas, session.run(canvas))
        finally:
            session.close()
        golden = Golden(GOLDEN_FILE, tolerance_px=0.0, tolerance_score=GOLDEN_CELLS)
        finish_artefact(folder, replace(manifest, golden=golden))
    say(f"wrote {output}")
    return output


def refuse_detector_options(network: str, **given: bool) -> None:
    """InputError naming the first option that was given and that only a detector has."""
    for name, is_given in given.items():
        if is_given:
            raise InputError(
                f"{network}: {name}: a density network gives no boxes and has none; leave it out"
            )


def check_density_parity(
    network: DensityNet, model: Path, canvases: Sequence[NDArray[np.uint8]], *, preprocess: Preprocess
) -> DensityParity:
    """Compare a graph with its torch source cell by cell; CheckFailedError above DENSITY_GATE.

    canvases: each (1, H, W, 3) uint8.
    """
    reference = CanvasDensity(network, preprocess=preprocess).eval()
    runner = open_runner(model.read_bytes())
    expected, got = [], []
    with torch.inference_mode():
        for canvas in canvases:
            expected.append(reference(torch.from_numpy(canvas)).numpy().astype(np.float64))
            got.append(runner.run({runner.inputs[0]: canvas})[OUTPUT_NAME].astype(np.float64))
    counts = [(wanted.sum(), found.sum()) for wanted, found in zip(expected, got, strict=True)]
    parity = DensityParity(
        reference=f"torch {torch.__version__} float32",
        frames=len(canvases),
        cells_max=_relative(np.stack(expected), np.stack(got)),
        counts_max=_relative(
            np.array([wanted for wanted, _ in counts]), np.array([found for _, found in counts])
        ),
        gate=DENSITY_GATE,
    )
    # Written so that NaN fails.
    if not (parity.cells_max <= DENSITY_GATE and parity.counts_max <= DENSITY_GATE):
        raise CheckFailedError(
            f"the graph differs from torch: cells by {parity.cells_max:.3g} of the largest and counts by "
            f"{parity.counts_max:.3g}; expected at most {DENSITY_GATE:g}. Nothing was written"
        )
    return parity


def _relative(expected: NDArray[np.float64], got: NDArray[np.float64]) -> float:
    """The largest difference relative to the largest expected value; 0 where there is none at all."""
    difference = float(np.abs(expected - got).max())
    return difference / max(float(np.abs(expected).max()), np.finfo(np.float64).tiny) if difference else 0.0


def _versions() -> dict[str, str]:
    names = ("tercelet", "onnx", "onnxscript", "onnxruntime")
    return {**{name: version(name) for name in names}, "torch": str(torch.__version__)}
