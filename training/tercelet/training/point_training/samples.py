"""One room as a point detector is trained on it, or judged on it: points, targets, the picture's part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomScene
from tercelet.evaluation.datasets.sunrgbd_votenet import read_votes
from tercelet.evaluation.room_detections import detector_points, height_above_floor
from tercelet.training.density_training.frames import opencv
from tercelet.training.detectors.imvotenet.box_dropout import half_of_boxes
from tercelet.training.detectors.imvotenet.options import Pixels
from tercelet.training.detectors.imvotenet.targets import SceneTargets, batch_of_scenes, targets_of_scene
from tercelet.training.detectors.imvotenet.view import PictureView
from tercelet.training.point_training.augmentation import RoomAugmentation, RoomMotion

# What a 2D detector says of a box: never that it is certain, which the mode parity takes for a hit.
_SUREST = 0.999
_LEAST_SURE = 0.5
_BOX_JITTER = 0.03  # of a side
_COLUMNS_2D = 6


class RoomSample(NamedTuple):
    """inputs: of the network, without the batch: cloud (N, 4), with a picture also texture (N, 3), boxes
    (K, 6), depth2img (3, 4) and picture (2, 3). targets: a batch of 1. boxes: how many there are."""

    inputs: tuple[Tensor, ...]
    targets: SceneTargets
    boxes: int


class RoomBatch(NamedTuple):
    """inputs: as the network takes them. targets: of all its rooms. boxes: how many there are in all."""

    inputs: tuple[Tensor, ...]
    targets: SceneTargets
    boxes: int


@dataclass(frozen=True, kw_only=True)
class RoomSource:
    """The rooms to train on, as they look in an epoch: the same each time they are asked for.

    points: of a cloud. mean_sizes, yaw_bins: of the network. pixels: how it is told those of
    points, None where it looks at no picture.
    """

    scenes: Sequence[RoomScene]
    points: int
    mean_sizes: Sequence[Sequence[float]]
    yaw_bins: int
    augmentation: RoomAugmentation
    pixels: Pixels | None
    seed: int

    def __len__(self) -> int:
        return len(self.scenes)

    def sample(self, epoch: int, number: int, *, mosaic: bool = False) -> RoomSample:
        """The room `number` in an epoch. mosaic: clouds have none. InputError for data that do not fit."""
        generator = np.random.default_rng(np.random.SeedSequence((self.seed, epoch, number)))
        scene = self.scenes[number]
        points = scene.read_cloud().points
        votes = file_votes(scene, len(points))
        rows = _drawn_rows(len(points), self.points, generator)
        motion = self.augmentation.drawn(generator)
        moved = motion.points(points[rows])
        if votes is not None:
            votes = (motion.points(votes[0][rows]), votes[1][rows])
        targets = targets_of_scene(
            moved,
            motion.boxes(scene.boxes),
            scene.class_ids,
            mean_sizes=self.mean_sizes,
            yaw_bins=self.yaw_bins,
            votes=votes,
        )
        cloud = torch.from_numpy(np.concatenate((moved, height_above_floor(moved[:, 2])[:, None]), axis=1))
        if self.pixels is None:
            return RoomSample((cloud,), targets, len(scene.boxes))
        boxes = half_of_boxes(
            torch.from_numpy(_boxes_2d(scene, generator)),
            generator=torch.Generator().manual_seed(int(generator.integers(1 << 62))),
        )
        seen = picture_inputs(scene, cloud, boxes, motion, self.pixels)
        return RoomSample((cloud, *seen), targets, len(scene.boxes))


def judged_inputs(scene: RoomScene, points: int, *, pixels: Pixels | None) -> tuple[Tensor, ...]:
    """The inputs for a room as it is: points taken evenly, as the runtime does, every 2D box there is."""
    cloud = torch.from_numpy(detector_points(scene.read_cloud().points, points))
    if pixels is None:
        return (cloud,)
    boxes = torch.from_numpy(_boxes_2d(scene, None))
    return (cloud, *picture_inputs(scene, cloud, boxes, RoomMotion(), pixels))


def picture_inputs(
    scene: RoomScene, cloud: Tensor, boxes: Tensor, motion: RoomMotion, pixels: Pixels
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Texture, boxes, depth2img and picture for a cloud (N, 4) that was moved so; boxes (K, 6) in pixels."""
    assert scene.depth2img is not None
    image = _read_picture(scene, pixels)
    view = PictureView(scene.depth2img, (image.shape[1], image.shape[2]), motion=motion.of_cloud())
    return view.texture(cloud, image), boxes, view.matrix(), view.picture()


