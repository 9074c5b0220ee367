"""Judging a point detector in the middle of its training: average precision of oriented boxes in rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tercelet.contract.errors import InputError
from tercelet.evaluation.average_precision_3d import JudgedFrame3d, Precision3d, average_precision_3d
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomScene
from tercelet.evaluation.room_detections import RoomDetections, detections_of_proposals
from tercelet.training.detectors.point_detector import PointDetector, Proposals
from tercelet.training.point_training.fitting import pixels_of
from tercelet.training.point_training.samples import judged_inputs, stacked_inputs


@dataclass(frozen=True)
class RoomValidation:
    """quarter, half: figures at IoU 0.25 and 0.5. found: detections of each room, in order."""

    quarter: Precision3d
    half: Precision3d
    found: tuple[RoomDetections, ...]

    @property
    def ap25(self) -> float:
        """Mean AP at IoU 0.25, 0 where there is no ground truth."""
        return self.quarter.ap or 0.0

    @property
    def ap50(self) -> float:
        """Mean AP at IoU 0.5, 0 where there is no ground truth."""
        return self.half.ap or 0.0


def validate_rooms(
    network: PointDetector, scenes: Sequence[RoomScene], *, batch: int, device: torch.device
) -> RoomValidation:
    """Detections in every room, judged. The network must be in eval mode; arithmetic is float32.

    A cloud's points are taken evenly, as many as the network is recommended to work at, and its proposals are
    selected as the runtime does.
    """
    found: list[RoomDetections] = []
    for first in range(0, len(scenes), batch):
        found += _detected(network, scenes[first : first + batch], device=device)
    frames = [
        JudgedFrame3d(scene.boxes, scene.class_ids, d.boxes, d.class_ids, d.scores)
        for scene, d in zip(scenes, found, strict=True)
    ]
    quarter, half = average_precision_3d(frames, classes=network.classes, ious=(0.25, 0.5))
    return RoomValidation(quarter, half, tuple(found))


def _detected(
    network: PointDetector, scenes: Sequence[RoomScene], *, device: torch.device
) -> list[RoomDetections]:
    rooms = [judged_inputs(scene, network.points, pixels=pixels_of(network)) for scene in scenes]
    inputs = stacked_inputs(rooms)
    with torch.inference_mode():
        proposals = network(*(tensor.to(device) for tensor in inputs))
    if not isinstance(proposals, Proposals):
        raise InputError(f"{network.detector}: expected a network in eval mode, got one in training")
    boxes, objectness, class_scores = (part.float().cpu().numpy() for part in proposals[:3])
    clouds = inputs[0].numpy()
    return [
        detections_of_proposals(boxes[row], objectness[row], class_scores[row], clouds[row])
        for row in range(len(scenes))
    ]
