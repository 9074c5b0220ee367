"""The check at the join torch to ONNX: the same candidates from both, on the same canvases."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.manifest import Parity
from tercelet.contract.preprocess import Preprocess, fill_canvas
from tercelet.contract.scenes import synthetic_frame
from tercelet.contract.session import Session, TopCandidates
from tercelet.evaluation.parity import (
    PARTNER_PX,
    DifferenceSummary,
    candidate_differences,
    summarise_differences,
)
from tercelet.runtime.sources import open_source

MINIMUM_FRAMES = 3
_MAXIMUM_FRAMES = 32
# Graph and torch each round on their own; what torch's own rounding explains, with some room, is no fault.
_NOISE_FACTOR = 4.0


@dataclass(frozen=True)
class Gates:
    """The largest 99.9th percentile difference of a box coordinate (canvas pixels) and of a score."""

    px: float = 1e-3
    score: float = 1e-4


def parity_canvases(sources: Sequence[str | Path] | None, preprocess: Preprocess) -> list[NDArray[np.uint8]]:
    """Canvases (1, H, W, 3) of the frames of `sources`, filled up to three with synthetic ones."""
    canvases: list[NDArray[np.uint8]] = []
    for source in sources or ():
        with open_source(source) as opened:
            for frame in opened:
                if len(canvases) < _MAXIMUM_FRAMES:
                    canvases.append(_canvas_of(frame.image, preprocess))
    for index in range(len(canvases), MINIMUM_FRAMES):
        frame_of_canvas_size = synthetic_frame(index, height=preprocess.height, width=preprocess.width)
        canvases.append(frame_of_canvas_size[None])
    return canvases


def check_parity(
    detector: Any,
    session: Session,
    canvases: Sequence[NDArray[np.uint8]],
    *,
    preprocess: Preprocess,
    gates: Gates,
) -> Parity:
    """Compare an opened graph with its torch source; CheckFailedError above a gate or where one is lost.

    canvases: each (1, H, W, 3) uint8. The source gives twice as many candidates as the graph, so that those
    that swap places at the cut still find their partner. Above a gate the rounding of torch itself is
    measured (float32 against float64 on the same canvases), and the gate is raised to four times that.
    """
    found = [session.run(canvas) for canvas in canvases]
    count = found[0].scores.shape[1]
    expected = [_candidates(detector, canvas, 2 * count, preprocess, torch.float32) for canvas in canvases]
    summary, noise, allowed = _summary(expected, found, gates), None, gates
    # Written so that NaN fails.
    if not (summary.boxes_px_p999 <= gates.px and summary.scores_p999 <= gates.score):
        noise = _rounding_noise(detector, canvases, expected, preprocess=preprocess)
        allowed = Gates(
            max(gates.px, _NOISE_FACTOR * noise.boxes_px_p999),
            max(gates.score, _NOISE_FACTOR * noise.scores_p999),
        )
        summary = _summary(expected, found, allowed)
    within = summary.boxes_px_p999 <= allowed.px and summary.scores_p999 <= allowed.score
    if not within or summary.missing:
        raise _failure(summary, allowed)
    return Parity(
        reference=f"torch {torch.__version__} float32",
        frames=len(canvases),
        candidates=summary.candidates,
        boxes_px_max=summary.boxes_px_max,
        boxes_px_p999=summary.boxes_px_p999,
        scores_max=summary.scores_max,
        scores_p999=summary.scores_p999,
        missing=summary.missing,
        gate_px=gates.px,
        gate_score=gates.score,
        noise_px_p999=noise.boxes_px_p999 if noise else None,
        noise_scores_p999=noise.scores_p999 if noise else None,
    )


def _failure(summary: DifferenceSummary, gates: Gates) -> CheckFailedError:
    return CheckFailedError(
        f"the graph differs from torch: 99.9th percentile {summary.boxes_px_p999:.3g} px and "
        f"{summary.scores_p999:.3g} of score, {summary.missing} candidates missing; expected at most "
        f"{gates.px:.3g} px, {gates.score:.3g} and 0. Nothing was written; see --gate-px and --gate-score"
    )


def _summary(
    source: Sequence[TopCandidates], other: Sequence[TopCandidates], gates: Gates
) -> DifferenceSummary:
    # A candidate at the cut and the cut itself may each have moved by one gate.
    margin, reach = 2 * gates.score, max(PARTNER_PX, 10 * gates.px)
    pairs = zip(source, other, strict=True)
    return summarise_differences(
        [candidate_differences(a, b, margin=margin, partner_px=reach) for a, b in pairs]
    )


def _rounding_noise(
    detector: Any,
    canvases: Sequence[NDArray[np.uint8]],
    single: Sequence[TopCandidates],
    *,
    preprocess: Preprocess,
) -> DifferenceSummary:
    """How far float32 lies from float64 in the source itself; `single` is what it gave in float32."""
    precise = copy.deepcopy(detector).double()
    count = single[0].scores.shape[1]
    double = [_candidates(precise, canvas, count, preprocess, torch.float64) for canvas in canvases]
    half = count // 2 + 1
    best = [TopCandidates(c.boxes[:, :half], c.scores[:, :half], c.class_ids[:, :half]) for c in single]
    return _summary(double, best, Gates())


def _canvas_of(frame: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.uint8]:
    canvas = np.empty((1, preprocess.height, preprocess.width, 3), np.uint8)
    fill_canvas(canvas[0], frame, preprocess)
    return canvas


@torch.no_grad()
def _candidates(
    detector: Any, canvas: NDArray[np.uint8], count: int, preprocess: Preprocess, dtype: torch.dtype
) -> TopCandidates:
    pairs = detector.anchor_count(preprocess.height, preprocess.width) * detector.classes
    rgb = canvas[..., ::-1] if preprocess.color == "BGR" else canvas
    images = torch.from_numpy(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))).to(dtype) / 255.0
    boxes, scores, class_ids = detector.top_candidates(images, min(count, pairs))
    return TopCandidates(boxes.numpy(), scores.numpy(), class_ids.numpy())
