"""The function behind `tercelet compare`: two detectors on the same frames, detection by detection."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place, write_json
from tercelet.contract.scenes import synthetic_frames
from tercelet.contract.session import BoundRun, Session, TopCandidates
from tercelet.evaluation.matching import match_detections
from tercelet.evaluation.parity import (
    CandidateDifferences,
    DifferenceSummary,
    candidate_differences,
    summarise_differences,
)
from tercelet.runtime.given_path import given_path
from tercelet.runtime.opening import open_single
from tercelet.runtime.pipelines.single import SinglePipeline
from tercelet.runtime.progress import Progress
from tercelet.runtime.sources import check_source, open_source
from tercelet.runtime.sources.frame import OnBroken
from tercelet.runtime.sources.opening import Kind

MINIMUM_IOU = 0.99
MAXIMUM_SCORE_DIFFERENCE = 1e-3
_SYNTHETIC_FRAMES = 3


@dataclass(frozen=True)
class FrameComparison:
    """One frame of a comparison.

    matched: pairs of detections, one to one, of the same class, with an IoU of at least 0.5. min_iou,
    max_score: lowest IoU and largest score difference of the pairs, None without any. only_a, only_b:
    detections without a partner. at_threshold: those of either side, not among these, whose score is so close
    to the cut that the gate allows the other side to have lost them.
    """

    source: str
    frame: int
    matched: int
    min_iou: float | None
    max_score: float | None
    only_a: int
    only_b: int
    at_threshold: int


@dataclass(frozen=True)
class ComparisonResult:
    """All frames together. agrees: whether the gates hold; reason: why, in words.

    broken: pictures and frames that could not be read, and are not among the frames.
    candidates: before non-maximum suppression, the better half of B's against all of A's; None where the
    canvases differ in size. min_iou, max_score: over all pairs, None without any. notes: what a reader must
    know besides, such as that a bundle would look closer than it was compared.
    """

    a: str
    b: str
    frames: tuple[FrameComparison, ...]
    broken: int
    matched: int
    min_iou: float | None
    max_score: float | None
    only_a: int
    only_b: int
    at_threshold: int
    candidates: DifferenceSummary | None
    gate_min_iou: float
    gate_max_score: float
    agrees: bool
    reason: str
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """JSON-ready; undefined values are None."""
        frames = [asdict(frame) for frame in self.frames]
        return {**asdict(self), "frames": frames, "notes": list(self.notes)}


def _warn(error: InputError) -> None:
    warnings.warn(str(error), stacklevel=2)


def compare(
    a: str | Path,
    b: str | Path,
    *,
    images: Sequence[str | Path] | None = None,
    min_iou: float = MINIMUM_IOU,
    max_score: float = MAXIMUM_SCORE_DIFFERENCE,
    score: float | None = None,
    iou: float | None = None,
    threads: int | None = None,
    limit: int | None = None,
    json: str | Path | None = None,
    quiet: bool = False,
    on_broken: OnBroken = _warn,
) -> ComparisonResult:
    """Run two bundles or checkpoints, in any mix, on the same frames and compare what they find.

    images: pictures, folders or videos; None takes three synthetic frames, which show no real object.
    min_iou, max_score: what a pair of detections must keep. score, iou: thresholds of both pipelines; None
    takes those of A's manifest, which also gives the other settings. limit: the first so many frames. json:
    file for the result, "-" for stdout. quiet: no progress on stderr. on_broken: called for what cannot be
    read, which is counted and left out; a picture that was named itself and comes first raises InputError.
    Of a bundle of pipeline density_crops the detector alone is compared, on full frames; the notes say so.
    A difference beyond the gates is a result, not an exception: see `agrees`.
    Raises InputError where labels differ, no frame comes, or a folder is none.
    """
    if not 0 <= min_iou <= 1 or max_score < 0:
        raise InputError(
            f"expected min_iou in 0..1 and max_score of 0 or more, got {min_iou} and {max_score}"
        )
    check_json_place(json)
    given_path(a, name="a")
    given_path(b, name="b")
    taken = _Frames(images, limit)
    with open_single(a, threads=threads, score_threshold=score, iou_threshold=iou) as first:
        settings = first.postprocess
        with open_single(
            b,
            threads=threads,
            score_threshold=settings.score_threshold,
            iou_threshold=settings.iou_threshold,
            max_detections=settings.max_detections,
            class_agnostic=settings.class_agnostic,
        ) as second:
            _check_labels(first, second)
            with Progress(limit, "compare", silent=quiet) as progress:
                frames, differences = _compare_all(first, second, taken, max_score, progress, on_broken)
            notes = _notes(first, second)
    result = _result(str(a), str(b), frames, differences, taken.broken, min_iou=min_iou, max_score=max_score)
    result = replace(result, notes=notes)
    if json is not None:
        write_json(json, result.record())
    return result


def _compare_all(
    first: SinglePipeline,
    second: SinglePipeline,
    taken: _Frames,
    max_score: float,
    progress: Progress,
    on_broken: OnBroken,
) -> tuple[list[FrameComparison], list[CandidateDifferences]]:
    """Every frame compared; the candidates too, where the canvases are of one size."""

    def tell(error: InputError) -> None:
        progress.clear()
        on_broken(error)

    same_canvas = _canvas_size(first) == _canvas_size(second)
    seen_first, seen_second = _record(first), _record(second)
    frames: list[FrameComparison] = []
    differences: list[CandidateDifferences] = []
    for source, index, frame in taken.frames(_canvas_size(first), tell):
        frames.append(_compare_frame(first, second, frame, source, index, max_score))
        if same_canvas:
            differences.append(_candidate_differences(seen_first, seen_second))
        progress.advance()
    return frames, differences


def _check_labels(first: SinglePipeline, second: SinglePipeline) -> None:
    if first.labels != second.labels:
        both = zip(first.labels, second.labels, strict=False)
        index = next(
            (i for i, (x, y) in enumerate(both) if x != y), min(len(first.labels), len(second.labels))
        )
        named = [labels[index] if index < len(labels) else None for labels in (first.labels, second.labels)]
        raise InputError(
            f"expected the same labels on both sides, got {len(first.labels)} and {len(second.labels)}; "
            f"class {index} is {named[0]!r} in A and {named[1]!r} in B"
        )


def _notes(first: SinglePipeline, second: SinglePipeline) -> tuple[str, ...]:
    """What an aerial bundle does in flight and not here."""
    sides = (("A", first.manifest), ("B", second.manifest))
    closer = [name for name, manifest in sides if manifest.pipeline == "density_crops"]
    if not closer:
        return ()
    return (
        f"{' and '.join(closer)} would look closer at parts of a frame (pipeline density_crops); compared "
        "are the detectors alone, on full frames. tercelet evaluate BUNDLE DATASET --plan full canvas "
        "measures the closer look",
    )


def _canvas_size(pipeline: SinglePipeline) -> tuple[int, int]:
    return pipeline.manifest.preprocess.height, pipeline.manifest.preprocess.width


class _Frames:
    """The frames to compare, and how many of them could not be read so far."""

    def __init__(self, images: Sequence[str | Path] | None, limit: int | None) -> None:
        """InputError where the limit is below 1 or a source is none; nothing is read yet."""
        if limit is not None and limit < 1:
            raise InputError(f"limit: expected at least 1 frame, got {limit}")
        self._named = None if images is None else [(source, check_source(source)) for source in images]
        self._limit = limit
        self._count = 0
        self.broken = 0

    def frames(
        self, canvas: tuple[int, int], on_broken: OnBroken
    ) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
        """Source, number and picture of each frame; InputError if there is none.

        canvas: (height, width) of the synthetic frames, where no source was named.
        """
        if self._named is None:
            height, width = canvas
            made = synthetic_frames(self._limit or _SYNTHETIC_FRAMES, height=height, width=width)
            yield from (("synthetic", index, frame) for index, frame in enumerate(made))
            return
        for source, kind in self._named:
            with open_source(source, on_broken=partial(self._tell, kind, on_broken)) as opened:
                try:
                    for item in opened:
                        yield item.source, item.index, item.image
                        self._count += 1
                        if self._count == self._limit:
                            return
                finally:
                    self.broken += opened.broken
        if not self._count:
            named = ", ".join(str(source) for source, _ in self._named) or "nowhere"
            raise InputError(f"expected at least one frame, got none from {named}")

    def _tell(self, kind: Kind, on_broken: OnBroken, error: InputError) -> None:
        if kind == "picture" and not self._count:
            raise error
        on_broken(error)


def _compare_frame(
    first: SinglePipeline,
    second: SinglePipeline,
    frame: NDArray[np.uint8],
    source: str,
    index: int,
    max_score: float,
) -> FrameComparison:
    a, b = first(frame), second(frame)
    matches = match_detections(a, b)
    scores = np.abs(a.scores[matches.pairs[:, 0]].astype(np.float64) - b.scores[matches.pairs[:, 1]])
    near_a = a.scores[matches.only_a] <= _cut(b, second) + max_score
    near_b = b.scores[matches.only_b] <= _cut(a, first) + max_score
    return FrameComparison(
        source=source,
        frame=index,
        matched=len(matches.pairs),
        min_iou=float(matches.iou.min()) if len(matches.iou) else None,
        max_score=float(scores.max()) if len(scores) else None,
        only_a=int(np.count_nonzero(~near_a)),
        only_b=int(np.count_nonzero(~near_b)),
        at_threshold=int(np.count_nonzero(near_a) + np.count_nonzero(near_b)),
    )


def _cut(detections: Detections, pipeline: SinglePipeline) -> float:
    """The score below which the pipeline left detections out: its threshold, or the worst of a full list."""
    settings = pipeline.postprocess
    full = len(detections) >= settings.max_detections
    return float(detections.scores.min()) if full else settings.score_threshold


class _Recorder:
    """A session that remembers the candidates of its last run, so that each network runs once a frame."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.batch, self.is_flexible, self.backend = session.batch, session.is_flexible, session.backend
        self.last: TopCandidates | None = None

    def run(self, canvases: NDArray[np.uint8]) -> TopCandidates:
        self.last = self._session.run(canvases)
        return self.last

    def bind(self, canvases: NDArray[np.uint8]) -> BoundRun:
        return self._session.bind(canvases)

    def close(self) -> None:
        self._session.close()


