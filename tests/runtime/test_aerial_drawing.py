"""Pictures of the aerial pipeline: of one size, whatever was planned, and showing what they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blob_detector import blob_pipeline, density_source, frame_with
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.labels import color_for
from tercelet.contract.plan import AerialReport, Plan, Region
from tercelet.runtime import vision
from tercelet.runtime.aerial_drawing import draw_aerial, view_of
from tercelet.runtime.pipelines.density_crops import AerialView
from tercelet.runtime.saving import DrawnResults
from tercelet.runtime.sources import Frame
from tercelet.runtime.vision import VideoReader, read_image

RED = (50, 40, 255)
CANVAS = (64, 64)


def found_of(*boxes: tuple[float, ...], plan: Plan | None = None, origins: object = ()) -> Detections:
    """Detections of class 0 with a report."""
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        class_ids=np.zeros(len(boxes), np.int64),
        labels=("car", "bus"),
        origins=np.array(origins, np.int64),
        report=AerialReport(plan or Plan("canvas"), inferences=1, pixels=4096, evidence=("full",)),
    )


def view_with(canvases: int, *, frame: tuple[int, int] = (1080, 1920), mass: float = 0.0) -> AerialView:
    cell = 32
    shape = -(-frame[0] // cell), -(-frame[1] // cell)
    return AerialView(np.full(shape, mass, np.float32), cell, np.zeros((canvases, *CANVAS, 3), np.uint8))


def painted(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    return int((picture == np.array(color, np.uint8)).all(axis=2).sum())


SIZES = [
    ((1080, 1920), 1920), ((2160, 3840), 2560), ((4320, 7680), 2560), ((360, 640), 1280),
    ((1050, 1400), 1400), ((1920, 1080), 1300), ((1000, 1000), 1600), ((1, 1), 1000), ((1, 9000), 2560),
    ((9000, 1), 1000), ((333, 777), 1280),
]  # fmt: skip


@pytest.mark.parametrize(("size", "widest"), SIZES)
def test_a_picture_is_of_a_sensible_and_even_size_for_any_frame(size: tuple[int, int], widest: int) -> None:
    drawn = draw_aerial(np.zeros((*size, 3), np.uint8), found_of(), view_with(1, frame=size))
    height, width = drawn.shape[:2]
    assert widest * 0.9 <= width <= 2560
    assert width <= widest * 1.3
    assert 300 <= height <= 2400
    assert (height % 2, width % 2) == (0, 0)
    assert drawn.dtype == np.uint8


@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (48, 64)])
def test_the_size_does_not_depend_on_what_was_planned(size: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    region = Region(0, 0, 40, 40, 0, 0, 0, 64, 64)
    shapes = set()
    for canvases in (1, 2, 17, 257):
        plan = Plan("canvas", (region._replace(canvas=canvases - 2),) if canvases > 1 else (), canvases - 1)
        drawn = draw_aerial(frame, found_of(plan=plan), view_with(canvases, frame=size, mass=0.5))
        shapes.add(drawn.shape)
    assert len(shapes) == 1


def test_the_frame_is_not_drawn_into() -> None:
    frame = np.full((1080, 1920, 3), 7, np.uint8)
    draw_aerial(frame, found_of((100, 100, 200, 200), origins=[-1]), view_with(1))
    assert (frame == 7).all()


def test_boxes_of_regions_are_drawn_whole_and_those_of_the_full_frame_dashed() -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    box = (400.0, 300.0, 900.0, 700.0)
    plain = draw_aerial(frame, found_of(), view_with(1))
    counts = []
    for origin in (0, -1):
        drawn = draw_aerial(frame, found_of(box, origins=[origin]), view_with(1))
        bar = np.flatnonzero((drawn != plain).any(axis=(1, 2)))[0]
        panel = drawn[bar + 40 :]
        counts.append(painted(panel, color_for(0)))
    assert counts[0] > 1.5 * counts[1] > 0


def test_small_boxes_carry_no_label_that_would_hide_them() -> None:
    frame = np.full((1080, 1920, 3), 100, np.uint8)
    boxes = [(100.0 + 50 * i, 500.0, 110.0 + 50 * i, 510.0) for i in range(5)]
    drawn = draw_aerial(frame, found_of(*boxes, origins=[0] * 5), view_with(1))
    assert painted(drawn[400:600], color_for(0)) == 5 * (14**2 - 10**2)  # two pixels around each


def test_what_was_left_out_is_red_and_nothing_else_is() -> None:
    frame = np.full((1080, 1920, 3), 200, np.uint8)
    region = Region(0, 0, 400, 400, 0, 0, 0, 64, 64)
    plan = Plan("canvas", (region,), 1, 1, threshold=0.2)
    assert painted(draw_aerial(frame, found_of(plan=plan), view_with(2, mass=0.5)), RED) == 0
    plan = replace(plan, left_out=((1000, 500, 1400, 900),))
    assert painted(draw_aerial(frame, found_of(plan=plan), view_with(2, mass=0.5)), RED) > 2000


def plan_panel(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of a frame of 1920x1080, which is drawn in its own size: the plan, without its line of text."""
    return drawn[-540:, :957]


