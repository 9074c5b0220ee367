"""From what the user named to the rooms of a training and of its validation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.sunrgbd import open_sunrgbd
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomDataset, RoomScene

# Without data to validate on, every eighth room is held back.
_HELD_BACK = 8
_TRAINVAL, _VOTENET = "sunrgbd_trainval", "sunrgbd_pc_bbox_votes*"


@dataclass(frozen=True)
class TrainingRooms:
    """training: what is learned from, one data set or several joined. validation: what the epochs are judged
    on. labels: of the classes, the same in all of them."""

    training: tuple[RoomDataset, ...]
    validation: RoomDataset

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the classes, in the order of their numbers."""
        return self.validation.categories

    @property
    def scenes(self) -> tuple[RoomScene, ...]:
        """All rooms that are trained on."""
        return tuple(scene for dataset in self.training for scene in dataset.scenes)

    def objects(self, *, validation: bool = False) -> dict[str, int]:
        """How many boxes of each label are trained on, or validated on."""
        scenes = self.validation.scenes if validation else self.scenes
        counts = np.zeros(len(self.labels), np.int64)
        for scene in scenes:
            counts += np.bincount(scene.class_ids, minlength=len(counts))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    def identity(self) -> str:
        """Hex sha256 over names, boxes and classes of all rooms: which data it was."""
        return hashlib.sha256((self.training_sha256() + self.validation_sha256()).encode()).hexdigest()

    def training_sha256(self) -> str:
        """That of what is trained on alone."""
        return _sha256(self.labels, self.scenes)

    def validation_sha256(self) -> str:
        """That of what is validated on alone."""
        return _sha256(self.labels, self.validation.scenes)


def open_training_rooms(
    data: str | Path | Sequence[str | Path], *, val: str | Path | None = None, needs_picture: bool = False
) -> TrainingRooms:
    """Parse everything and settle what is validated on.

    data: one data set or several that are joined, each as `open_rooms` takes it; val: what to validate on,
    None for every eighth room. needs_picture: whether a room without picture, calibration or 2D boxes is
    refused. Raises InputError: nothing there, rooms without a cloud, no object to learn or to validate on,
    several data sets without val.
    """
    places = [data] if isinstance(data, (str, Path)) else list(data)
    if not places:
        raise InputError("data: expected at least one data set, got none")
    if len(places) > 1 and val is None:
        raise InputError(f"data: expected val with {len(places)} data sets, got none; name it with --val")
    opened = [open_rooms(place) for place in places]
    if val is None:
        kept, held = _split(opened[0])
        found = TrainingRooms((kept,), held)
    else:
        found = TrainingRooms(tuple(opened), open_rooms(val))
    for dataset, purpose in (*((d, "train") for d in found.training), (found.validation, "validate")):
        _check(dataset, purpose, needs_picture=needs_picture)
    return found


def open_rooms(place: str | Path) -> RoomDataset:
    """A data set as `open_sunrgbd` takes it, or a folder that holds two forms of the same rooms, as
    `tercelet synth rooms` writes it: pictures and calibration of sunrgbd_trainval, clouds and votes of
    sunrgbd_pc_bbox_votes. InputError as `open_sunrgbd`."""
    place = Path(place)
    folders = sorted(folder for folder in place.glob(_VOTENET) if folder.is_dir())
    if not (place / _TRAINVAL).is_dir() or len(folders) != 1:
        return open_sunrgbd(place)
    with_pictures, with_votes = open_sunrgbd(place / _TRAINVAL), open_sunrgbd(folders[0])
    by_id = {scene.id: scene for scene in with_pictures.scenes}
    lost = [scene.id for scene in with_votes.scenes if scene.id not in by_id]
    if lost or len(by_id) != len(with_votes.scenes):
        raise InputError(
            f"{place}: expected the same rooms in {_TRAINVAL} and {folders[0].name}, got {len(by_id)} and "
            f"{len(with_votes.scenes)}{f', {lost[0]} only in the second' if lost else ''}; name one of "
            "them"
        )
    scenes = tuple(
        replace(by_id[scene.id], cloud=scene.cloud, votes=scene.votes) for scene in with_votes.scenes
    )
    return RoomDataset(source=place, format="votenet", scenes=scenes, notes=with_pictures.notes)


def say_rooms(rooms: TrainingRooms, say: Callable[[str], object]) -> None:
    """A line a data set."""
    for role, dataset in (*(("training", d) for d in rooms.training), ("validation", rooms.validation)):
        objects = sum(len(scene.boxes) for scene in dataset.scenes)
        voting = sum(scene.votes is not None for scene in dataset.scenes)
        votes = f"votes from files in {voting} of them" if voting else "votes from the boxes"
        say(f"{role}: {dataset.source}, {len(dataset.scenes)} rooms, {objects} boxes, {votes}")
        for note in dataset.notes:
            say(f"  {note}")


def _split(dataset: RoomDataset) -> tuple[RoomDataset, RoomDataset]:
    count = len(dataset.scenes)
    if count < 2:
        raise InputError(
            f"{dataset.source}: expected at least 2 rooms, one of them to validate on, got {count}; name "
            "data to validate on with val"
        )
    held = set(range(count)[_HELD_BACK - 1 :: _HELD_BACK]) or {count - 1}
    kept = tuple(scene for index, scene in enumerate(dataset.scenes) if index not in held)
    back = tuple(dataset.scenes[index] for index in sorted(held))
    return replace(dataset, scenes=kept), replace(dataset, scenes=back)


def _check(dataset: RoomDataset, purpose: str, *, needs_picture: bool) -> None:
    for scene in dataset.scenes:
        if scene.cloud is None:
            raise InputError(f"{dataset.source}: room {scene.id}: expected its cloud, found none")
        lacking = [
            name
            for name, part in (
                ("its picture", scene.image),
                ("its calibration", scene.depth2img),
                ("2D boxes", scene.boxes_2d),
            )
            if part is None
        ]
        if needs_picture and lacking:
            raise InputError(
                f"{dataset.source}: room {scene.id}: expected {' and '.join(lacking)}, which this detector "
                "looks at; name sunrgbd_trainval, infos with pictures, or the folder of tercelet synth rooms"
            )
    if not any(len(scene.boxes) for scene in dataset.scenes):
        raise InputError(
            f"{dataset.source}: expected at least one object of {', '.join(dataset.categories)} to {purpose} "
            "on, got none; look at the labels"
        )


def _sha256(labels: tuple[str, ...], scenes: Sequence[RoomScene]) -> str:
    digest = hashlib.sha256("\0".join(labels).encode())
    for scene in scenes:
        digest.update(f"\0{scene.id}\0{'' if scene.votes is None else 'votes'}\0".encode())
        digest.update(scene.boxes.astype("<f8").tobytes() + scene.class_ids.astype("<i8").tobytes())
        if scene.boxes_2d is not None:
            digest.update(scene.boxes_2d.astype("<f8").tobytes())
    return digest.hexdigest()
