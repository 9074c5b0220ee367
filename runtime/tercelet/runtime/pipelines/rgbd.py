"""Pipeline `rgbd`: one upright cloud, so many of its points, one run of the network, oriented boxes."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections3d import Detections3d, UprightRule
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Manifest, Postprocess
from tercelet.contract.session import PointSession, Proposals
from tercelet.runtime.boxes3d_selection import SelectedBoxes, select_boxes
from tercelet.runtime.clouds.cloud import Cloud, checked_cloud, cloud_from_columns
from tercelet.runtime.clouds.sampling import FLOOR_PERCENTILE, detector_points
from tercelet.runtime.clouds.upright import Upright, refuse_camera_frame
from tercelet.runtime.sources.rgbd import RgbdFrame

FEATURES = ("x", "y", "z", "height")
# A proposal with no more of the points taken inside is none, as in mmdetection3d.
LEAST_POINTS_INSIDE = 5


class RgbdPipeline:
    """Cloud in, oriented boxes out; a context manager. Not for use from several threads at once."""

    def __init__(
        self,
        manifest: Manifest,
        session: PointSession,
        *,
        postprocess: Postprocess,
        seed: int | None = None,
        least_points: int = LEAST_POINTS_INSIDE,
    ) -> None:
        """postprocess: its score_threshold is that of objectness, as in mmdetection3d; a detection's score
        is objectness times that of its class and may be lower.

        seed: points are drawn at random with it instead of evenly; the draw is the same for every cloud of so
        many points. least_points: a proposal needs more than these inside; -1 keeps every one.
        Raises InputError for a manifest of another pipeline or with features that are not known here.
        """
        _, cloud = manifest.cloud_parts()
        if cloud.features != FEATURES or cloud.height_percentile != FLOOR_PERCENTILE:
            raise InputError(
                f"manifest.json: cloud: expected features {', '.join(FEATURES)} with the floor at percentile "
                f"{FLOOR_PERCENTILE}, got {', '.join(cloud.features)} at {cloud.height_percentile:g}; "
                "a newer version of tercelet may know them"
            )
        if postprocess.class_agnostic:
            raise InputError("class_agnostic: pipeline rgbd merges boxes class by class; leave it out")
        if seed is not None and seed < 0:
            raise InputError(f"seed: expected 0 or more, got {seed}")
        self.manifest = manifest
        self.session = session
        self.postprocess = postprocess
        self.labels = manifest.labels
        self._points = cloud.points
        self._seed = seed
        self._least_points = least_points

    def __call__(self, frame: RgbdFrame | NDArray[Any]) -> Detections3d:
        """frame: what `read_rgbd` gives, or (N, 3 or more) numbers, x y z first: upright depth frame (x
        right, y forward, z up), metres.

        Returns oriented boxes in that frame, best first, with timing_ms of preprocess, infer and postprocess.
        Raises InputError for a cloud with NaN or infinity, of fewer than 1000 points, in another unit, or, of
        an array, one that seems to lie in the camera's frame; CheckFailedError where the engine fails.
        """
        start = perf_counter()
        cloud, upright = _checked(frame)
        points = detector_points(cloud.points, self._points, seed=self._seed)
        filled = perf_counter()
        proposals = self.session.run(points[None])
        inferred = perf_counter()
        found = self._selected(proposals, points)
        done = perf_counter()
        return Detections3d(
            boxes=found.boxes,
            scores=found.scores,
            class_ids=found.class_ids,
            labels=self.labels,
            timing_ms={
                "preprocess": (filled - start) * 1e3,
                "infer": (inferred - filled) * 1e3,
                "postprocess": (done - inferred) * 1e3,
            },
            upright=_rule_from(upright),
            points=len(cloud),
            taken=self._points,
            notes=self._notes(frame, len(cloud)),
        )

    def _selected(self, proposals: Proposals, points: NDArray[np.float32]) -> SelectedBoxes:
        boxes, objectness, class_scores = (part[0] for part in proposals)
        if not (np.isfinite(boxes).all(axis=1) & np.isfinite(objectness)).any():
            raise CheckFailedError(
                f"{self.session.backend} gave no proposal of finite numbers; export the bundle anew on this "
                "machine"
            )
        found = select_boxes(
            boxes,
            objectness,
            class_scores,
            points,
            score_threshold=self.postprocess.score_threshold,
            iou_threshold=self.postprocess.iou_threshold,
            least_points=self._least_points,
        )
        most = self.postprocess.max_detections
        return SelectedBoxes(
            boxes=found.boxes[:most],
            scores=found.scores[:most],
            class_ids=found.class_ids[:most],
            proposals=found.proposals[:most],
        )

    def _notes(self, frame: RgbdFrame | NDArray[Any], count: int) -> tuple[str, ...]:
        """What the detector did without, in words."""
        notes = []
        name = self.manifest.detector.name
        if not isinstance(frame, RgbdFrame) or frame.image is None:
            notes.append(f"no picture: {name} had the points alone, which are all that it looks at")
        else:
            notes.append(f"{name} looks at points alone: the picture had no part in the boxes")
            if frame.depth2img is None:
                notes.append("no calibration: boxes cannot be drawn into the picture")
        if count < self._points:
            notes.append(f"{count} points where {self._points} are taken: some came several times")
        return tuple(notes)

    def close(self) -> None:
        """Release the engine."""
        self.session.close()

    def __enter__(self) -> RgbdPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(frame: RgbdFrame | NDArray[Any]) -> tuple[Cloud, Upright]:
    """The cloud, if a detector can make something of it, and how it came upright."""
    if isinstance(frame, RgbdFrame):
        return checked_cloud(frame.cloud), frame.upright
    if not isinstance(frame, np.ndarray):
        raise InputError(f"expected an RgbdFrame or an array of points, got {type(frame).__name__}")
    if frame.dtype == np.uint8 and frame.ndim == 3:
        raise InputError(
            f"expected an RgbdFrame or points (N, 3) in metres, got a picture {frame.shape}: this detector "
            "looks at clouds; see read_rgbd"
        )
    cloud = checked_cloud(cloud_from_columns("cloud", frame))
    refuse_camera_frame(cloud)
    return cloud, Upright(np.eye(3), "identity")


def _rule_from(upright: Upright) -> UprightRule:
    rotation = tuple(tuple(float(value) for value in row) for row in upright.rotation)
    return UprightRule(upright.how, upright.confidence, rotation)
