"""SUN RGB-D in its three forms: one convention for all, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercelet.contract.box3d import points_in_boxes
from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets.sunrgbd import open_sunrgbd
from tercelet.evaluation.datasets.sunrgbd_infos import infos_dataset
from tercelet.evaluation.datasets.sunrgbd_scenes import RoomDataset, RoomScene
from tercelet.evaluation.datasets.sunrgbd_trainval import read_sunrgbd_label, trainval_dataset
from tercelet.evaluation.datasets.sunrgbd_votenet import read_votenet_boxes, read_votes, votenet_dataset

SAME_M = 1e-5  # the files were written with six digits
VOTE_M = 2e-3  # votes were computed from boxes before the boxes were written with six digits


@pytest.fixture
def trainval(shared: Path, tmp_path: Path) -> Path:
    """Frames 1 and 2 as sunrgbd_trainval."""
    for name in ("000001", "000002"):
        source = shared / "data" / "sunrgbd" / name
        for folder, file, suffix in (
            ("image", "image.jpg", "jpg"),
            ("depth", "depth.mat", "mat"),
            ("calib", "calib.txt", "txt"),
            ("label_v1", "label_v1.txt", "txt"),
            ("label", "label_v2.txt", "txt"),
        ):
            (tmp_path / "tree" / folder).mkdir(parents=True, exist_ok=True)
            if (source / file).is_file():
                (tmp_path / "tree" / folder / f"{name}.{suffix}").symlink_to(source / file)
    return tmp_path / "tree"


@pytest.fixture
def prepared(shared: Path, tmp_path: Path) -> Path:
    """Frames 1 and 2 as VoteNet prepares them, labels v1."""
    folder = tmp_path / "sunrgbd_pc_bbox_votes_50k_v1_val"
    folder.mkdir()
    for name in ("000001", "000002"):
        for part in ("pc.npz", "bbox.npy", "votes.npz"):
            source = shared / "data" / "sunrgbd" / name / f"votenet_v1_{part}"
            (folder / f"{name}_{part}").symlink_to(source)
    return folder


def infos_of(shared: Path, name: str) -> Path:
    return shared / "data" / "sunrgbd" / "mmdet3d_infos" / name


def same_boxes(first: RoomScene, second: RoomScene, *, atol: float = SAME_M) -> None:
    np.testing.assert_array_equal(first.class_ids, second.class_ids)
    np.testing.assert_allclose(first.boxes, second.boxes, atol=atol)


def test_a_folder_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"NUMBER_pc.npz.*got a folder that is none of them"):
        open_sunrgbd(tmp_path)
    with pytest.raises(InputError, match="got nothing there"):
        open_sunrgbd(tmp_path / "none")
    with pytest.raises(InputError, match="limit: expected at least 1"):
        open_sunrgbd(tmp_path, limit=0)


def test_labels_and_votenets_files_of_frames_1_and_2_give_the_same_boxes(
    trainval: Path, prepared: Path
) -> None:
    labels, votenet = open_sunrgbd(trainval), open_sunrgbd(prepared)
    assert (labels.format, votenet.format) == ("trainval", "votenet")
    assert (
        [scene.id for scene in labels.scenes]
        == [scene.id for scene in votenet.scenes]
        == ["000001", "000002"]
    )
    for first, second in zip(labels.scenes, votenet.scenes, strict=True):
        same_boxes(first, second)
    assert [len(scene.boxes) for scene in labels.scenes] == [3, 2]
    assert labels.notes == ("2 objects of other classes are left out",)


def test_labels_v2_and_infos_of_both_versions_give_the_same_boxes(trainval: Path, shared: Path) -> None:
    (trainval / "label" / "000002.txt").unlink(missing_ok=True)
    (label,) = open_sunrgbd(trainval, labels="v2").scenes
    votenet, ids = read_votenet_boxes(shared / "data/sunrgbd/000001/votenet_v2_bbox.npy")
    same_boxes(label, RoomScene("votenet", votenet, ids))
    for name in ("sunrgbd_infos_train", "sunrgbd_infos_v1x_tests"):
        for suffix in ("pkl", "json"):
            scene = open_sunrgbd(infos_of(shared, f"{name}.{suffix}")).scenes[0]
            assert scene.id == "000001"
            same_boxes(label, scene)
            assert scene.boxes_2d is not None
            assert label.boxes_2d is not None
            np.testing.assert_allclose(scene.boxes_2d, label.boxes_2d, atol=SAME_M)
            if name == "sunrgbd_infos_train":
                assert scene.depth2img is not None
                assert label.depth2img is not None
                np.testing.assert_allclose(scene.depth2img, label.depth2img, atol=1e-9)


def test_a_projection_that_no_camera_has_is_left_out_and_said(shared: Path) -> None:
    # Upstream's own test file was written with the intrinsics transposed.
    data = open_sunrgbd(infos_of(shared, "sunrgbd_infos_v1x_tests.pkl"))
    assert data.scenes[0].depth2img is None
    assert data.notes == ("depth2img of 1 scenes (000001 first) is no camera's and is left out",)
    sound = open_sunrgbd(shared / "data/sunrgbd/mmdet3d_000017/sunrgbd_000017_infos.json")
    assert sound.notes == ()
    assert sound.scenes[0].depth2img is not None


def test_infos_of_frame_2_are_its_label_v1_but_for_one_corrected_height(trainval: Path, shared: Path) -> None:
    label = open_sunrgbd(trainval).scenes[1]
    info = open_sunrgbd(infos_of(shared, "sunrgbd_infos_train.pkl")).scenes[1]
    same_boxes(label, info, atol=1.3e-3)
    np.testing.assert_allclose(label.boxes[0], info.boxes[0], atol=SAME_M)
    np.testing.assert_allclose(label.boxes[:, [0, 1, 3, 4, 6]], info.boxes[:, [0, 1, 3, 4, 6]], atol=SAME_M)


def test_votes_point_from_the_points_in_boxes_to_their_centres(prepared: Path) -> None:
    for scene in votenet_dataset(prepared).scenes:
        assert scene.votes is not None
        mask, votes = read_votes(scene.votes)
        points = scene.read_cloud().points
        inside = points_in_boxes(points, scene.boxes)
        # At the borders the two ways to decide differ by rounding.
        assert (mask != inside.any(axis=1)).mean() < 1e-3
        rows = np.flatnonzero(mask & (inside.sum(axis=1) == 1))
        assert len(rows) > 1000
        centres = scene.boxes[inside[rows].argmax(axis=1), :3]
        np.testing.assert_allclose(points[rows] + votes[rows, 0], centres, atol=VOTE_M)


def test_boxes_lie_where_their_2d_boxes_are_seen(trainval: Path) -> None:
    for scene in trainval_dataset(trainval).scenes:
        assert scene.depth2img is not None
        assert scene.boxes_2d is not None
        seen = scene.boxes[:, :3] @ scene.depth2img.T
        uv = seen[:, :2] / seen[:, 2:]
        assert ((uv > scene.boxes_2d[:, :2]) & (uv < scene.boxes_2d[:, 2:])).all()


def test_the_infos_find_their_cloud_and_image_beside_them(shared: Path) -> None:
    (scene,) = open_sunrgbd(shared / "data/sunrgbd/mmdet3d_000017/sunrgbd_000017_infos.pkl").scenes
    assert scene.image is not None
    cloud = scene.read_cloud()
    assert len(cloud) == 50000
    assert cloud.colours is not None
    assert (points_in_boxes(cloud.points, scene.boxes).sum(axis=0) > 100).all()
    bare = infos_dataset(infos_of(shared, "sunrgbd_infos_val.json"), limit=1).scenes[0]
    with pytest.raises(InputError, match="scene 000003: expected its cloud"):
        bare.read_cloud()


def test_a_split_is_what_its_file_of_numbers_says(trainval: Path) -> None:
    (trainval / "val_data_idx.txt").write_text("2\n")
    assert [scene.id for scene in trainval_dataset(trainval, split="val").scenes] == ["000002"]
    assert len(trainval_dataset(trainval, limit=1).scenes) == 1
    with pytest.raises(InputError, match="numbers of the split 'train'"):
        trainval_dataset(trainval, split="train")
    (trainval / "train_data_idx.txt").write_text("../2")
    with pytest.raises(InputError, match="expected whole numbers"):
        trainval_dataset(trainval, split="train")
    shutil.rmtree(trainval / "label_v1")
    with pytest.raises(InputError, match="expected a folder label_v1 with labels"):
        trainval_dataset(trainval)


def test_an_empty_label_has_no_boxes(tmp_path: Path) -> None:
    path = tmp_path / "label.txt"
    path.write_text("\nlamp nobody reads this\n")
    boxes, class_ids, boxes_2d, others = read_sunrgbd_label(path)
    assert (boxes.shape, class_ids.shape, boxes_2d.shape, others) == ((0, 7), (0,), (0, 4), 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bed 1 2 3", r":1: expected class, x y w h.* got 4"),
        ("bed " + "x " * 12, ":1: expected numbers after the class"),
        ("bed 0 0 1 1 0 0 0 1 -1 1 1 0", "box 0: expected finite numbers and sizes above 0"),
        ("bed 0 0 1 1 nan 0 0 1 1 1 1 0", "box 0: expected finite numbers"),
    ],
)
def test_a_label_that_is_none_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "label.txt"
    path.write_text(line)
    with pytest.raises(InputError, match=message):
        read_sunrgbd_label(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 7)), r"expected boxes \(K, 8\)"),
        (np.array([[0, 0, 0, 1, 1, 1, 0, 10.0]]), "classes 0 to 9"),
        (np.array([[0, 0, 0, 1, 0, 1, 0, 1.0]]), "sizes above 0"),
        (None, "expected boxes as .npy"),
    ],
)
def test_boxes_of_votenet_that_are_none_are_refused(tmp_path: Path, rows: Any, message: str) -> None:
    path = tmp_path / "1_bbox.npy"
    if rows is not None:
        np.save(path, rows)
    with pytest.raises(InputError, match=message):
        read_votenet_boxes(path)


def test_a_scene_of_votenet_may_have_no_boxes_and_no_votes(tmp_path: Path) -> None:
    np.save(tmp_path / "000007_bbox.npy", np.zeros((0, 8)))
    np.savez(tmp_path / "000007_pc.npz", pc=np.zeros((5, 6)))
    (scene,) = open_sunrgbd(tmp_path).scenes
    assert scene.boxes.shape == (0, 7)
    assert scene.votes is None
    np.savez(tmp_path / "votes.npz", point_votes=np.zeros((5, 9)))
    with pytest.raises(InputError, match=r"point_votes \(N, 10\)"):
        read_votes(tmp_path / "votes.npz")
    with pytest.raises(InputError, match="an array 'point_votes'"):
        read_votes(tmp_path / "000007_pc.npz")


def old_info(**changes: Any) -> dict[str, Any]:
    annos = {
        "gt_num": 1,
        "bbox": [[1, 2, 3, 4]],
        "dimensions": [[1, 3, 2]],
        "class": [4],
        "gt_boxes_upright_depth": [[0, 2, 0, 1, 2, 3, 0.5]],
    }
    return {"point_cloud": {"lidar_idx": 7}, "image": {}, "annos": {**annos, **changes}}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "infos.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("dimensions", "told", "yaw"),
    [([1, 3, 2], None, -0.5), ([1, 2, 3], None, 0.5), ([1, 3, 2], "yaw", 0.5), ([1, 2, 3], "heading", -0.5)],
)
def test_the_order_of_dimensions_tells_which_way_boxes_turn(
    tmp_path: Path, dimensions: list[int], told: Any, yaw: float
) -> None:
    data = open_sunrgbd(written(tmp_path, [old_info(dimensions=[dimensions])]), yaw_sign=told)
    assert data.scenes[0].boxes[0, 6] == yaw
    assert data.scenes[0].id == "000007"
    assert data.notes[0].endswith("heading" if yaw < 0 else "yaw")


def test_an_order_that_tells_nothing_has_to_be_said(tmp_path: Path) -> None:
    cube = old_info(dimensions=[[1, 2, 2]], gt_boxes_upright_depth=[[0, 2, 0, 1, 2, 2, 0.5]])
    with pytest.raises(InputError, match=r"0 boxes of version 1.0 and 0 of 0.x; say yaw_sign"):
        infos_dataset(written(tmp_path, [cube]))
    with pytest.raises(InputError, match=r"1 boxes of version 1.0 and 1 of 0.x"):
        infos_dataset(written(tmp_path, [old_info(), old_info(dimensions=[[1, 2, 3]])]))
    empty = {"point_cloud": {"lidar_idx": 1}, "image": {}, "annos": {"gt_num": 0}}
    assert infos_dataset(written(tmp_path, [empty])).scenes[0].boxes.shape == (0, 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "at least one scene"),
        ({}, "a list of infos or an object with data_list"),
        (3, "a list of infos or an object with data_list"),
        ([3], r"\[0\].annos: expected an object, got NoneType"),
        ([old_info(bbox=[[1, 2]])], r"bbox: expected rows of 4 numbers, got shape \(1, 2\)"),
        ([old_info(**{"class": [11]})], r"annos.class: expected 1 classes 0 to 9, got \[11\]"),
        ([old_info(**{"class": [1, 2]})], "expected 1 classes"),
        ([old_info(gt_boxes_upright_depth="x")], "expected rows of 7 numbers"),
        ({"data_list": [{}]}, r"data_list\[0\].images: expected an object"),
        (
            {"data_list": [{"images": {"CAM0": {}}, "lidar_points": {}, "instances": [3]}]},
            "instances: expected a list of objects",
        ),
    ],
)
def test_infos_that_are_none_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        infos_dataset(written(tmp_path, content))


def test_infos_of_version_1_turn_one_way_only(shared: Path) -> None:
    with pytest.raises(InputError, match="yaw_sign: expected yaw for infos of version 1.1"):
        infos_dataset(infos_of(shared, "sunrgbd_infos_v1x_tests.json"), yaw_sign="heading")


def test_json_and_pickle_of_the_same_infos_are_the_same(shared: Path) -> None:
    for name in ("sunrgbd_infos_train", "sunrgbd_infos_val", "sunrgbd_infos_v1x_tests"):
        first, second = (open_sunrgbd(infos_of(shared, f"{name}.{kind}")) for kind in ("json", "pkl"))
        for one, other in zip(first.scenes, second.scenes, strict=True):
            same_boxes(one, other, atol=0)
            assert one.id == other.id


class _Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_of_this_numpy_are_read(tmp_path: Path, protocol: int) -> None:
    info = old_info(
        gt_num=np.int64(1),
        bbox=np.array([[1, 2, 3, 4]], ">f4"),
        name=np.array(["toilet"]),
        gt_boxes_upright_depth=np.asfortranarray(np.array([[0, 2, 0, 1, 2, 3, 0.5]] * 2))[:1],
    )
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps([info], protocol))
    (scene,) = open_sunrgbd(path).scenes
    assert scene.boxes.tolist() == [[0, 2, 0, 1, 2, 3, -0.5]]
    assert scene.boxes_2d is not None
    assert scene.boxes_2d.tolist() == [[1, 2, 3, 4]]


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(60):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def doubling() -> list[Any]:
    value: list[Any] = [0]
    for _ in range(30):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut off or damaged"),
        (b"no pickle at all", "cut off or damaged"),
        (pickle.dumps([old_info()])[:-20], "cut off or damaged"),
        (pickle.dumps([_Runs(print, "run")]), "asks for builtins.print; refused, nothing was run"),
        (pickle.dumps([_Runs(exec, "raise SystemExit")], 0), "asks for .*exec; refused"),
        (pickle.dumps([Path("x")]), "asks for pathlib|uses the opcode"),
        (pickle.dumps([np.array([{}], object)]), "holds an array of"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "changes what a name stands for"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "makes an array in an unusual way"),
        (b"\x80\x02]r\xff\xff\xff\x0f.", "at places that it does not have"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "uses the opcode NEWOBJ"),
        (pickle.dumps(nested()), "nests or repeats"),
        (pickle.dumps(endless()), "nests or repeats"),
        (pickle.dumps([b"bytes"]), "holds a bytes"),
    ],
)
def test_a_hostile_or_broken_pickle_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "infos.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_sunrgbd(path)


def test_a_pickle_that_repeats_one_value_a_billion_times_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tercelet.evaluation.datasets.sunrgbd_pickle._MAX_VALUES", 10_000)
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps(doubling()))
    with pytest.raises(InputError, match="nests or repeats its contents"):
        open_sunrgbd(path)


def test_a_dataset_says_its_classes(prepared: Path) -> None:
    data: RoomDataset = votenet_dataset(prepared, limit=1)
    assert len(data.scenes) == 1
    assert data.categories[int(data.scenes[0].class_ids[0])] == "bed"
