"""The picture's part in pipeline `rgbd`: what a 2D detector finds in it, and the pixel of each point, as a
network with image votes takes them.

Such a network takes, besides its cloud: texture (1, N, 3), the pixel of each point; boxes (1, K, 6) of the
2D detector, x1, y1, x2, y2 in pixels, confidence, class, padded with zeros; depth2img (1, 3, 4) from metres
to pixels counted from 1; picture (1, 2, 3), here always that the detector saw the picture as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.geometry import clip_boxes
from tercelet.contract.manifest import PictureVotesRecord
from tercelet.runtime.pipelines.pipeline import Pipeline

Floats = NDArray[np.float32]


class SeenPicture(NamedTuple):
    """What the picture says. inputs: by name, as the graph takes them. boxes: those shown to the network, in
    pixels of the picture, with its classes as labels; None where no 2D detector looked."""

    inputs: Mapping[str, Floats]
    boxes: Detections | None


class PictureVotes:
    """Makes the inputs that a network with image votes takes besides its cloud. Owns the 2D detector."""

    def __init__(self, record: PictureVotesRecord, detect: Pipeline | None) -> None:
        """detect: frames BGR in, boxes out; None where nothing looks at pictures.

        Raises InputError where the record maps a label that the detector lacks, or none of those it has.
        """
        self._record = record
        self._detect = detect
        self._class_of = None if detect is None else _class_ids(record, detect.labels)

    @property
    def has_detector(self) -> bool:
        """Whether anything finds boxes in pictures."""
        return self._detect is not None

    def nothing(self, count: int) -> SeenPicture:
        """What a network of `count` points is shown where there is no picture: no vote for any point."""
        unit = np.array([[[1, 0, 1], [1, 0, 1]]], np.float32)
        return SeenPicture(self._inputs(np.zeros((count, 3)), np.zeros((0, 6)), np.zeros((3, 3)), unit), None)

    def seen(self, image: NDArray[np.uint8], points: Floats, depth2img: NDArray[np.float64]) -> SeenPicture:
        """Of a picture (H, W, 3) uint8 BGR and the points (N, 3 or more) that the network is shown, upright
        metres. depth2img: (3, 3) to the picture's pixels, counted from 1."""
        size = np.array([[[1, 0, image.shape[1]], [1, 0, image.shape[0]]]], np.float32)
        boxes = self._boxes(image)
        rows = np.zeros((0, 6), np.float32) if boxes is None else _rows_from(boxes)
        texture = self._texture(image, points, depth2img)
        return SeenPicture(self._inputs(texture, rows, depth2img, size), boxes)

    def close(self) -> None:
        """Release the 2D detector's engine."""
        if self._detect is not None:
            self._detect.close()

    def _boxes(self, image: NDArray[np.uint8]) -> Detections | None:
        """Boxes of classes that the network knows, inside the picture, best first, K at most."""
        if self._detect is None or self._class_of is None:
            return None
        found = self._detect(image)
        classes = self._class_of[found.class_ids]
        boxes = clip_boxes(found.boxes, height=image.shape[0], width=image.shape[1])
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        fits = (classes >= 0) & has_area & (found.scores >= self._record.score_threshold)
        kept = np.flatnonzero(fits)[np.argsort(-found.scores[fits], kind="stable")][: self._record.boxes]
        return Detections(
            boxes=boxes[kept].astype(np.float32),
            scores=found.scores[kept],
            class_ids=classes[kept],
            labels=self._record.classes,
        )

    def _texture(
        self, image: NDArray[np.uint8], points: Floats, depth2img: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(N, 3): the pixel nearest to each point; outside of the picture the nearest of its border, for a
        point that has no place in it the first."""
        places = points[:, :3].astype(np.float64) @ depth2img.T
        with np.errstate(all="ignore"):
            pixels = np.rint(places[:, :2] / places[:, 2:] - 1)
        pixels[~np.isfinite(pixels).all(axis=1)] = 0
        column, row = pixels.clip(0, (image.shape[1] - 1, image.shape[0] - 1)).astype(np.int64).T
        colours = image[row, column].astype(np.float64)
        if self._record.channels == "RGB":
            colours = colours[:, ::-1]
        texture: NDArray[np.float64] = (colours - self._record.mean) * self._record.scale
        return texture

    def _inputs(
        self,
        texture: NDArray[np.float64],
        rows: NDArray[np.floating],
        depth2img: NDArray[np.float64],
        picture: Floats,
    ) -> dict[str, Floats]:
        boxes = np.zeros((1, self._record.boxes, 6), np.float32)
        boxes[0, : len(rows)] = rows
        matrix = np.zeros((1, 3, 4), np.float32)
        matrix[0, :, :3] = depth2img
        return {
            "texture": texture[None].astype(np.float32),
            "boxes": boxes,
            "depth2img": matrix,
            "picture": picture,
        }


def _rows_from(boxes: Detections) -> Floats:
    return np.column_stack((boxes.boxes, boxes.scores, boxes.class_ids)).astype(np.float32)


def _class_ids(record: PictureVotesRecord, labels: tuple[str, ...]) -> NDArray[np.int64]:
    """(labels,) the network's class of each label of the 2D detector, -1 for none."""
    strange = [label for label in record.class_map if label not in labels]
    if strange:
        raise InputError(
            f"manifest.json: picture_votes.class_map: expected labels of the 2D detector "
            f"({', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}), got {', '.join(strange)}"
        )
    if not record.class_map:
        raise InputError(
            "manifest.json: picture_votes.class_map: expected at least one label of the 2D detector and the "
            "network's class for it, got none; make the bundle anew: tercelet bundle-rgbd"
        )
    numbers = {name: number for number, name in enumerate(record.classes)}
    return np.array([numbers.get(record.class_map.get(label, ""), -1) for label in labels], np.int64)
