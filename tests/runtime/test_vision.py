"""Reading, resizing, drawing and writing of pictures and video."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import number_in, numbered_frame

from tercelet.contract import CheckFailedError, Detections, InputError, MissingDependencyError
from tercelet.contract.labels import color_for
from tercelet.contract.preprocess import resize_bilinear_into as portable_resize
from tercelet.runtime import vision

# Two ways to round the same interpolation: OpenCV works with 11-bit weights.
RESIZE_LEVELS = 1
# Lossy video moves a flat grey by a few levels.
CODEC_LEVELS = 12


@pytest.mark.parametrize("name", ["a.jpg", "b.png", "c.bmp", "d.webp", "UPPER.JPG", "Bäume und 日本.png"])
def test_a_picture_is_read_as_opencv_decodes_it(
    tmp_path: Path, write_picture: Callable[..., Path], name: str
) -> None:
    path = write_picture(tmp_path / name)
    expected = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    got = vision.read_image(path)
    assert got.shape == (48, 64, 3)
    assert got.dtype == np.uint8
    assert np.array_equal(got, expected)


def jpeg() -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (80, 90, 3), np.uint8))[1].tobytes()


def png() -> bytes:
    return cv2.imencode(".png", np.random.default_rng(1).integers(0, 255, (80, 90, 3), np.uint8))[1].tobytes()


def damaged_png() -> bytes:
    data = bytearray(png())
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", "got an empty file"),
        ("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "got an HTML page"),
        ("text.jpg", b"not a picture at all", "got 20 bytes of no known picture format"),
        ("cut.jpg", jpeg()[:2000], "got a JPEG file that is damaged or cut short"),
        ("head.jpg", jpeg()[:3], "got a JPEG file that is damaged or cut short"),
        ("cut.png", png()[:2000], "got a PNG file that is damaged or cut short"),
        ("no_end.png", png()[:-12], "got a PNG file that is damaged or cut short"),
        ("flipped.png", damaged_png(), "got a PNG file that is damaged or cut short"),
    ],
)
def test_a_file_that_is_no_whole_picture_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: expected a picture, {message}")) as caught:
        vision.read_image(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_missing_picture_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is there; check the path"):
        vision.read_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="expected a readable picture"):
        vision.read_image(tmp_path)


def test_a_picture_of_absurd_size_is_refused(tmp_path: Path) -> None:
    header = b"P6\n70000 70000\n255\n"
    path = tmp_path / "huge.ppm"
    path.write_bytes(header + b"\0" * 100)
    with pytest.raises(InputError, match="or of one that is damaged"):
        vision.read_image(path)


@pytest.mark.usefixtures("without_opencv")
def test_frames_as_npy_need_no_vision_library(tmp_path: Path) -> None:
    frame = numbered_frame(5)
    np.save(tmp_path / "frame.npy", frame)
    got = vision.read_image(tmp_path / "frame.npy")
    assert np.array_equal(got, frame)
    assert type(got) is np.ndarray
    assert got.flags.writeable


@pytest.mark.usefixtures("without_opencv")
def test_without_opencv_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=re.escape("pip install 'tercelet[vision]'")):
        vision.read_image(tmp_path / "a.jpg")


def huge_npy() -> bytes:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (900000, 900000, 3), }"
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a frame as .npy"),
        (b"\x93NUMPY\x01\x00", "expected a frame as .npy"),
        (b"\x80\x04K\x01.", "expected a frame as .npy"),
        (huge_npy(), "expected a frame as .npy"),
        (np.zeros((4, 4), np.uint8), r"expected a frame \(H, W, 3\) uint8, got \(4, 4\) uint8"),
        (np.zeros((4, 4, 3), np.float32), r"got \(4, 4, 3\) float32"),
        (np.zeros((4, 4, 3), object), "expected a frame as .npy"),
        ({"a": np.zeros(3)}, "expected a frame"),
    ],
)
def test_a_bad_npy_frame_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "bad.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        with path.open("wb") as file:
            np.savez(file, **content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        vision.read_image(path)
    with pytest.raises(InputError, match="nothing is there"):
        vision.read_image(tmp_path / "none.npy")


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_written_picture_is_read_back(tmp_path: Path, suffix: str) -> None:
    frame = numbered_frame(3)
    vision.write_image(tmp_path / f"x{suffix}", frame)
    assert np.array_equal(vision.read_image(tmp_path / f"x{suffix}"), frame)
    assert [p.name for p in tmp_path.iterdir()] == [f"x{suffix}"]


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a picture format that OpenCV writes"):
        vision.write_image(tmp_path / "x.unknown", numbered_frame(0))
    with pytest.raises(InputError, match="cannot be written: No such file"):
        vision.write_image(tmp_path / "none" / "x.jpg", numbered_frame(0))
    assert not list(tmp_path.iterdir())


def test_a_format_that_is_only_read_is_saved_as_another() -> None:
    assert [vision.writable_suffix(s) for s in (".JPG", ".png", ".npy", ".pcx")] == [
        ".JPG",
        ".png",
        ".png",
        ".jpg",
    ]


def test_opencv_resizes_into_the_memory_it_is_given() -> None:
    canvas = np.full((4, 64, 64, 3), 114, np.uint8)
    view = canvas[2, 8:40, 16:56]
    source = np.random.default_rng(0).integers(0, 255, (100, 120, 3), np.uint8)
    returned = cv2.resize(source, (40, 32), dst=view, interpolation=cv2.INTER_LINEAR)
    assert returned is view
    assert np.shares_memory(returned, canvas)
    inside = canvas[2, 8:40, 16:56].copy()
    assert (inside != 114).any()
    canvas[2, 8:40, 16:56] = 114
    assert (canvas == 114).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 640), (480, 1), (33, 47), (720, 1280)])
@pytest.mark.parametrize("target_shape", [(1, 1), (32, 40), (640, 360)])
def test_the_resize_agrees_with_the_portable_one(
    shape: tuple[int, int], target_shape: tuple[int, int]
) -> None:
    source = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    canvas = np.full((700, 400, 3), 114, np.uint8)
    height, width = target_shape
    view = canvas[10 : 10 + height, 20 : 20 + width]
    vision.resize_bilinear_into(source, view)
    expected = np.empty((*target_shape, 3), np.uint8)
    portable_resize(source, expected)
    assert np.abs(view.astype(int) - expected).max() <= RESIZE_LEVELS
    canvas[10 : 10 + height, 20 : 20 + width] = 114
    assert (canvas == 114).all()


@pytest.mark.parametrize("mirror", [np.s_[::-1], np.s_[:, ::-1], np.s_[:, :, ::-1]])
def test_a_target_that_opencv_cannot_take_is_filled_all_the_same(mirror: slice) -> None:
    source = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    straight, mirrored = np.zeros((20, 24, 3), np.uint8), np.zeros((20, 24, 3), np.uint8)
    vision.resize_bilinear_into(source, straight)
    vision.resize_bilinear_into(source, mirrored[mirror])
    assert np.array_equal(mirrored[mirror], straight)


def detections_of(*boxes: tuple[float, float, float, float]) -> Detections:
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.3, len(boxes), dtype=np.float32),
        class_ids=np.arange(len(boxes), dtype=np.int64) % 3,
        labels=("cat", "a dog with quite a long name", "owl"),
    )


def test_no_detections_leave_the_picture_as_it_was() -> None:
    frame = numbered_frame(1)
    drawn = vision.draw_detections(frame, detections_of())
    assert np.array_equal(drawn, frame)
    assert drawn is not frame


def test_boxes_are_drawn_into_a_copy_in_the_colour_of_their_class() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    drawn = vision.draw_detections(frame, detections_of((100, 200, 300, 400)))
    assert not frame.any()
    assert tuple(drawn[300, 100].tolist()) == color_for(0)
    assert tuple(drawn[400, 200].tolist()) == color_for(0)
    assert not drawn[220:380, 120:280].any()
    label = drawn[175:199, 100:160].reshape(-1, 3)
    dark, bright = (label == 0).all(axis=1).sum(), (label == color_for(0)).all(axis=1).sum()
    white = (label == 255).all(axis=1).sum()
    assert bright > 200
    assert max(dark, white) > 30


def test_the_better_of_two_equal_boxes_lies_on_top() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    drawn = vision.draw_detections(frame, detections_of((100, 200, 300, 400), (100, 200, 300, 400)))
    assert tuple(drawn[300, 100].tolist()) == color_for(0)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 600, 3), (16, 16, 3), (2160, 3840, 3)])
def test_any_size_of_frame_can_be_drawn_on(shape: tuple[int, int, int]) -> None:
    frame = np.zeros(shape, np.uint8)
    height, width = shape[:2]
    boxes = [(0, 0, width, height), (width - 1, 0, width, 1), (-5, -5, 1e6, 1e6), (0, height - 1, 1, height)]
    drawn = vision.draw_detections(frame, detections_of(*boxes))
    assert drawn.shape == shape
    assert drawn.any()


def test_a_box_that_reaches_the_border_is_drawn_on_it() -> None:
    drawn = vision.draw_detections(np.zeros((480, 640, 3), np.uint8), detections_of((500, 100, 640, 480)))
    assert tuple(drawn[300, 639].tolist()) == color_for(0)
    assert tuple(drawn[479, 560].tolist()) == color_for(0)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((50, 60, 80, 90), (50, 40)),
        ((50, 5, 80, 90), (50, 5)),
        ((95, 60, 99, 90), (60, 40)),
        ((-30, 60, 20, 90), (0, 40)),
        ((50, -20, 80, 90), (50, 0)),
        ((50, 190, 80, 199), (50, 170)),
        ((50, 500, 80, 600), (50, 180)),
    ],
)
def test_a_label_stays_inside_the_frame(box: tuple[float, ...], expected: tuple[int, int]) -> None:
    corner = vision.label_corner(np.array(box, np.float32), size=(40, 20), frame_size=(100, 200))
    assert corner == expected


@pytest.mark.parametrize(("height", "width"), [(96, 144), (97, 145)])
def test_a_written_video_is_read_back_frame_by_frame(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "a:clip é.mp4"
    with vision.VideoWriter(path, height=height, width=width, fps=12.5) as writer:
        for number in range(20):
            writer.write(numbered_frame(number, height=height, width=width))
        writer.close()
    reader = vision.VideoReader(str(path.resolve()), live=False)
    assert (reader.total, reader.fps) == (20, 12.5)
    for number in range(20):
        item = reader.read()
        assert item is not None
        index, image = item
        assert index == number_in(image) == number
        assert image.shape == (96, 144, 3)
        assert abs(int(image[-8, -8].mean()) - 90) <= CODEC_LEVELS
    assert reader.read() is None
    assert reader.broken == 0
    reader.close()


def test_a_video_refuses_frames_of_another_size_and_keeps_what_it_has(tmp_path: Path) -> None:
    def write_both() -> None:
        with vision.VideoWriter(tmp_path / "x.mp4", height=96, width=144, fps=None) as writer:
            writer.write(numbered_frame(0))
            writer.write(numbered_frame(1, height=48))

    with pytest.raises(InputError, match=r"expected frames \(96, 144, 3\), got \(48, 144, 3\)"):
        write_both()
    reader = vision.VideoReader(str(tmp_path / "x.mp4"), live=False)
    assert (reader.total, reader.fps) == (1, 30.0)


def test_a_video_that_cannot_be_opened_for_writing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a place to write a 144x96 .mp4 video to"):
        vision.VideoWriter(tmp_path / "none" / "x.mp4", height=96, width=144, fps=25)


def test_a_video_that_the_disk_could_not_take_is_noticed(tmp_path: Path) -> None:
    writer = vision.VideoWriter(tmp_path / "x.mp4", height=240, width=320, fps=25)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        for seed in range(10):
            writer.write(np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8))
        with pytest.raises(CheckFailedError, match="10 frames were written, 0 can be read back"):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("content", [b"", b"<html>" * 1000])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected a video, got a file that cannot be decoded"):
        vision.VideoReader(str(path), live=False)


def test_a_camera_and_a_stream_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "NETWORK_TIMEOUT_MS", 2000)
    with pytest.raises(InputError, match="expected a camera with index 73"):
        vision.VideoReader(73, live=True)
    with pytest.raises(InputError, match="expected a stream, none could be opened within 2 s"):
        vision.VideoReader("rtsp://127.0.0.1:1/none", live=True)


def test_a_build_without_ffmpeg_falls_back_to_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_clip: Callable[..., Path]
) -> None:
    monkeypatch.setattr(cv2.videoio_registry, "getBackends", lambda: [cv2.CAP_V4L2])
    reader = vision.VideoReader(str(write_clip(tmp_path / "x.avi", frames=3)), live=False)
    assert [number_in(item[1]) for item in iter(reader.read, None)] == [0, 1, 2]


QUIET = """
import sys
from tercelet.runtime import vision
assert "cv2" not in sys.modules
for read in (lambda: vision.read_image(sys.argv[1]), lambda: vision.VideoReader(9, live=True),
             lambda: vision.VideoReader(sys.argv[2], live=False)):
    try:
        read()
    except vision.InputError:
        print("refused")
