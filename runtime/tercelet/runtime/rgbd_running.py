"""Clouds and RGB-D frames through a pipeline: `tercelet run` with a bundle of pipeline rgbd."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast

from tercelet.contract.artefact import read_manifest
from tercelet.contract.detections3d import Detections3d
from tercelet.contract.errors import InputError
from tercelet.runtime.given_path import given_path
from tercelet.runtime.opening import open_pipeline
from tercelet.runtime.pipelines.rgbd import RgbdPipeline
from tercelet.runtime.results import ResultLines
from tercelet.runtime.rgbd_drawing import draw_rgbd
from tercelet.runtime.rgbd_opening import refuse_picture_options
from tercelet.runtime.running import RunListener, RunSummary, check_apart
from tercelet.runtime.saving import DrawnResults
from tercelet.runtime.sources.rgbd import RgbdFiles, RgbdFrame, RgbdOptions, read_rgbd, rgbd_files

if TYPE_CHECKING:
    from tercelet.runtime.rgbd_recording import RgbdRecording


def run_rgbd(
    bundle: Path,
    sources: Sequence[str | Path],
    *,
    of_pictures: Mapping[str, object] | None = None,
    json: str | Path | None = None,
    save: str | Path | None = None,
    threads: int | None = None,
    spinning: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    score: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    limit: int | None = None,
    check: bool = True,
    native_ops: bool = True,
    seed: int | None = None,
    rgbd: RgbdOptions | None = None,
    record: str | Path | None = None,
    stop: threading.Event | None = None,
    listener: RunListener | None = None,
) -> RunSummary:
    """Run every cloud and RGB-D frame of the sources through the bundle, as `tercelet.runtime.run` does.

    sources: clouds (.npz with `pc`, .npy, .ply, .bin, .mat) and folders as `rgbd_files` takes them. rgbd: how
    to read them. of_pictures: options that say something of pictures alone: InputError naming the first one
    given. json: an object a frame, see `record_of_rgbd`. save: a drawn picture a frame, see `draw_rgbd`.
    record: a file (.rrd) for the rerun viewer, with extra `viewer` installed.
    seed and all others: as for `open_pipeline`. A frame of several that cannot be read is reported to the
    listener and counted, and the run goes on; of a source of one frame, the first of the run, it is raised.
    """
    refuse_picture_options(bundle, read_manifest(bundle), of_pictures or {})
    if not sources:
        raise InputError("expected at least one source, got none")
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 frame, got {limit}")
    paths = [given_path(source, name="source") for source in sources]
    found = [rgbd_files(path) for path in paths]
    files = [file for frames in found for frame in frames for file in _files_of(frame)]
    for place in (json, record):
        check_apart(place, bundle, files)
    with ExitStack() as stack:
        lines = None if json is None else ResultLines(json)
        drawn = None if save is None else DrawnResults(save, kept=files)
        opened = open_pipeline(
            bundle,
            threads=threads,
            spinning=spinning,
            device=device,
            score_threshold=score,
            iou_threshold=iou,
            max_detections=max_detections,
            check_golden=check,
            native_ops=native_ops,
            seed=seed,
        )
        detect = cast(RgbdPipeline, stack.enter_context(opened))
        recording = None if record is None else _recording(record)
        for output in (lines, drawn, recording):
            if output is not None:
                stack.enter_context(output)
        outputs = _Outputs(lines, drawn, recording, listener or RunListener())
        work = _Run(detect, outputs, rgbd or RgbdOptions(), limit, stop or threading.Event())
        for path, frames in zip(paths, found, strict=True):
            work.take(path, frames)
        return work.summary()


def record_of_rgbd(
    frame: RgbdFrame, detections: Detections3d, timing_ms: Mapping[str, float]
) -> dict[str, Any]:
    """The JSON-ready object of one frame. width, height: of the picture, null without one. points: how many
    the cloud has, taken: how many the detector was shown. picture_boxes: what a 2D detector found in the
    picture and the detector was shown, null where none looked. notes: what it did without."""
    seen = detections.picture_boxes
    height, width = (None, None) if frame.image is None else frame.image.shape[:2]
    return {
        "source": frame.source,
        "frame": 0,
        "width": width,
        "height": height,
        "detections": list(detections.records()),
        "picture_boxes": None if seen is None else list(seen.records()),
        "upright": detections.upright.record(),
        "points": detections.points,
        "taken": detections.taken,
        "notes": list(detections.notes),
        "timing_ms": {stage: round(float(value), 3) for stage, value in timing_ms.items()},
    }


def _recording(path: str | Path) -> RgbdRecording:
    from tercelet.runtime.rgbd_recording import RgbdRecording  # a second that most runs need not pay for

    return RgbdRecording(path)


@dataclass(frozen=True)
class _Outputs:
    """Where results go."""

    lines: ResultLines | None
    drawn: DrawnResults | None
    recording: RgbdRecording | None
    listener: RunListener


class _Run:
    """The counts of one run."""

    def __init__(
        self,
        detect: RgbdPipeline,
        outputs: _Outputs,
        options: RgbdOptions,
        limit: int | None,
        stop: threading.Event,
    ) -> None:
        self._detect = detect
        self._outputs = outputs
        self._options = options
        self._limit = limit
        self._stop = stop
        self._frames = self._detections = self._broken = 0
        self._sums: dict[str, float] = {}
        self._start = perf_counter()

    def take(self, source: Path, frames: Sequence[RgbdFiles]) -> None:
        """Put the frames of one source through the pipeline, until the run has ended."""
        if self._ended:
            return
        listener = self._outputs.listener
        listener.clouds_opened(str(source), len(frames))
        try:
            for files in frames:
                if self._ended:
                    break
                try:
                    frame, detections, timing = self._looked_at(files)
                except InputError as error:
                    if len(frames) == 1 and self._frames == 0:
                        raise
                    self._broken += 1
                    listener.warned(str(error))
                    continue
                self._write(frame, detections, timing, stem=stem_of(source, files), image=files.image)
        finally:
            listener.clouds_ended()

    @property
    def _ended(self) -> bool:
        return self._stop.is_set() or self._frames == self._limit

    def _looked_at(self, files: RgbdFiles) -> tuple[RgbdFrame, Detections3d, dict[str, float]]:
        """The frame, what was found, and milliseconds by stage."""
        start = perf_counter()
        frame = read_rgbd(files, options=self._options)
        read_ms = (perf_counter() - start) * 1e3
        detections = self._detect(frame)
        return frame, detections, {"read": read_ms, **detections.timing_ms}

    def _write(
        self,
        frame: RgbdFrame,
        detections: Detections3d,
        timing: dict[str, float],
        *,
        stem: str,
        image: Path | None,
    ) -> None:
        if self._outputs.lines is not None:
            self._outputs.lines.write(record_of_rgbd(frame, detections, timing))
        if self._outputs.drawn is not None:
            suffix = ".png" if image is None else image.suffix
            self._outputs.drawn.add_drawn(draw_rgbd(frame, detections), stem=stem, suffix=suffix)
        if self._outputs.recording is not None:
            self._outputs.recording.add(frame, detections)
        self._frames += 1
        self._detections += len(detections)
        for stage, value in timing.items():
            self._sums[stage] = self._sums.get(stage, 0.0) + value
        self._outputs.listener.cloud_done(frame, detections, timing)

    def summary(self) -> RunSummary:
        """The counts so far."""
        frames = max(self._frames, 1)
        return RunSummary(
            frames=self._frames,
            detections=self._detections,
            broken=self._broken,
            dropped=0,
            seconds=perf_counter() - self._start,
            timing_ms={stage: value / frames for stage, value in self._sums.items()},
            interrupted=self._stop.is_set(),
        )


def stem_of(source: Path, files: RgbdFiles) -> str:
    """A name for what is drawn of a frame: the folder's where it holds that one frame, else the cloud's or
    the depth picture's."""
    if files.calibration is not None and files.calibration == source / "calib.txt":
        return source.resolve().name
    return files.depth.stem


def _files_of(files: RgbdFiles) -> list[Path]:
    every = (files.depth, files.image, files.calibration, files.extrinsics)
    return [path for path in every if path is not None]
