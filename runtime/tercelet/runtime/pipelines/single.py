"""Pipeline `single`: one frame, one canvas, one run of the network, one non-maximum suppression."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from time import perf_counter
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.geometry import clip_boxes
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.preprocess import (
    ColorOrder,
    ResizeInto,
    check_frame,
    fill_canvas,
    resize_bilinear_into,
)
from tercelet.contract.session import Session
from tercelet.runtime.nms import non_maximum_suppression


@dataclass(frozen=True)
class Overrides:
    """What the caller wants otherwise than the manifest says; None keeps the manifest's value."""

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    class_agnostic: bool | None = None

    def apply(self, defaults: Postprocess) -> Postprocess:
        """The manifest's values with the overrides in place; InputError for one out of range."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        chosen = replace(defaults, **given)
        for name in ("score_threshold", "iou_threshold"):
            value = getattr(chosen, name)
            if not 0 <= value <= 1:
                raise InputError(f"{name}: expected a number from 0 to 1, got {value}")
        if chosen.max_detections < 1:
            raise InputError(f"max_detections: expected at least 1, got {chosen.max_detections}")
        return chosen


class SinglePipeline:
    """Frame in, detections out. Not for use from several threads at once: it owns one canvas."""

    def __init__(
        self, manifest: Manifest, session: Session, *, postprocess: Postprocess, color: ColorOrder = "BGR"
    ) -> None:
        if session.batch != 1 and not session.is_flexible:
            raise InputError(
                f"pipeline single expects a network that takes one canvas, got batch {session.batch}; "
                "run it with a plan (--plan canvas)"
            )
        self.manifest = manifest
        self.session = session
        self.postprocess = postprocess
        self.labels = manifest.labels
        self._color: ColorOrder = color
        self._canvas = np.empty((1, manifest.preprocess.height, manifest.preprocess.width, 3), np.uint8)
        self._resize_into = fastest_resize()

    def __call__(self, frame: NDArray[np.uint8]) -> Detections:
        """frame: (H, W, 3) uint8, BGR unless the pipeline was opened with color="RGB".

        Returns the detections in frame pixels, best first, with timing_ms of preprocess, infer and
        postprocess. Raises InputError for a frame of another shape or type.
        """
        check_frame(frame)
        start = perf_counter()
        preprocess = self.manifest.preprocess
        place = fill_canvas(
            self._canvas[0], frame, preprocess, color=self._color, resize_into=self._resize_into
        )
        filled = perf_counter()
        candidates = self.session.run(self._canvas)
        inferred = perf_counter()
        boxes, scores, class_ids = (part[0] for part in candidates)
        # Candidates come best first: everything behind the first score below the threshold can go at once.
        count = int(np.searchsorted(-scores, -self.postprocess.score_threshold))
        boxes = place.to_frame(boxes[:count])
        kept = non_maximum_suppression(
            boxes,
            scores[:count],
            class_ids[:count],
            score_threshold=self.postprocess.score_threshold,
            iou_threshold=self.postprocess.iou_threshold,
            max_detections=self.postprocess.max_detections,
            class_agnostic=self.postprocess.class_agnostic,
        )
        cut = clip_boxes(boxes[kept], height=frame.shape[0], width=frame.shape[1])
        inside = (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
        done = perf_counter()
        return Detections(
            boxes=cut[inside].astype(np.float32),
            scores=scores[kept][inside],
            class_ids=class_ids[kept][inside].astype(np.int64),
            labels=self.labels,
            timing_ms={
                "preprocess": (filled - start) * 1e3,
                "infer": (inferred - filled) * 1e3,
                "postprocess": (done - inferred) * 1e3,
            },
        )

    def close(self) -> None:
        """Release the engine."""
        self.session.close()

    def __enter__(self) -> SinglePipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fastest_resize() -> ResizeInto:
    """OpenCV's resize where it is installed, else the portable one."""
    if importlib.util.find_spec("cv2") is None:
        return resize_bilinear_into
    from tercelet.runtime import vision

    return vision.resize_bilinear_into
