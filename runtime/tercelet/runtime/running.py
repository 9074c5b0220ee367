"""Sources through a pipeline: the function behind `tercelet run`."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import read_manifest
from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import STDOUT, check_json_place
from tercelet.contract.plan import PlanName
from tercelet.runtime.fusion import FusionName
from tercelet.runtime.given_path import given_path
from tercelet.runtime.opening import open_pipeline
from tercelet.runtime.results import ResultLines, record_of, timing_of
from tercelet.runtime.saving import DrawnResults
from tercelet.runtime.sources.frame import Frame, Source
from tercelet.runtime.sources.opening import Kind, check_source, files_of, open_source

if TYPE_CHECKING:
    from tercelet.contract.detections3d import Detections3d
    from tercelet.runtime.sources.rgbd import RgbdFrame, RgbdOptions


@dataclass(frozen=True)
class RunSummary:
    """What a run did. broken: pictures and frames that could not be read. dropped: frames of live sources
    that came too fast. timing_ms: mean milliseconds a frame by stage. seconds: wall time, model loading left
    out. interrupted: `stop` was set before the sources had ended. inferences: canvases that went through the
    network, counted where there is a plan.
    """

    frames: int
    detections: int
    broken: int
    dropped: int
    seconds: float
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    interrupted: bool = False
    inferences: int | None = None


class RunListener:
    """Told of what happens during a run; override what is of interest."""

    def source_opened(self, source: Source, kind: Kind) -> None:
        """A source is open; its frames follow."""

    def frame_done(self, frame: Frame, detections: Detections) -> None:
        """A frame has been through the pipeline and its results are written."""

    def source_ended(self, source: Source, kind: Kind) -> None:
        """No more frames of this source follow, for whatever reason."""

    def clouds_opened(self, name: str, total: int) -> None:
        """So many RGB-D frames or clouds of one source follow."""

    def cloud_done(self, frame: RgbdFrame, detections: Detections3d, timing_ms: Mapping[str, float]) -> None:
        """An RGB-D frame or cloud has been through the pipeline and its results are written."""

    def clouds_ended(self) -> None:
        """No more of the source that was opened last follow, for whatever reason."""

    def warned(self, message: str) -> None:
        """Something could not be read and the run goes on."""
        warnings.warn(message, stacklevel=2)


def run(
    bundle: str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    json: str | Path | None = None,
    save: str | Path | None = None,
    plain: bool = False,
    threads: int | None = None,
    spinning: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    score: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    agnostic: bool | None = None,
    limit: int | None = None,
    check: bool = True,
    native_ops: bool = True,
    plan: PlanName | None = None,
    density: str | Path | None = None,
    evidence: Sequence[str] | None = None,
    canvases: int | None = None,
    budget_ms: float | None = None,
    density_threshold: float | None = None,
    overlap: float | None = None,
    fusion: FusionName | None = None,
    object_px: float | None = None,
    enlarging: float | None = None,
    object_size: float | None = None,
    seed: int | None = None,
    rgbd: RgbdOptions | None = None,
    record: str | Path | None = None,
    stop: threading.Event | None = None,
    listener: RunListener | None = None,
) -> RunSummary:
    """Run every frame of the sources through the bundle, one source after the other.

    With a bundle of pipeline rgbd see `tercelet.runtime.rgbd_running.run_rgbd`: sources are clouds and
    folders of RGB-D frames, rgbd says how to read them, record names a recording for the rerun viewer, and
    options of pictures are refused; with any other bundle seed, rgbd and record are.

    sources: pictures, folders, video files, camera indices ("0"), RTSP or HTTP addresses. json: file for one
    JSON object a line, "-" for stdout. save: folder for drawn pictures and videos; older files of the same
    name are replaced, in both, but never a file of a source or of the bundle. plain: boxes alone are drawn,
    in the frame's own size, also where there is a plan. score, iou, max_detections,
    agnostic, threads, spinning, device, check, native_ops, and plan to object_size: as for `open_pipeline`.
    limit: end after so many frames in all. stop: once set, the frame in work is finished and the run ends in
    order. A picture of a folder that cannot be read is reported to the listener and counted, and the run goes
    on; one that was named itself raises InputError if it is the first frame of the run. Sources are checked
    before the bundle is opened, and nothing is written before the first frame has been through. Raises
    InputError, CheckFailedError, MissingDependencyError, and SourceLostError when a live source ends.
    """
    check_json_place(json)
    folder = given_path(bundle, name="bundle")
    named = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if _looks_at_clouds(folder):
        from tercelet.runtime.rgbd_running import run_rgbd  # which a detector of pictures need not pay for

        of_pictures: dict[str, object] = {"plain": plain, "agnostic": agnostic, "plan": plan}
        of_pictures |= {"density": density}
        of_pictures |= {"evidence": evidence, "canvases": canvases, "budget_ms": budget_ms}
        of_pictures |= {"density_threshold": density_threshold, "overlap": overlap, "fusion": fusion}
        of_pictures |= {"object_px": object_px, "enlarging": enlarging, "object_size": object_size}
        return run_rgbd(
            folder,
            named,
            of_pictures=of_pictures,
            json=json,
            save=save,
            threads=threads,
            spinning=spinning,
            device=device,
            score=score,
            iou=iou,
            max_detections=max_detections,
            limit=limit,
            check=check,
            native_ops=native_ops,
            seed=seed,
            rgbd=rgbd,
            record=record,
            stop=stop,
            listener=listener,
        )
    if record is not None:
        raise InputError(
            f"record: expected with a detector of clouds only, got it with {folder}; leave it out, or write "
            "pictures and videos with --save"
        )
    if rgbd is not None:
        raise InputError(
            f"expected options of RGB-D frames with a detector of clouds only, got them with {folder}; "
            "leave out --cloud-frame, --level, --columns, --depth-format, --longest and --drop-non-finite"
        )
    kinds = _checked_kinds(named, limit)
    files = [path for source, kind in zip(named, kinds, strict=True) for path in files_of(source, kind)]
    check_apart(json, folder, files)
    with ExitStack() as stack:
        lines = None if json is None else ResultLines(json)
        drawn = None if save is None else DrawnResults(save, kept=files, plain=plain)
        detect = stack.enter_context(
            open_pipeline(
                folder,
                threads=threads,
                spinning=spinning,
                device=device,
                score_threshold=score,
                iou_threshold=iou,
                max_detections=max_detections,
                class_agnostic=agnostic,
                check_golden=check,
                native_ops=native_ops,
                plan=plan,
                density=density,
                evidence=evidence,
                canvases=canvases,
                budget_ms=budget_ms,
                density_threshold=density_threshold,
                overlap=overlap,
                fusion=fusion,
                object_px=object_px,
                enlarging=enlarging,
                object_size=object_size,
                seed=seed,
            )
        )
        for output in (lines, drawn):
            if output is not None:
                stack.enter_context(output)
        work = _Run(detect, lines, drawn, limit, stop or threading.Event(), listener or RunListener())
        return _summary_of(work, named, kinds)


def _summary_of(work: _Run, sources: Sequence[str | Path], kinds: Sequence[Kind]) -> RunSummary:
    """Take source after source until the run has ended, and sum up."""
    for source, kind in zip(sources, kinds, strict=True):
        if not work.ended:
            work.take(source, kind)
    return work.summary()


def _checked_kinds(sources: Sequence[str | Path], limit: int | None) -> list[Kind]:
    """What each source is; InputError for none at all, for one that is none, and for an impossible limit."""
    if not sources:
        raise InputError("expected at least one source, got none")
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 frame, got {limit}")
    return [check_source(source) for source in sources]


def _looks_at_clouds(folder: Path) -> bool:
    """Whether this is a bundle of pipeline rgbd; a folder that cannot be read is told of when it is opened,
    after the sources. InputError for a checkpoint of a network that looks at clouds, which cannot be run."""
    try:
        manifest = read_manifest(folder)
    except InputError:
        return False
    if manifest.kind == "checkpoint" and manifest.cloud is not None:
        raise InputError(
            f"{folder}: expected a bundle, got the checkpoint of {manifest.detector.name}, which looks at "
            f"clouds of points: tercelet export {folder} makes one"
        )
    return manifest.pipeline == "rgbd"


def check_apart(json: str | Path | None, bundle: Path, files: Sequence[Path]) -> None:
    """InputError if the results would be written over a file that the run reads."""
    if json is None or str(json) == STDOUT:
        return
    place = Path(json).resolve()  # as check_json_place does
    if not place.exists():
        return
    parts = bundle.iterdir() if bundle.is_dir() else ()
    if any(path.exists() and place.samefile(path) for path in (*files, *parts)):
        raise InputError(f"{json}: the results would replace a file that is read; name another file")


class _Run:
    """The counts and outputs of one run."""

    def __init__(
        self,
        detect: Callable[[NDArray[np.uint8]], Detections],
        lines: ResultLines | None,
        drawn: DrawnResults | None,
        limit: int | None,
        stop: threading.Event,
        listener: RunListener,
    ) -> None:
        self._detect = detect
        self._lines = lines
        self._drawn = drawn
        self._limit = limit
        self._stop = stop
        self._listener = listener
        self._frames = self._detections = self._broken = self._dropped = 0
        self._inferences: int | None = None
        self._sums: dict[str, float] = {}
        self._start = perf_counter()

    @property
    def ended(self) -> bool:
        """Whether the limit is reached or the run was asked to stop."""
        return self._stop.is_set() or self._frames == self._limit

    def take(self, name: str | Path, kind: Kind) -> None:
        """Put one source through the pipeline."""

        def on_broken(error: InputError) -> None:
            if kind == "picture" and self._frames == 0:
                raise error
            self._listener.warned(str(error))

        with open_source(name, on_broken=on_broken, stop=self._stop) as source:
            self._listener.source_opened(source, kind)
            before = self._frames
            try:
                for frame in source:
                    self._take_frame(frame, kind, source.fps)
                    if self.ended:
                        break
                else:
                    self._check_count(source, self._frames - before)
            finally:
                self._broken += source.broken
                self._dropped += source.dropped
                self._listener.source_ended(source, kind)
        if self._drawn is not None:
            self._drawn.end_source()

    def _take_frame(self, frame: Frame, kind: Kind, fps: float | None) -> None:
        detections = self._detect(frame.image)
        if self._lines is not None:
            self._lines.write(record_of(frame, detections))
        if self._drawn is not None:
            self._drawn.add(frame, detections, kind=kind, fps=fps, pipeline=self._detect)
        self._frames += 1
        self._detections += len(detections)
        if detections.report is not None:
            self._inferences = (self._inferences or 0) + detections.report.inferences
        for stage, value in timing_of(frame, detections).items():
            self._sums[stage] = self._sums.get(stage, 0.0) + value
        self._listener.frame_done(frame, detections)

    def _check_count(self, source: Source, read: int) -> None:
        # No error: the count in the container is a claim, and a trimmed video may claim more than it shows.
        missing = (source.total or 0) - read - source.broken
        if missing > 0 and not self._stop.is_set():
            self._listener.warned(
                f"{source.name}: {read} frames could be read where the file claims {source.total}; "
                "it is cut short, or its own count is wrong"
            )

    def summary(self) -> RunSummary:
        """The counts so far."""
        frames = max(self._frames, 1)
        return RunSummary(
            frames=self._frames,
            detections=self._detections,
            broken=self._broken,
            dropped=self._dropped,
            seconds=perf_counter() - self._start,
            timing_ms={stage: value / frames for stage, value in self._sums.items()},
            interrupted=self._stop.is_set(),
            inferences=self._inferences,
        )
