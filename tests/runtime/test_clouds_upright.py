"""Calibration, depth pictures, and how a cloud comes upright."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds import (
    Calibration,
    Cloud,
    checked_intrinsics,
    cloud_from_camera_frame,
    cloud_from_depth,
    made_upright,
    metres_from_samples,
    read_calib_txt,
    read_cloud,
    read_extrinsics,
    read_intrinsics,
    refuse_camera_frame,
    unrotated_sunrgbd,
    upright_rotation,
)
from tercelet.runtime.clouds.calibration import DEPTH_FROM_CAMERA, checked_rotation
from tercelet.runtime.clouds.upright import floor_tilt_degrees, rotation_between

K = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
GRAVITY_DEGREES = 4.0  # real rooms: the extrinsics themselves are off by one or two
ROUNDING = 1e-5  # float32 points of a few metres, back to pixels
REAL_CLOUDS = (
    "000001/depth.mat",
    "000002/votenet_v1_pc.npz",
    "mmdet3d_000017/000017.bin",
    "votenet_demo/input_pc_sunrgbd.ply",
)


def tilt(degrees: float) -> np.ndarray:
    """Upright from depth frame of a camera that looks down by so many degrees."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def room(*, noise: float = 0.01) -> np.ndarray:
    """An upright room before a camera at 1.2 m: floor, a wall and a table."""
    generator = np.random.default_rng(0)
    floor = np.stack((generator.uniform(-2, 2, 2000), generator.uniform(1, 4, 2000), np.full(2000, -1.2)), 1)
    wall = np.stack((generator.uniform(-2, 2, 2000), np.full(2000, 4.0), generator.uniform(-1.2, 1, 2000)), 1)
    table = np.stack((generator.uniform(-1, 1, 1500), generator.uniform(2, 3, 1500), np.full(1500, -0.5)), 1)
    points = np.concatenate((floor, wall, table))
    return (points + generator.normal(0, noise, points.shape)).astype(np.float32)


def test_depth_frame_is_the_camera_turned() -> None:
    camera = Cloud("c", np.array([[1, 2, 3]], np.float32))  # 1 right, 2 down, 3 forward
    assert cloud_from_camera_frame(camera).points.tolist() == [[1, 3, -2]]
    np.testing.assert_allclose(DEPTH_FROM_CAMERA @ DEPTH_FROM_CAMERA.T, np.eye(3))


def test_a_depth_picture_without_depth_gives_no_points() -> None:
    cloud = cloud_from_depth(np.zeros((480, 640), np.float32), Calibration(K), source="d")
    assert cloud.points.shape == (0, 3)


@pytest.mark.parametrize("first_pixel", [0, 1])
@pytest.mark.parametrize("degrees", [0, 25])
def test_points_of_a_depth_picture_project_to_their_pixels_counted_from_1(
    first_pixel: int, degrees: float
) -> None:
    metres = np.zeros((480, 640), np.float32)
    pixels = np.array([[0, 0], [320, 240], [639, 479], [10, 400]])
    metres[pixels[:, 1], pixels[:, 0]] = [1, 2, 3, 4]
    calibration = Calibration(K, tilt(degrees), first_pixel)  # type: ignore[arg-type]
    image = np.zeros((480, 640, 3), np.uint8)
    image[240, 320] = (255, 0, 51)
    cloud = cloud_from_depth(metres, calibration, source="d", image=image)
    assert cloud.colours is not None
    np.testing.assert_allclose(cloud.colours.max(axis=0), [0.2, 0, 1], atol=1e-6)  # RGB of BGR
    upright = made_upright(cloud, upright_rotation(cloud.points, how="extrinsics", extrinsics=tilt(degrees)))
    seen = upright.points.astype(float) @ calibration.depth2img().T
    order = np.lexsort((pixels[:, 0], pixels[:, 1]))
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:] - 1, pixels[order], atol=500 * ROUNDING)
    np.testing.assert_allclose(seen[:, 2], [1, 2, 4, 3], rtol=ROUNDING)


def test_metres_and_bits_of_depth_samples() -> None:
    stored = np.array([[0, 640 << 3, (9000 << 3 | 9000 >> 13) & 0xFFFF]], np.uint16)
    millimetres = unrotated_sunrgbd(stored)
    assert millimetres.tolist() == [[0, 640, 9000]]
    np.testing.assert_allclose(metres_from_samples(millimetres, unit=0.001), [[0, 0.64, 9.0]])
    assert metres_from_samples(millimetres, unit=0.001, longest=8.0)[0, 2] == 0
    odd = metres_from_samples(np.array([[np.nan, -1.0, np.inf, 2.0]]), unit=1.0)
    assert odd.tolist() == [[0, 0, 0, 2]]


