"""SUN RGB-D as mmdetection3d prepares it: infos of versions 0.x, 1.0, 1.1 and later, as .pkl or as .json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.box3d import SUNRGBD_CLASSES, yaw_from_heading
from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.sunrgbd_pickle import read_infos_pickle
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomDataset, RoomScene, checked_boxes, first_file
from tercelet.runtime.clouds import Calibration, checked_intrinsics
from tercelet.runtime.clouds.calibration import checked_rotation

YawSign = Literal["yaw", "heading"]
_SAME_SIZE_M = 1e-4


def infos_dataset(
    path: str | Path, *, yaw_sign: YawSign | None = None, limit: int | None = None
) -> RoomDataset:
    """Parse sunrgbd_infos_SPLIT.pkl or a .json of the same content (arrays as {dtype, shape, data}).

    yaw_sign: what the last number of a box is: "yaw" since version 1.0, "heading" (its opposite) before; None
    goes by `dimensions`, which had the order l, h, w before 1.0. limit: only the first so many scenes. Clouds
    and images are looked for beside the file and in points, image and sunrgbd_trainval. Raises InputError,
    also where the sign cannot be told.
    """
    path = Path(path)
    content = _read(path)
    notes: tuple[str, ...]
    if isinstance(content, Mapping) and isinstance(content.get("data_list"), list):
        if yaw_sign == "heading":
            raise InputError(f"yaw_sign: expected yaw for infos of version 1.1 and later, got {yaw_sign}")
        items = content["data_list"][:limit]
        found = [_scene_of_v1(item, i, path) for i, item in enumerate(items)]
        lost = [scene.id for scene, item in zip(found, items, strict=True)
                if scene.depth2img is None and "depth2img" in item["images"]["CAM0"]]  # fmt: skip
        notes = (
            (f"depth2img of {len(lost)} scenes ({lost[0]} first) is no camera's and is left out",)
            if lost
            else ()
        )
    elif isinstance(content, list):
        sign = _told_sign(content, path) if yaw_sign is None else yaw_sign
        found = [_scene_of_v0(item, i, path, sign) for i, item in enumerate(content[:limit])]
        notes = (f"the angle of its boxes is taken for a {sign}",)
    else:
        raise InputError(f"{path}: expected a list of infos or an object with data_list, got neither")
    if not found:
        raise InputError(f"{path}: expected at least one scene, got none")
    return RoomDataset(source=path, format="infos", scenes=tuple(found), notes=notes)


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".pkl":
        return read_infos_pickle(path)
    try:
        return _arrays(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, TypeError) as error:
        raise InputError(f"{path}: expected infos as JSON: {error}") from error


def _arrays(value: Any) -> Any:
    """JSON with {dtype, shape, data} turned into arrays."""
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "data"}:
            kind = "U" if str(value["dtype"]).lstrip("<>|")[:1] == "U" else value["dtype"]
            return np.array(value["data"], dtype=kind).reshape(value["shape"])
        return {key: _arrays(item) for key, item in value.items()}
    return [_arrays(item) for item in value] if isinstance(value, list) else value


def _told_sign(infos: Sequence[Any], path: Path) -> YawSign:
    """By the order of `dimensions` against the boxes; it was l, h, w as long as the angle was a heading."""
    votes = {"yaw": 0, "heading": 0}
    for index, info in enumerate(infos):
        annos = _part(info, "annos", f"{path}: [{index}]")
        if not _count(annos):
            continue
        boxes = _table(annos, "gt_boxes_upright_depth", 7, f"{path}: [{index}].annos")
        sizes = _table(annos, "dimensions", 3, f"{path}: [{index}].annos")
        if sizes.shape != boxes[:, 3:6].shape:
            continue
        told = np.abs(boxes[:, 4] - boxes[:, 5]) > _SAME_SIZE_M
        for name, order in (("yaw", [0, 1, 2]), ("heading", [0, 2, 1])):
            same = (np.abs(sizes[:, order] - boxes[:, 3:6]) < _SAME_SIZE_M).all(axis=1)
            votes[name] += int(np.count_nonzero(same & told))
    if bool(votes["yaw"]) == bool(votes["heading"]) and _any_boxes(infos):
        raise InputError(
            f"{path}: expected to tell from `dimensions` which way boxes turn, got {votes['yaw']} boxes of "
            f"version 1.0 and {votes['heading']} of 0.x; say yaw_sign: yaw or heading"
        )
    return "heading" if votes["heading"] else "yaw"


def _any_boxes(infos: Sequence[Any]) -> bool:
    return any(_count(info["annos"]) for info in infos)


def _scene_of_v0(info: Any, index: int, path: Path, sign: YawSign) -> RoomScene:
    where = f"{path}: [{index}]"
    annos, image = _part(info, "annos", where), _part(info, "image", where)
    number = str(_part(info, "point_cloud", where).get("lidar_idx"))
    number = number.zfill(6) if number.isdigit() else number
    boxes, boxes_2d, ids = np.zeros((0, 7)), np.zeros((0, 4)), np.zeros(0, np.int64)
    if _count(annos):
        boxes = _table(annos, "gt_boxes_upright_depth", 7, f"{where}.annos").copy()
        boxes_2d = _table(annos, "bbox", 4, f"{where}.annos")
        ids = _class_ids(annos.get("class"), len(boxes), f"{where}.annos.class")
    if sign == "heading":
        boxes[:, 6] = yaw_from_heading(boxes[:, 6])
    return RoomScene(
        id=number,
        boxes=checked_boxes(boxes, where=where),
        class_ids=ids,
        boxes_2d=boxes_2d,
        depth2img=_projection_of_v0(info, where),
        cloud=_file(path, str(info.get("pts_path", f"points/{number}.bin")), ("points",)),
        image=_file(path, str(image.get("image_path", f"image/{number}.jpg")), ("image",)),
    )


def _projection_of_v0(info: Mapping[str, Any], where: str) -> NDArray[np.float64] | None:
    calib = info.get("calib")
    if not isinstance(calib, Mapping) or "K" not in calib or "Rt" not in calib:
        return None
    k, rotation = (np.asarray(calib[name], np.float64) for name in ("K", "Rt"))
    if k.size != 9 or rotation.size != 9:
        raise InputError(
            f"{where}.calib: expected K and Rt of nine numbers, got {k.shape} and {rotation.shape}"
        )
    # Nine numbers in a row are calib.txt's, column by column.
    k = k.reshape(3, 3, order="F") if k.ndim == 1 else k.T if k[2, 0] != 0 else k
    return Calibration(
        checked_intrinsics(k, where=f"{where}.calib"),
        checked_rotation(rotation.reshape(3, 3), where=f"{where}.calib"),
        first_pixel=1,
    ).depth2img()


def _scene_of_v1(info: Any, index: int, path: Path) -> RoomScene:
    where = f"{path}: data_list[{index}]"
    cameras = _part(info, "images", where)
    camera, lidar = _part(cameras, "CAM0", f"{where}.images"), _part(info, "lidar_points", where)
    instances = info.get("instances", [])
    if not isinstance(instances, list) or not all(isinstance(item, Mapping) for item in instances):
        raise InputError(f"{where}.instances: expected a list of objects")
    rows = [item for item in instances if "bbox_3d" in item]
    numbers = {
        name: _numbers([item.get(name, [0.0] * width) for item in rows], width, f"{where}.instances: {name}")
        for name, width in (("bbox_3d", 7), ("bbox", 4))
    }
    cloud, image = str(lidar.get("lidar_path", "")), str(camera.get("img_path", ""))
    return RoomScene(
        id=Path(cloud).stem or str(index),
        boxes=checked_boxes(numbers["bbox_3d"], where=where),
        class_ids=_class_ids([item.get("bbox_label_3d") for item in rows], len(rows), f"{where}.instances"),
        boxes_2d=numbers["bbox"],
        depth2img=_projection_of_v1(camera, f"{where}.images.CAM0.depth2img"),
        cloud=_file(path, cloud, ("points",)),
        image=_file(path, image, ("image",)),
    )


def _projection_of_v1(camera: Mapping[str, Any], where: str) -> NDArray[np.float64] | None:
    """depth2img, None where there is none or none that a camera has: some files were written with the
    intrinsics transposed. The third row of a real one is a direction, of length 1."""
    if camera.get("depth2img") is None:
        return None
    projection = _numbers(camera["depth2img"], 3, where)
    is_cameras = projection.shape == (3, 3) and abs(float(np.linalg.norm(projection[2])) - 1) < 0.01
    return projection if is_cameras else None


def _part(value: Any, key: str, where: str) -> Mapping[str, Any]:
    part = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(part, Mapping):
        raise InputError(f"{where}.{key}: expected an object, got {type(part).__name__}")
    return part


def _count(annos: Mapping[str, Any]) -> int:
    number = annos.get("gt_num", 0)
    return int(number) if isinstance(number, (int, np.integer)) else 0


def _table(annos: Mapping[str, Any], key: str, width: int, where: str) -> NDArray[np.float64]:
    return _numbers(annos.get(key), width, f"{where}.{key}")


def _numbers(value: Any, width: int, where: str) -> NDArray[np.float64]:
    try:
        table = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected rows of {width} numbers: {error}") from error
    if table.size == 0:
        return np.zeros((0, width))
    if table.ndim != 2 or table.shape[1] != width:
        raise InputError(f"{where}: expected rows of {width} numbers, got shape {table.shape}")
    return table


def _class_ids(value: Any, count: int, where: str) -> NDArray[np.int64]:
    ids = np.asarray(value if count else [])
    known = np.arange(len(SUNRGBD_CLASSES))
    if ids.shape != (count,) or not np.isin(ids, known).all():
        raise InputError(f"{where}: expected {count} classes 0 to {len(known) - 1}, got {str(value)[:60]}")
    return ids.astype(np.int64)


def _file(infos: Path, name: str, folders: Sequence[str]) -> Path | None:
    """The named file below the folder of the infos, or one of that name in the usual places."""
    root, leaf = infos.parent, Path(name).name
    if not leaf:
        return None
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    usual = [root / part / folder / leaf for part in ("", "sunrgbd_trainval") for folder in folders]
    return first_file(*([root / name] if inside else []), *usual, root / leaf)
