"""What a graph of a detector of clouds is compared with torch on: clouds, and for image votes pictures too.

Clouds come from files, or are rooms that are drawn. For a network with image votes a camera stands at the
origin and looks along y, as that of an upright cloud does; its picture is drawn, each point has the pixel it
falls on, and boxes lie around points. One scene in three has no box, one as many as the graph takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.manifest import CloudRecord, PictureVotesRecord
from tercelet.contract.scenes import synthetic_frame
from tercelet.ops.furthest_point_sample.cases import ROOM, room_points
from tercelet.runtime.clouds import checked_cloud, detector_points, read_cloud, refuse_camera_frame
from tercelet.training.detectors.imvotenet.view import PictureView

Floats = NDArray[np.float32]
# What a graph takes, by name.
Scene = Mapping[str, Floats]
LEAST_SCENES = 3
_HEIGHT, _WIDTH = 530, 730
# A common RGB-D camera: 69 degrees wide. To its axes from x right, y forward, z up.
_CAMERA = np.array([[529.5, 365, 0], [0, 265, -529.5], [0, 1, 0]])
# From a corner of a drawn room to before the camera, metres.
_ROOM_PLACE = np.array((-ROOM[0] / 2, 0.5, -1.2), np.float32)


def parity_scenes(
    frames: Sequence[str | Path], cloud: CloudRecord, votes: PictureVotesRecord | None, *, name: str
) -> list[Scene]:
    """Scenes from files of upright clouds; rooms are drawn until there are three.

    votes: of a network with image votes, else None. name: of the cloud among the inputs. Raises InputError
    for a file that holds no cloud a detector could use.
    """
    clouds = []
    for frame in frames:
        read = checked_cloud(read_cloud(frame))
        refuse_camera_frame(read)
        clouds.append(detector_points(read.points, cloud.points))
    for number in range(LEAST_SCENES - len(clouds)):
        room = room_points(np.random.default_rng(number), (1, cloud.points))[0]
        placed = room if votes is None else room + _ROOM_PLACE
        clouds.append(detector_points(placed, cloud.points))
    if votes is None:
        return [{name: points[None]} for points in clouds]
    return [
        {name: points[None], **picture_inputs(points, votes, number=number)}
        for number, points in enumerate(clouds)
    ]


def picture_inputs(points: Floats, votes: PictureVotesRecord, *, number: int) -> Scene:
    """What the picture of scene `number` says of its points (N, 3 or more)."""
    generator = np.random.default_rng(number)
    view = PictureView(_CAMERA, (_HEIGHT, _WIDTH))
    frame = synthetic_frame(number, height=_HEIGHT, width=_WIDTH)[
        ..., :: -1 if votes.channels == "RGB" else 1
    ]
    image = torch.from_numpy((frame - np.array(votes.mean)).astype(np.float32)).permute(2, 0, 1)
    texture = view.texture(torch.from_numpy(points), image).numpy() * np.float32(255 * votes.scale)
    count = (-(-votes.boxes // 2), 0, votes.boxes)[number % 3]
    boxes = np.zeros((votes.boxes, 6), np.float32)
    boxes[:count] = _boxes_around(generator, points, count, len(votes.classes))
    made = (texture, boxes, view.matrix().numpy(), view.picture().numpy())
    names = ("texture", "boxes", "depth2img", "picture")
    return {name: array[None].astype(np.float32) for name, array in zip(names, made, strict=True)}


def _boxes_around(generator: np.random.Generator, points: Floats, count: int, classes: int) -> Floats:
    """(count, 6) around the pixels of points that the camera sees, the surest first."""
    seen = points[points[:, 1] > 0.5, :3].astype(np.float64) @ _CAMERA.T
    pixels = seen[:, :2] / seen[:, 2:]
    pixels = pixels[((pixels > 0) & (pixels < (_WIDTH, _HEIGHT))).all(axis=1)]
    if not len(pixels):
        pixels = np.array([[_WIDTH / 2, _HEIGHT / 2]])
    middles = pixels[generator.integers(0, len(pixels), count)]
    halves = generator.uniform(40, 160, (count, 2))
    confidence = -np.sort(-generator.uniform(0.1, 0.99, (count, 1)), axis=0)
    label = generator.integers(0, classes, (count, 1))
    return np.concatenate((middles - halves, middles + halves, confidence, label), 1).astype(np.float32)
