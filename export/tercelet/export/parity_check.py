"""The check at the join torch to ONNX: the same candidates from both, on the same canvases."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.errors import CheckFailedError, InputError
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
from tercelet.runtime.sources import check_source, open_source
from tercelet.training.torch_session import images_from_canvases

MINIMUM_FRAMES = 3
_MAXIMUM_FRAMES = 32
# Graph and torch each round on their own; what torch's own rounding explains, with some room, is no fault.
_NOISE_FACTOR = 4.0


@dataclass(frozen=True)
class Gates:
    """The largest 99.9th percentile difference of a box coordinate (canvas pixels) and of a score.

    None takes the default, 1e-3 px and 1e-4, which rounding may raise; a given one is kept as it is.
    """

    px: float | None = None
    score: float | None = None


@dataclass(frozen=True)
class _Limits:
    px: float = 1e-3
    score: float = 1e-4

    def hold(self, found: DifferenceSummary) -> bool:
        """Written so that NaN fails."""
        return found.boxes_px_p999 <= self.px and found.scores_p999 <= self.score


def parity_canvases(sources: Sequence[str | Path] | None, preprocess: Preprocess) -> list[NDArray[np.uint8]]:
    """Canvases (1, H, W, 3) of at most 32 frames of `sources`, filled up to three with synthetic ones.

    sources: pictures, folders or video files; a camera or an address, which may never end, is an InputError.
    """
    for source in sources or ():
        if check_source(source) in ("camera", "network"):
            raise InputError(
                f"{source}: expected pictures, folders or video files, got a stream that may not end"
            )
    canvases = [_canvas_of(image, preprocess) for image in islice(_frames(sources or ()), _MAXIMUM_FRAMES)]
    for index in range(len(canvases), MINIMUM_FRAMES):
        frame_of_canvas_size = synthetic_frame(index, height=preprocess.height, width=preprocess.width)
        canvases.append(frame_of_canvas_size[None])
    return canvases


def _frames(sources: Sequence[str | Path]) -> Iterator[NDArray[np.uint8]]:
    for source in sources:
        with open_source(source) as opened:
            for frame in opened:
                yield frame.image


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
    that swap places at the cut still find their partner. Above a default gate the rounding of torch itself is
    measured (float32 against float64 on the same canvases), and the gate is raised to four times that.
    """
    found = [session.run(canvas) for canvas in canvases]
    count = found[0].scores.shape[1]
    expected = [_candidates(detector, canvas, 2 * count, preprocess, torch.float32) for canvas in canvases]
    default = _Limits()
    limits = _Limits(
        default.px if gates.px is None else gates.px, default.score if gates.score is None else gates.score
    )
    summary, noise = _summary(expected, found, limits), None
    if not limits.hold(summary) and (gates.px is None or gates.score is None):
        noise = _rounding_noise(detector, canvases, expected, preprocess=preprocess)
        limits = _Limits(
            max(limits.px, _NOISE_FACTOR * noise.boxes_px_p999) if gates.px is None else gates.px,
            max(limits.score, _NOISE_FACTOR * noise.scores_p999) if gates.score is None else gates.score,
        )
        summary = _summary(expected, found, limits)
    if not limits.hold(summary) or summary.missing:
        raise _failure(summary, limits)
    return Parity(
        reference=f"torch {torch.__version__} float32",
        frames=len(canvases),
        candidates=summary.candidates,
        boxes_px_max=summary.boxes_px_max,
        boxes_px_p999=summary.boxes_px_p999,
        scores_max=summary.scores_max,
        scores_p999=summary.scores_p999,
        missing=summary.missing,
        gate_px=limits.px,
        gate_score=limits.score,
        noise_px_p999=noise.boxes_px_p999 if noise else None,
        noise_scores_p999=noise.scores_p999 if noise else None,
    )


def check_batch(
    session: Session, canvases: Sequence[NDArray[np.uint8]], parity: Parity
) -> DifferenceSummary | None:
    """Compare a batch with its canvases run one by one; None where the session takes one only.

    Raises CheckFailedError where they differ by more than the gates of `parity`.
    """
    if not session.is_flexible:
        return None
    count = min(len(canvases), session.batch)
    singles = [session.run(canvas) for canvas in canvases[:count]]
    together = session.run(np.concatenate(canvases[:count]))
    boxes, scores, class_ids = together
    rows = [TopCandidates(boxes[i : i + 1], scores[i : i + 1], class_ids[i : i + 1]) for i in range(count)]
    limits = _Limits(parity.gate_px, parity.gate_score)
    half = singles[0].scores.shape[1] // 2 + 1
    best = [TopCandidates(r.boxes[:, :half], r.scores[:, :half], r.class_ids[:, :half]) for r in rows]
    summary = _summary(singles, best, limits)
    if not limits.hold(summary) or summary.missing:
        raise CheckFailedError(
            f"the graph gives something else for {count} canvases at once than for each by itself: "
            f"{summary.boxes_px_p999:.3g} px and {summary.scores_p999:.3g} of score. Nothing was written; "
            "export without --batch"
        )
    return summary


def _failure(summary: DifferenceSummary, limits: _Limits) -> CheckFailedError:
    return CheckFailedError(
        f"the graph differs from torch: 99.9th percentile {summary.boxes_px_p999:.3g} px and "
        f"{summary.scores_p999:.3g} of score, {summary.missing} candidates missing; expected at most "
        f"{limits.px:.3g} px, {limits.score:.3g} and 0. Nothing was written; see --gate-px and --gate-score"
    )


def _summary(
    source: Sequence[TopCandidates], other: Sequence[TopCandidates], limits: _Limits
) -> DifferenceSummary:
    # A candidate at the cut and the cut itself may each have moved by one gate.
    margin, reach = 2 * limits.score, max(PARTNER_PX, 10 * limits.px)
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
    return _summary(double, best, _Limits())


def _canvas_of(frame: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.uint8]:
    canvas = np.empty((1, preprocess.height, preprocess.width, 3), np.uint8)
    fill_canvas(canvas[0], frame, preprocess)
    return canvas


@torch.no_grad()
def _candidates(
    detector: Any, canvas: NDArray[np.uint8], count: int, preprocess: Preprocess, dtype: torch.dtype
) -> TopCandidates:
    pairs = detector.anchor_count(preprocess.height, preprocess.width) * detector.classes
    images = images_from_canvases(canvas, preprocess.color, dtype)
    boxes, scores, class_ids = detector.top_candidates(images, min(count, pairs))
    return TopCandidates(boxes.numpy(), scores.numpy(), class_ids.numpy())