def test_rgb_and_depth_of_different_size_are_refused() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    with pytest.raises(InputError, match="got RGB 320x240 and depth 640x480; align the depth"):
        cloud_from_depth(np.ones((480, 640), np.float32), Calibration(K), source="d", image=image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, 0, -500), "focal lengths above 0 and alike, got -500"),
        ((1, 1, 5), "above 0 and alike"),
        ((0, 2, 700), r"centre inside the picture of 640x480, got \(700, 240\)"),
        ((2, 0, 320), r"expected \[fx s cx; 0 fy cy; 0 0 1\]"),
        ((1, 0, 3), r"expected \[fx s cx"),
        ((0, 1, np.nan), "3x3 finite numbers"),
    ],
)
def test_absurd_intrinsics_are_refused_by_name(change: tuple[int, int, float], message: str) -> None:
    k = K.copy()
    k[change[0], change[1]] = change[2]
    with pytest.raises(InputError, match=f"camera: intrinsics: .*{message}"):
        checked_intrinsics(k, where="camera", image_size=(640, 480))


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (K / 1000 + np.diag([0, 0, 0.999]), "focal length of 83 to 7680 pixels for .*640x480, got 0.5"),
        (K * 40, r"expected \[fx"),
        (K.T, "written column by column"),
        (np.diag([50000.0, 50000, 1]), "got 50000"),
        (np.eye(2), "3x3 finite numbers"),
    ],
)
def test_intrinsics_in_another_unit_or_order_are_refused(k: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_intrinsics(k, where="camera", image_size=(640, 480))


def test_calibration_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "k.txt").write_text("500, 510, 320, 240\n")
    np.testing.assert_array_equal(read_intrinsics(tmp_path / "k.txt"), K)
    (tmp_path / "k.txt").write_text("500 0 320\n0 510 240\n0 0 1\n")
    np.testing.assert_array_equal(read_intrinsics(tmp_path / "k.txt"), K)
    rotation = tilt(20)
    columns = [*rotation.T.ravel(), *K.T.ravel()]
    (tmp_path / "calib.txt").write_text(" ".join(map(str, columns)))
    calibration = read_calib_txt(tmp_path / "calib.txt")
    np.testing.assert_allclose(calibration.intrinsics, K)
    assert calibration.upright is not None
    np.testing.assert_allclose(calibration.upright, rotation)
    assert calibration.first_pixel == 1


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_intrinsics, None, "nothing is there; without it depth cannot become points"),
        (read_intrinsics, "1 2 3", "3x3 matrix or fx fy cx cy, got 3 numbers"),
        (read_intrinsics, "five", "expected numbers only"),
        (read_calib_txt, "1 2 3", "9 numbers of Rtilt and 9 of K, got 3"),
        (read_calib_txt, "1 " * 18, "intrinsics: expected"),
        (read_extrinsics, "1 " * 12, "expected a rotation matrix"),
        (read_extrinsics, "1 0 0 0 1 0 0 0", "3x3 or 3x4 matrix, got 8"),
    ],
)
def test_broken_calibration_files_are_refused(
    tmp_path: Path, read: object, content: str | None, message: str
) -> None:
    path = tmp_path / "file.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read(path)  # type: ignore[operator]


def test_a_mirror_is_no_rotation() -> None:
    with pytest.raises(InputError, match="expected a rotation matrix"):
        checked_rotation(np.diag([1.0, 1, -1]), where="mirror")


@pytest.mark.parametrize("degrees", [-10, 0, 15, 40])
def test_the_floor_tells_how_the_camera_was_held(degrees: float) -> None:
    held = room() @ tilt(degrees)  # back into the depth frame
    upright = upright_rotation(held.astype(np.float32), how="floor")
    assert upright.how == "floor"
    assert upright.confidence is not None
    assert upright.confidence > 0.9
    np.testing.assert_allclose(upright.rotation[2], tilt(degrees)[2], atol=0.01)
    measured = floor_tilt_degrees(held)
    assert measured is not None
    assert measured[0] == pytest.approx(abs(degrees), abs=0.5)
    again = upright_rotation(held.astype(np.float32), how="floor")
    np.testing.assert_array_equal(upright.rotation, again.rotation)


def test_identity_and_extrinsics_do_what_they_say() -> None:
    points = room()
    same = upright_rotation(points, how="identity", extrinsics=tilt(20))
    assert (same.how, same.confidence) == ("identity", None)
    np.testing.assert_array_equal(same.rotation, np.eye(3))
    given = upright_rotation(points, how="extrinsics", extrinsics=tilt(20))
    np.testing.assert_array_equal(given.rotation, tilt(20))
    with pytest.raises(InputError, match="expected extrinsics to find the upright frame with, got none"):
        upright_rotation(points, how="extrinsics")


def test_no_floor_is_said_and_not_guessed() -> None:
    ball = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    with pytest.raises(InputError, match=r"none to rely on \(confidence 0\.\d\d of 0\.3\); give extrinsics"):
        upright_rotation(ball, how="floor")
    assert floor_tilt_degrees(ball[:5]) is None


def test_the_shortest_rotation_takes_one_direction_to_the_other() -> None:
    start, stop = np.array([0.6, 0, 0.8]), np.array([0.0, 0, 1])
    rotation = rotation_between(start, stop)
    np.testing.assert_allclose(rotation @ start, stop, atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_a_cloud_in_the_camera_frame_is_refused_and_an_upright_one_is_not() -> None:
    refuse_camera_frame(Cloud("upright", room()))
    turned = room() @ DEPTH_FROM_CAMERA
    with pytest.raises(InputError, match=r"camera's frame .* tilted by 0 degrees \(confidence 1.00\)"):
        refuse_camera_frame(Cloud("camera", turned.astype(np.float32)))
    wall_only = room()[2000:4000]
    refuse_camera_frame(Cloud("a wall", wall_only))
    on_the_floor = room() + np.float32([0, -3, 1.2])  # the origin in the room, on its floor
    refuse_camera_frame(Cloud("rooms", on_the_floor))


@pytest.mark.parametrize("name", REAL_CLOUDS)
def test_real_clouds_are_upright_and_known_by_their_floor(shared: Path, name: str) -> None:
    cloud = read_cloud(shared / "data" / "sunrgbd" / name)
    refuse_camera_frame(cloud)
    measured = floor_tilt_degrees(cloud.points)
    assert measured is not None
    assert measured[0] < GRAVITY_DEGREES
    turned = Cloud("turned", cloud.points @ DEPTH_FROM_CAMERA.astype(np.float32))
    with pytest.raises(InputError, match="seems to lie in the camera's frame"):
        refuse_camera_frame(turned)
