"""RGB-D frames from files and folders: what fits together, and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.runtime.sources.rgbd import RgbdFiles, RgbdFrame, RgbdOptions, read_rgbd, rgbd_files

cv2 = pytest.importorskip("cv2")

COLOUR = 1e-4  # the colours of the cloud are those of the picture, divided by 255
GRAVITY_DEGREES = 2.0


def read(path: Path, **options: object) -> RgbdFrame:
    (files,) = rgbd_files(path)
    return read_rgbd(files, options=RgbdOptions(**options))  # type: ignore[arg-type]


@pytest.fixture
def camera_folder(tmp_path: Path) -> Path:
    """A floor 1 m below a camera that looks 30 degrees down, 64 x 48, as a depth camera stores it."""
    v, u = np.mgrid[0:48, 0:64]
    down, right = (v - 24) / 60, (u - 32) / 60
    falls = down * np.cos(np.pi / 6) + np.sin(np.pi / 6)  # how fast each ray comes down
    forward = np.where(falls > 0.15, 1 / falls.clip(0.15), 0) + 0 * right
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "depth" / "000.png"), np.rint(forward * 1000).astype(np.uint16) | 1)
    cv2.imwrite(str(tmp_path / "rgb" / "000.png"), np.full((48, 64, 3), 90, np.uint8))
    (tmp_path / "intrinsics.txt").write_text("60 60 32 24")
    return tmp_path


def test_a_folder_without_anything_is_refused_for_want_of_a_calibration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no calibration; without one depth cannot become points"):
        rgbd_files(tmp_path)
    with pytest.raises(InputError, match="nothing is there"):
        rgbd_files(tmp_path / "none")


def test_a_camera_folder_is_levelled_by_its_floor_and_says_so(camera_folder: Path) -> None:
    frame = read(camera_folder)
    assert frame.upright.how == "floor"
    assert frame.upright.confidence is not None
    assert frame.upright.confidence > 0.9
    assert abs(float(np.median(frame.cloud.points[:, 2])) + 1) < 0.02  # a floor 1 m below the camera
    assert frame.image is not None
    assert frame.depth2img is not None
    seen = frame.cloud.points.astype(float) @ frame.depth2img.T
    uv = seen[:, :2] / seen[:, 2:] - 1
    np.testing.assert_allclose(uv, np.rint(uv), atol=1e-3)
    assert uv[:, 0].min() == pytest.approx(0, abs=1e-3)


def test_a_camera_folder_is_levelled_as_asked(camera_folder: Path) -> None:
    assert read(camera_folder, level="identity").upright.how == "identity"
    with pytest.raises(InputError, match="expected extrinsics to find the upright frame"):
        read(camera_folder, level="extrinsics")
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    (camera_folder / "extrinsics.txt").write_text(f"1 0 0 0 {c} {s} 0 {-s} {c}")
    frame = read(camera_folder)
    assert frame.upright.how == "extrinsics"
    assert abs(float(np.median(frame.cloud.points[:, 2])) + 1) < 0.02


def test_depth_alone_is_a_frame_without_an_image(camera_folder: Path) -> None:
    (camera_folder / "rgb" / "000.png").unlink()
    frame = read(camera_folder)
    assert frame.image is None
    assert frame.depth2img is not None


def test_rgb_of_another_size_and_absurd_intrinsics_are_refused(camera_folder: Path) -> None:
    cv2.imwrite(str(camera_folder / "rgb" / "000.png"), np.zeros((50, 64, 3), np.uint8))
    with pytest.raises(InputError, match="got RGB 64x50 and depth 64x48"):
        read(camera_folder)
    (camera_folder / "intrinsics.txt").write_text("60 60 3200 24")
    with pytest.raises(InputError, match="centre inside the picture"):
        read(camera_folder)
    (camera_folder / "intrinsics.txt").unlink()
    with pytest.raises(InputError, match="got no calibration"):
        rgbd_files(camera_folder)


def test_a_depth_picture_by_itself_is_refused_for_want_of_a_calibration(camera_folder: Path) -> None:
    with pytest.raises(InputError, match="expected the calibration of the depth camera, got none"):
        read_rgbd(RgbdFiles(camera_folder / "depth" / "000.png"))


@pytest.mark.parametrize("is_there", [True, False])
def test_a_picture_alone_is_refused_because_it_has_no_depth(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "room.jpg"
    if is_there:
        path.write_bytes(b"any")
    with pytest.raises(InputError, match="a picture, which has no depth"):
        read(path)


def test_a_cloud_in_the_frame_of_a_camera_is_levelled_once_that_is_said(camera_folder: Path) -> None:
    frame = read(camera_folder, level="identity")
    x, y, z = frame.cloud.points.T
    path = camera_folder / "cloud.npy"
    np.save(path, np.stack((x, -z, y), axis=1))
    with pytest.raises(InputError, match="seems to lie in the camera's frame"):
        read(path)
    told = read(path, cloud_frame="camera")
    assert told.upright.how == "floor"
    assert abs(float(np.median(told.cloud.points[:, 2])) + 1) < 0.02
    assert told.depth2img is None
    np.save(path, frame.cloud.points)
    assert read(path, cloud_frame="depth").upright.how == "floor"
    with pytest.raises(InputError, match="got one in the upright frame to be levelled by its floor"):
        read(path, level="floor")


def test_frames_of_many_cameras_are_found(tmp_path: Path) -> None:
    for name in ("image", "depth", "calib"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"expected clouds \(.mat\) beside calib"):
        rgbd_files(tmp_path)
    for stem in ("000002", "000001"):
        (tmp_path / "depth" / f"{stem}.mat").write_bytes(b"")
    (tmp_path / "image" / "000002.jpg").write_bytes(b"")
    first, second = rgbd_files(tmp_path)
    assert (first.depth.stem, first.image) == ("000001", None)
    assert second.image == tmp_path / "image" / "000002.jpg"
    assert second.calibration == tmp_path / "calib" / "000002.txt"


def test_several_extrinsics_and_several_clouds_are_refused(camera_folder: Path) -> None:
    (camera_folder / "extrinsics").mkdir()
    for name in ("a.txt", "b.txt"):
        (camera_folder / "extrinsics" / name).write_text("")
    with pytest.raises(InputError, match="expected one file, got 2"):
        rgbd_files(camera_folder)
    (camera_folder / "calib.txt").write_text("")
    for name in ("a.ply", "b.ply"):
        (camera_folder / name).write_text("")
    with pytest.raises(InputError, match="expected depth.mat or one cloud beside calib.txt, got 2"):
        rgbd_files(camera_folder)


@pytest.mark.parametrize(
    ("name", "how", "count"), [("000001", "identity", 280961), ("raw_kv2", "extrinsics", 386900)]
)
def test_points_of_real_frames_have_the_colours_of_their_pixels(
    shared: Path, name: str, how: str, count: int
) -> None:
    frame = read(shared / "data" / "sunrgbd" / name)
    assert (frame.upright.how, len(frame.cloud)) == (how, count)
    assert frame.image is not None
    assert frame.depth2img is not None
    assert frame.cloud.colours is not None
    seen = frame.cloud.points[::11].astype(float) @ frame.depth2img.T
    u, v = np.rint(seen[:, :2] / seen[:, 2:] - 1).astype(int).T
    assert min(u.min(), v.min()) >= 0
    np.testing.assert_allclose(frame.image[v, u, ::-1] / 255, frame.cloud.colours[::11], atol=COLOUR)


def test_the_floor_of_a_real_raw_frame_is_where_its_extrinsics_say(shared: Path) -> None:
    folder = shared / "data" / "sunrgbd" / "raw_kv2"
    given, guessed = read(folder), read(folder, level="floor")
    cosine = float(given.upright.rotation[2] @ guessed.upright.rotation[2])
    assert np.degrees(np.arccos(cosine)) < GRAVITY_DEGREES
    assert guessed.upright.confidence == pytest.approx(1.0)