def file_votes(scene: RoomScene, points: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Votes (N, 3, 3) of the room's file and whether a point has any; None where there is no file.

    InputError for a file with votes of another number of points, or that are no finite numbers.
    """
    if scene.votes is None:
        return None
    has_vote, votes = read_votes(scene.votes)
    if len(votes) != points:
        raise InputError(
            f"{scene.votes}: expected votes of the {points} points of {scene.cloud}, got {len(votes)}; "
            "make both anew, or remove the file: votes then follow from the boxes"
        )
    if not np.isfinite(votes).all():
        raise InputError(f"{scene.votes}: expected votes of finite numbers, got nan or infinity")
    return votes, has_vote


def batch_of_rooms(samples: Sequence[RoomSample]) -> RoomBatch:
    """Rooms of equally many points as one batch; 2D boxes are padded with zeros to the most there are."""
    return RoomBatch(
        inputs=stacked_inputs([sample.inputs for sample in samples]),
        targets=batch_of_scenes([sample.targets for sample in samples]),
        boxes=sum(sample.boxes for sample in samples),
    )


def stacked_inputs(rooms: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The inputs of several rooms as those of a batch."""
    return tuple(_stacked(parts) for parts in zip(*rooms, strict=True))


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    most = max(len(part) for part in parts)
    return torch.stack([torch.nn.functional.pad(part, (0, 0, 0, most - len(part))) for part in parts])


def _drawn_rows(count: int, wanted: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """So many of the points, without repetition as long as there are enough."""
    rows = generator.permutation(count)[:wanted]
    if count < wanted:
        rows = np.concatenate((rows, generator.integers(0, count, wanted - count)))
    return rows.astype(np.int64)


def _boxes_2d(scene: RoomScene, generator: np.random.Generator | None) -> NDArray[np.float32]:
    """(K, 6): the labels' boxes as a 2D detector would give them; with a generator not quite at their place
    and less sure. At least one row: a box of zeros where the picture has none."""
    assert scene.boxes_2d is not None
    corners = scene.boxes_2d.astype(np.float64)
    sure = np.full(len(corners), _SUREST)
    if generator is not None:
        sides = np.tile(corners[:, 2:] - corners[:, :2], 2)
        corners = corners + generator.normal(0.0, _BOX_JITTER, corners.shape) * sides
        sure = generator.uniform(_LEAST_SURE, _SUREST, len(corners))
    rows = np.concatenate((corners, sure[:, None], scene.class_ids[:, None]), axis=1)
    # A detector's boxes come the surest first.
    rows = rows[np.argsort(-sure, kind="stable")]
    return (rows if len(rows) else np.zeros((1, _COLUMNS_2D))).astype(np.float32)


def _read_picture(scene: RoomScene, pixels: Pixels) -> Tensor:
    """(3, H, W) float32, channels as `pixels` says with its mean taken off."""
    picture: Any = opencv().imread(str(scene.image))
    if picture is None:
        raise InputError(f"{scene.image}: expected a picture, got none that can be read")
    ordered = picture[..., ::-1] if pixels.channels == "RGB" else picture
    centred = ordered.astype(np.float32) - np.array(pixels.mean, np.float32)
    return torch.from_numpy(np.ascontiguousarray(centred.transpose(2, 0, 1)))
