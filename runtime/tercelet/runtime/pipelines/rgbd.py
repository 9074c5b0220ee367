"""Pipeline `rgbd`: one upright cloud, so many of its points, one run of the network, oriented boxes.

A network with image votes is shown the picture too: what a 2D detector finds in it, and the pixel of each
point. Where a frame has no picture, or no calibration that leads into it, another network beside it may look.
"""

from __future__ import annotations

from dataclasses import replace
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
from tercelet.runtime.pipelines.picture_votes import PictureVotes, SeenPicture
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
        per_class: bool = False,
        picture: PictureVotes | None = None,
        without_picture: RgbdPipeline | None = None,
    ) -> None:
        """postprocess: its score_threshold is that of objectness, as in mmdetection3d; a detection's score
        is objectness times that of its class and may be lower.

        seed: points are drawn at random with it instead of evenly; the draw is the same for every cloud of so
        many points. least_points: a proposal needs more than these inside; -1 keeps every one. per_class:
        each box comes once for every class, as average precision is measured, see `select_boxes`. picture: of
        a network with image votes, and of no other. without_picture: of the same classes, gets the frames
        that have no picture or no calibration; None shows the network those without a vote.
        Raises InputError for a manifest of another pipeline or with features that are not known here.
        """
        network, cloud = manifest.cloud_parts()
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
        if (picture is None) != (manifest.picture_votes is None):
            what = "none" if manifest.picture_votes is None else "one"
            raise InputError(
                f"picture: expected with a network of image votes alone; {manifest.detector.name} is {what}"
            )
        if without_picture is not None and without_picture.manifest.labels != manifest.labels:
            raise InputError(
                f"without_picture: expected the classes {', '.join(manifest.labels)}, got "
                f"{', '.join(without_picture.manifest.labels)}"
            )
        self.manifest: Manifest = manifest
        self.session = session
        self.postprocess = postprocess
        self.labels = manifest.labels
        self._points = cloud.points
        self._cloud_name = network.inputs[0].name
        self._picture = picture
        self._without_picture = without_picture
        self._seed = seed
        self._least_points = least_points
        self._per_class = per_class

    def __call__(self, frame: RgbdFrame | NDArray[Any]) -> Detections3d:
        """frame: what `read_rgbd` gives, or (N, 3 or more) numbers, x y z first: upright depth frame (x
        right, y forward, z up), metres.

        Returns oriented boxes in that frame, best first, with timing_ms of preprocess, picture (the 2D
        detector and each point's pixel, where a network has image votes), infer and postprocess.
        Raises InputError for a cloud with NaN or infinity, of fewer than 1000 points, in another unit, or, of
        an array, one that seems to lie in the camera's frame; CheckFailedError where the engine fails.
        """
        if self._without_picture is not None and not _has_picture(frame):
            return self._from_points_alone(self._without_picture, frame)
        start = perf_counter()
        cloud, upright = _checked(frame)
        points = detector_points(cloud.points, self._points, seed=self._seed)
        filled = perf_counter()
        seen = self._seen(frame, points)
        looked = perf_counter()
        proposals = self.session.run({self._cloud_name: points[None], **(seen.inputs if seen else {})})
        inferred = perf_counter()
        found = self._selected(proposals, points)
        done = perf_counter()
        picture_ms = {} if seen is None else {"picture": (looked - filled) * 1e3}
        return Detections3d(
            boxes=found.boxes,
            scores=found.scores,
            class_ids=found.class_ids,
            labels=self.labels,
            timing_ms={
                "preprocess": (filled - start) * 1e3,
                **picture_ms,
                "infer": (inferred - looked) * 1e3,
                "postprocess": (done - inferred) * 1e3,
            },
            upright=_rule_from(upright),
            points=len(cloud),
            taken=self._points,
            notes=self._notes(frame, len(cloud)),
            picture_boxes=None if seen is None else seen.boxes,
        )

    def _seen(self, frame: RgbdFrame | NDArray[Any], points: NDArray[np.float32]) -> SeenPicture | None:
        """What the network is shown of the picture; None where it is not asked for."""
        if self._picture is None:
            return None
        if not isinstance(frame, RgbdFrame) or frame.image is None or frame.depth2img is None:
            return self._picture.nothing(len(points))
        return self._picture.seen(frame.image, points, frame.depth2img)

    def _from_points_alone(self, other: RgbdPipeline, frame: RgbdFrame | NDArray[Any]) -> Detections3d:
        """What another network finds, and why it was asked."""
        found = other(frame)
        asked = (
            f"{_lack(frame)}: {other.manifest.detector.name} looked at the points alone in place of "
            f"{self.manifest.detector.name}"
        )
        rest = tuple(note for note in found.notes if "no picture" not in note and "no part" not in note)
        return replace(found, notes=(asked, *rest))

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
            per_class=self._per_class,
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
        if self._picture is not None and not _has_picture(frame):
            notes.append(f"{_lack(frame)}: {name} looked at the points alone, without a vote of the picture")
        elif self._picture is not None and not self._picture.has_detector:
            notes.append(
                f"this bundle has no 2D detector: {name} looked at the points without a vote of the picture; "
                "put one beside it: tercelet bundle-rgbd"
            )
        elif not isinstance(frame, RgbdFrame) or frame.image is None:
            notes.append(f"no picture: {name} had the points alone, which are all that it looks at")
        elif self._picture is None:
            notes.append(f"{name} looks at points alone: the picture had no part in the boxes")
            if frame.depth2img is None:
                notes.append("no calibration: boxes cannot be drawn into the picture")
        if count < self._points:
            notes.append(f"{count} points where {self._points} are taken: some came several times")
        return tuple(notes)

    def close(self) -> None:
        """Release the engines."""
        self.session.close()
        for beside in (self._picture, self._without_picture):
            if beside is not None:
                beside.close()

    def __enter__(self) -> RgbdPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _has_picture(frame: RgbdFrame | NDArray[Any]) -> bool:
    """Whether points of the frame have places in a picture."""
    return isinstance(frame, RgbdFrame) and frame.image is not None and frame.depth2img is not None


def _lack(frame: RgbdFrame | NDArray[Any]) -> str:
    has_image = isinstance(frame, RgbdFrame) and frame.image is not None
    return "no calibration leads into the picture" if has_image else "no picture"


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