def test_what_is_looked_at_again_is_bright_and_the_rest_dim() -> None:
    frame = np.full((1080, 1920, 3), 200, np.uint8)
    plan = Plan("grid", (Region(800, 400, 1200, 800, 0, 0, 0, 64, 64),), 1, 1)
    panel = plan_panel(draw_aerial(frame, found_of(plan=plan), view_with(2)))
    assert panel[300, 500].mean() > 190
    assert panel[50, 50].mean() < 110


def test_evidence_is_coloured_and_jumps_at_the_threshold() -> None:
    frame = np.full((1080, 1920, 3), 128, np.uint8)
    view = view_with(1)
    view.mass[:, :20], view.mass[:, 20:40], view.mass[:, 40:] = 0, 0.24, 0.26
    view.mass[0, 59] = 1
    panel = plan_panel(draw_aerial(frame, found_of(plan=Plan("canvas", threshold=0.25)), view))
    none, below, above = panel[270, 100], panel[270, 480], panel[270, 800]
    assert np.ptp(none.astype(int)) < 3
    assert below[0] > below[2]  # bluish
    assert above[2] > above[0] + 40  # reddish


def test_each_region_can_be_seen_on_its_canvas() -> None:
    frame = np.full((1080, 1920, 3), 128, np.uint8)
    view = view_with(3)
    regions = (Region(0, 0, 300, 300, 0, 0, 0, 30, 30), Region(900, 300, 1200, 600, 1, 0, 0, 64, 64))
    drawn = draw_aerial(frame, found_of(plan=Plan("canvas", regions, 2, 2)), view)
    mosaic = drawn[-540:, 963:]
    for color in ((130, 255, 130), (255, 170, 255)):
        assert painted(mosaic, color) > 100
        assert painted(plan_panel(drawn), color) > 100
    shared = Plan("canvas", (regions[0],), 0, 2, shares_full=True)
    mosaic = draw_aerial(frame, found_of(plan=shared), view_with(1))[-540:, 963:]
    assert painted(mosaic, (255, 255, 80)) > 100


@pytest.mark.parametrize("plan", ["canvas", "grid", "dmnet"])
@pytest.mark.parametrize("size", [(512, 768), (40, 50), (700, 400)])
def test_every_plan_can_be_drawn(plan: str, size: tuple[int, int]) -> None:
    frame = frame_with(*size, (4, 5, 24, 22), (20, 30, 40, 40))
    with blob_pipeline(density=density_source(), plan=plan, evidence=("density",), object_px=8.0) as detect:
        found = detect(frame)
        view = view_of(detect)
    assert view is not None
    assert draw_aerial(frame, found, view).std() > 1


def test_a_pipeline_without_a_plan_has_no_view() -> None:
    assert view_of(None) is None
    with blob_pipeline(plan="full") as detect:
        detect(frame_with(64, 64))
        assert view_of(detect) is None
    with blob_pipeline() as detect:
        assert view_of(detect) is None  # before the first frame


def test_canvases_are_shown_in_bgr_whatever_the_network_takes() -> None:
    frame = frame_with(256, 256, (100, 100, 180, 180), color=(0, 255, 255))
    canvases = []
    for color in ("BGR", "RGB"):
        with blob_pipeline(network_color=color, plan="grid") as detect:
            detect(frame)
            view = view_of(detect)
        assert view is not None
        canvases.append(view.canvases)
    assert np.array_equal(*canvases)


def saved(folder: Path, *, kind: str, plain: bool, frames: int = 1) -> list[Path]:
    with blob_pipeline(plan="grid") as detect, DrawnResults(folder, plain=plain) as drawn:
        for index in range(frames):
            image = frame_with(150, 200, (10 + 5 * index, 20, 40 + 5 * index, 50))
            found = detect(image)
            drawn.add(
                Frame("clip.avi" if kind == "video" else "a.png", index, image, 0.0),
                found,
                kind=kind,  # type: ignore[arg-type]
                fps=10,
                pipeline=detect,
            )
        drawn.end_source()
    return sorted(folder.iterdir())


def test_plain_pictures_hold_the_boxes_in_the_frames_own_size(tmp_path: Path) -> None:
    (path,) = saved(tmp_path / "plain", kind="picture", plain=True)
    assert read_image(path).shape == (150, 200, 3)
    (path,) = saved(tmp_path / "full", kind="picture", plain=False)
    assert read_image(path).shape[1] == 800


def test_all_frames_of_a_video_have_one_size(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, kind="video", plain=False, frames=4)
    reader = VideoReader(str(path), live=False)
    shapes = {item[1].shape for item in iter(reader.read, None)}
    assert len(shapes) == 1
    assert reader.total == 4


def test_without_a_plan_the_picture_is_drawn_as_ever(tmp_path: Path) -> None:
    image = frame_with(150, 200, (10, 20, 70, 90))
    with blob_pipeline(plan="full") as detect, DrawnResults(tmp_path) as drawn:
        found = detect(image)
        path = drawn.add(Frame("a.png", 0, image, 0.0), found, kind="picture", fps=None, pipeline=detect)
    assert np.array_equal(read_image(path), vision.draw_detections(image, found))