vision.limit_threads(1)
"""


def test_opencv_adds_nothing_to_stderr_of_a_program_of_ours(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg()[:1000])
    (tmp_path / "x.mp4").write_bytes(b"<html>" * 1000)
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path / "x.jpg"), str(tmp_path / "x.mp4")],
        env={k: v for k, v in os.environ.items() if not k.startswith("OPENCV")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["refused"] * 3
    assert done.stderr == ""


# The project's goal for sixteen crops, against the plain numpy float way.
def test_the_letterbox_benchmark_runs_and_every_way_gives_the_same_pixels(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_letterbox.py"
    command = [sys.executable, str(script), "--rounds", "2", "--json", str(tmp_path / "x.json")]
    subprocess.run(command, check=True, capture_output=True)
    frames = json.loads((tmp_path / "x.json").read_text())["frames"]
    for result in frames.values():
        assert result["ratio"]["numpy"]["levels"] <= RESIZE_LEVELS


def test_in_a_crowd_small_boxes_keep_their_colour_and_lose_their_label() -> None:
    frame = np.zeros((400, 400, 3), np.uint8)
    rows, cols = np.divmod(np.arange(40), 8)
    corners = np.stack([cols * 45 + 10, rows * 70 + 40], 1).astype(np.float32)
    boxes = np.concatenate([corners, corners + 12], 1)

    def painted(count: int) -> float:
        found = Detections(
            boxes[:count], np.full(count, 0.5, np.float32), np.zeros(count, np.int64), ("a long name",)
        )
        return float((vision.draw_detections(frame, found).max(axis=2) > 0).sum()) / count

    assert painted(31) < painted(30) / 3