def _record(pipeline: SinglePipeline) -> _Recorder:
    recorder = _Recorder(pipeline.session)
    pipeline.session = recorder
    return recorder


def _candidate_differences(first: _Recorder, second: _Recorder) -> CandidateDifferences:
    """All of A's last candidates against the better half of B's, so that a swap at the cut-off is none."""
    source, graph = first.last, second.last
    assert source is not None
    assert graph is not None
    half = (graph.scores.shape[1] + 1) // 2
    better = TopCandidates(graph.boxes[:, :half], graph.scores[:, :half], graph.class_ids[:, :half])
    return candidate_differences(source, better)


def _result(
    a: str,
    b: str,
    frames: list[FrameComparison],
    differences: list[CandidateDifferences],
    broken: int,
    *,
    min_iou: float,
    max_score: float,
) -> ComparisonResult:
    result = ComparisonResult(
        a=a,
        b=b,
        frames=tuple(frames),
        broken=broken,
        matched=sum(frame.matched for frame in frames),
        min_iou=min((f.min_iou for f in frames if f.min_iou is not None), default=None),
        max_score=max((f.max_score for f in frames if f.max_score is not None), default=None),
        only_a=sum(frame.only_a for frame in frames),
        only_b=sum(frame.only_b for frame in frames),
        at_threshold=sum(frame.at_threshold for frame in frames),
        candidates=summarise_differences(differences) if differences else None,
        gate_min_iou=min_iou,
        gate_max_score=max_score,
        agrees=False,
        reason="",
    )
    agrees, reason = _verdict(result)
    return replace(result, agrees=agrees, reason=reason)


def _verdict(result: ComparisonResult) -> tuple[bool, str]:
    """Whether the gates hold. Written so that NaN fails."""
    if result.only_a or result.only_b:
        return False, f"{result.only_a} detections only in A, {result.only_b} only in B"
    if result.min_iou is not None and result.max_score is not None:
        if not result.min_iou >= result.gate_min_iou:
            return False, f"lowest IoU {result.min_iou:.4f}, expected at least {result.gate_min_iou:g}"
        if not result.max_score <= result.gate_max_score:
            return False, f"largest score difference {result.max_score:.2g}, gate {result.gate_max_score:g}"
        return True, f"all {result.matched} detections within the gates"
    found = result.candidates
    if found is None or not found.candidates:
        return False, "neither side found anything in these frames; choose others with --images"
    if not found.scores_max <= result.gate_max_score or found.missing:
        return False, f"no detections; candidates differ by {found.scores_max:.2g}, {found.missing} missing"
    return True, "no detections in these frames; the candidates agree in score"
