"""From what the user named to the scenes of SUN RGB-D, in whichever of its three forms it is there."""

from __future__ import annotations

from pathlib import Path

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.sunrgbd_infos import YawSign, infos_dataset
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomDataset
from tercelet.evaluation.datasets.sunrgbd_trainval import LabelVersion, trainval_dataset
from tercelet.evaluation.datasets.sunrgbd_votenet import votenet_dataset
from tercelet.runtime.given_path import given_path


def open_sunrgbd(
    path: str | Path,
    *,
    labels: LabelVersion = "v1",
    split: str | None = None,
    yaw_sign: YawSign | None = None,
    limit: int | None = None,
) -> RoomDataset:
    """Parse SUN RGB-D: VoteNet's folder of clouds, mmdetection3d's infos (.pkl, .json), sunrgbd_trainval, or
    a folder that holds the latter.

    labels, split: sunrgbd_trainval only. yaw_sign: infos only. limit: only the first so many scenes. Raises
    InputError for a path that is none of the three.
    """
    path = given_path(path, name="dataset")
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 scene, got {limit}")
    if path.is_file() and path.suffix.lower() in (".pkl", ".json"):
        return infos_dataset(path, yaw_sign=yaw_sign, limit=limit)
    if (path / "sunrgbd_trainval" / "calib").is_dir():  # what synth rooms writes
        path = path / "sunrgbd_trainval"
    if path.is_dir() and (path / "calib").is_dir():
        return trainval_dataset(path, labels=labels, split=split, limit=limit)
    if path.is_dir() and next(path.glob("*_pc.npz"), None) is not None:
        return votenet_dataset(path, limit=limit)
    kind = "a folder" if path.is_dir() else "a file"
    raise InputError(
        f"{path}: expected SUN RGB-D as a folder of NUMBER_pc.npz, as sunrgbd_trainval (calib, label_v1, "
        "depth, image) or as infos (.pkl, .json), got "
        f"{f'{kind} that is none of them' if path.exists() else 'nothing there'}"
    )
