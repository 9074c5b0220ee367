"""The aerial pipeline with a detector that finds bright blobs exactly: what must come out is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from blob_detector import (
    BlobSession,
    blob_pipeline,
    density_source,
    detector_manifest,
    frame_with,
)
from numpy.typing import NDArray

from tercelet.contract.detections import Detections
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Postprocess
from tercelet.runtime.pipelines.aerial_options import AerialOptions
from tercelet.runtime.pipelines.single import SinglePipeline

Box = tuple[int, int, int, int]
# A blob on a canvas ends at whole pixels, wherever between two of them it really ends.
CANVAS_PIXELS = 1.0
STAGES = ["preprocess", "density", "infer", "plan", "cut", "postprocess"]
CLUSTERS: tuple[Box, ...] = tuple(
    (x + 30 * i, y + 26 * j, x + 30 * i + 12, y + 26 * j + 10)
    for x, y in ((100, 80), (500, 300))
    for i in range(4)
    for j in range(3)
)
FRAME = frame_with(512, 768, *CLUSTERS)
# Large enough to be found in the full frame too.
LARGE: tuple[Box, ...] = tuple((x, y, x + 60, y + 54) for x in (40, 200, 500) for y in (30, 170, 400))
FINE = {"size": (128, 128), "object_px": 8.0}


def assert_found(found: Detections, boxes: tuple[Box, ...], *, within: float = CANVAS_PIXELS * 2) -> None:
    """Each box once and nothing else, to so many frame pixels."""
    expected = np.array(sorted(boxes), np.float32).reshape(-1, 4)
    got = found.boxes[np.lexsort(np.rint(found.boxes / 8).T[::-1])]
    assert len(got) == len(expected)
    distance = np.abs(got[:, None] - expected[None]).max(axis=2)
    assert distance.min(axis=1).max(initial=0) <= within
    assert len(set(distance.argmin(axis=1).tolist())) == len(expected)


@pytest.mark.parametrize("options", [{"plan": "full"}, {"plan": "grid"}, {"plan": "canvas"}])
def test_a_frame_without_objects_gives_none(options: dict[str, str]) -> None:
    with blob_pipeline(**options) as detect:
        found = detect(frame_with(300, 400))
    assert len(found) == 0
    assert found.origins is not None
    assert found.origins.shape == (0,)
    assert found.report is not None
    assert found.report.plan.name == options["plan"]
    if options["plan"] != "grid":
        assert (found.report.plan.regions, found.report.inferences) == ((), 1)
    assert list(found.timing_ms) == STAGES


def test_a_frame_without_objects_gives_none_where_density_tells() -> None:
    for plan in ("canvas", "dmnet"):
        with blob_pipeline(density=density_source(), plan=plan, evidence=("density",)) as detect:
            found = detect(frame_with(300, 400))
        assert len(found) == 0
        assert found.report is not None
        assert (found.report.plan.canvases, found.report.counted) == (0, 0)


@pytest.mark.parametrize("evidence", [("full",), ("density",), ("full", "density")])
@pytest.mark.parametrize("plan", ["canvas", "grid"])
def test_all_objects_are_found_once_and_where_they_are(plan: str, evidence: tuple[str, ...]) -> None:
    source = density_source((128, 192), cell=4)
    with blob_pipeline(density=source, plan=plan, evidence=evidence, **FINE) as detect:
        found = detect(FRAME)
    assert_found(found, CLUSTERS)
    assert found.report is not None
    asked = plan == "canvas" and "density" in evidence
    assert found.report.counted == (len(CLUSTERS) if asked else None)
    assert found.report.evidence == evidence if plan == "canvas" else True
    assert found.origins is not None
    assert (found.origins >= 0).any()
    assert found.origins.max() < len(found.report.plan.regions)


@pytest.mark.parametrize("plan", ["canvas", "grid", "dmnet"])
def test_objects_on_all_four_borders_are_found_whole(plan: str) -> None:
    boxes: tuple[Box, ...] = (
        (0, 200, 12, 212), (756, 100, 768, 112), (300, 0, 312, 10), (400, 500, 412, 512),
        (0, 0, 12, 12), (756, 500, 768, 512),
    )  # fmt: skip
    source = density_source((256, 384), cell=4)
    with blob_pipeline(density=source, plan=plan, evidence=("density",), canvases=40, **FINE) as detect:
        found = detect(frame_with(512, 768, *boxes))
    assert_found(found, boxes)
    assert found.boxes.min() >= 0
    assert (found.boxes <= [768, 512, 768, 512]).all()


def test_no_canvases_are_the_full_frame_alone() -> None:
    with blob_pipeline(plan="full") as detect:
        expected = detect(FRAME)
    with blob_pipeline(plan="canvas", canvases=0) as detect:
        found = detect(FRAME)
    assert np.array_equal(found.boxes, expected.boxes)
    assert found.report is not None
    assert (found.report.inferences, found.report.plan.canvases, found.report.plan.regions) == (1, 0, ())
    with blob_pipeline(plan="canvas", canvases=0, density=density_source(), evidence=("density",)) as detect:
        report = detect(FRAME).report
    assert report is not None
    assert (report.inferences, report.plan.canvases) == (1, 0)


def test_one_crop_over_the_whole_frame_doubles_nothing() -> None:
    boxes: tuple[Box, ...] = tuple(
        (x, y, x + 24, y + 20) for x in range(20, 740, 60) for y in range(20, 480, 60)
    )
    with blob_pipeline(
        density=density_source((128, 192)), plan="dmnet", evidence=("density",), size=(256, 256)
    ) as detect:
        found = detect(frame_with(512, 768, *boxes))
    assert found.report is not None
    (region,) = found.report.plan.regions
    assert region[:4] == (0, 0, 768, 512)
    assert_found(found, boxes, within=CANVAS_PIXELS * 3)


@pytest.mark.parametrize("plan", ["full", "canvas", "grid", "dmnet"])
@pytest.mark.parametrize("shape", [(1, 1), (40, 50), (64, 64), (1, 300)])
def test_a_frame_smaller_than_the_canvas_is_looked_at(plan: str, shape: tuple[int, int]) -> None:
    frame = np.full((*shape, 3), 255, np.uint8)
    with blob_pipeline(density=density_source(), plan=plan, evidence=("density",)) as detect:
        found = detect(frame)
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes, [[0, 0, shape[1], shape[0]]], atol=shape[1] / 32)


def test_a_frame_of_more_than_8k_is_looked_at() -> None:
    boxes = ((8000, 4400, 8060, 4450), (8200, 4500, 8260, 4560))
    frame = frame_with(5000, 9000, *boxes)
    source = density_source((250, 450), cell=5)
    with blob_pipeline(density=source, evidence=("density",), size=(256, 256), object_px=16.0) as detect:
        found = detect(frame)
    assert_found(found, boxes, within=8)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((48, 64), np.uint8), r"\(48, 64\) uint8; convert grey, 16-bit"),
        (np.zeros((48, 64, 1), np.uint8), r"\(48, 64, 1\) uint8; convert grey"),
        (np.zeros((48, 64, 3), np.uint16), r"\(48, 64, 3\) uint16; convert grey, 16-bit"),
        (np.zeros((48, 64, 4), np.uint8), r"\(48, 64, 4\) uint8.*four-channel"),
        (np.zeros((48, 64, 3), np.float32), "float32"),
        (np.zeros((0, 64, 3), np.uint8), r"\(0, 64, 3\)"),
        ([[1, 2, 3]], "got list"),
    ],
)
def test_a_frame_of_another_kind_is_refused_by_name(frame: NDArray[np.generic], message: str) -> None:
    session = BlobSession()
    with blob_pipeline(session) as detect, pytest.raises(InputError, match=message):
        detect(frame)  # type: ignore[arg-type]
    assert session.runs == 0


def test_plan_full_is_the_single_pipeline() -> None:
    post = Postprocess(max_detections=500)
    with SinglePipeline(detector_manifest(), BlobSession(), postprocess=post) as single:
        expected = single(frame_with(512, 768, *LARGE))
    with blob_pipeline(plan="full") as detect:
        found = detect(frame_with(512, 768, *LARGE))
    assert len(expected) > 0
    assert next(found.records())["source"] == "full"
    for part in ("boxes", "scores", "class_ids"):
        assert np.array_equal(getattr(found, part), getattr(expected, part))


@pytest.mark.parametrize("plan", ["full", "grid", "canvas"])
@pytest.mark.parametrize("evidence", [("full",), ("density",)])
def test_the_batch_of_the_network_changes_nothing_but_the_number_of_runs(
    plan: str, evidence: tuple[str, ...]
) -> None:
    found, runs = [], []
    for batch, is_flexible in ((1, False), (16, True), (4, False), (3, True), (7, False)):
        session = BlobSession(batch=batch, is_flexible=is_flexible)
        source = density_source((128, 192))
        with blob_pipeline(session, density=source, plan=plan, evidence=evidence, **FINE) as detect:
            found.append(detect(FRAME))
        runs.append(session.runs)
    for other in found[1:]:
        assert np.array_equal(other.boxes, found[0].boxes)
        assert np.array_equal(other.scores, found[0].scores)
        assert other.origins is not None
        assert np.array_equal(other.origins, found[0].origins)
        assert other.report == found[0].report
    report = found[0].report
    assert report is not None
    assert runs[0] == report.inferences
    assert runs[1] <= 2 + report.inferences // 16
    assert report.pixels == report.inferences * 128 * 128


def test_frames_of_changing_size_are_each_seen_as_if_alone() -> None:
    frames = [
        FRAME,
        frame_with(200, 300, (50, 60, 70, 80)),
        FRAME,
        frame_with(900, 700, *CLUSTERS[:5]),
        FRAME,
    ]
    with blob_pipeline(**FINE) as detect:
        together = [detect(frame) for frame in frames]
    for frame, found in zip(frames, together, strict=True):
        with blob_pipeline(**FINE) as detect:
            alone = detect(frame)
        assert np.array_equal(found.boxes, alone.boxes)
        assert found.report == alone.report


@pytest.mark.parametrize("network_color", ["BGR", "RGB"])
@pytest.mark.parametrize("plan", ["full", "grid", "canvas"])
def test_the_order_of_channels_does_not_matter_where_it_is_told(plan: str, network_color: str) -> None:
    # Yellow in BGR: the first channel is dark for a network in BGR, and the last for one in RGB.
    frame = frame_with(512, 768, *LARGE, color=(0, 255, 255))
    found = []
    for color, given in (("BGR", frame), ("RGB", np.ascontiguousarray(frame[..., ::-1]))):
        with blob_pipeline(plan=plan, color=color, network_color=network_color, **FINE) as detect:
            found.append(detect(given))
    assert np.array_equal(found[0].boxes, found[1].boxes)
    assert set(found[0].class_ids.tolist()) == {1 if network_color == "BGR" else 0}
    assert np.array_equal(found[0].class_ids, found[1].class_ids)


def test_the_frame_before_tells_where_to_look() -> None:
    with blob_pipeline(evidence=("previous",), plan="canvas", **FINE) as detect:
        first = detect(frame_with(512, 768, *LARGE))
        assert first.report is not None
        assert (first.report.plan.regions, first.report.evidence) == ((), ())
        moved = tuple((x1 + 6, y1 + 4, x2 + 6, y2 + 4) for x1, y1, x2, y2 in LARGE)
        second = detect(frame_with(512, 768, *moved))
        assert second.report is not None
        assert second.report.evidence == ("previous",)
        assert second.report.plan.regions
        assert_found(second, moved, within=6)
        other_size = detect(frame_with(300, 300, (10, 10, 30, 30)))
        assert other_size.report is not None
        assert other_size.report.evidence == ()


def test_two_thousand_objects_are_found() -> None:
    corners = [(x, y) for y in range(4, 4 + 40 * 24, 24) for x in range(4, 4 + 50 * 24, 24)]
    boxes = tuple((x, y, x + 12, y + 12) for x, y in corners)
    frame = frame_with(968, 1208, *boxes)
    session = BlobSession(candidates=2400)
    with blob_pipeline(session, size=(320, 320), plan="grid", most=3000) as detect:
        assert_found(detect(frame), boxes, within=0.5)
    with blob_pipeline(session, size=(320, 320), plan="grid") as detect:
        assert len(detect(frame)) == 500
    with blob_pipeline(session, size=(320, 320), plan="canvas", most=3000, object_px=6.0) as detect:
        assert len(detect(frame)) > 1700  # on half of the tiles


def test_the_same_frame_gives_the_same_again_and_again() -> None:
    with blob_pipeline(density=density_source(), evidence=("full", "density"), **FINE) as detect:
        first, *rest = [detect(FRAME) for _ in range(3)]
    for found in rest:
        assert np.array_equal(found.boxes, first.boxes)
        assert found.report == first.report


def test_what_is_handed_out_does_not_change_with_the_next_frame() -> None:
    with blob_pipeline(**FINE) as detect:
        first, boxes = detect(FRAME), detect(FRAME).boxes.copy()
        view = detect.view()
        assert view is not None
        canvases, mass = view.canvases.copy(), view.mass.copy()
        detect(frame_with(512, 768, (300, 300, 320, 320)))
    assert np.array_equal(first.boxes, boxes)
    assert np.array_equal(view.canvases, canvases)
    assert np.array_equal(view.mass, mass)


def test_the_view_shows_what_went_through_the_network() -> None:
    with blob_pipeline(BlobSession(batch=4), **FINE) as detect:
        assert detect.view() is None
        report = detect(FRAME).report
        view = detect.view()
    assert report is not None
    assert view is not None
    assert view.canvases.shape == (report.inferences, 128, 128, 3)
    assert view.mass.sum() == pytest.approx(report.plan.expected, rel=1e-5)
    first = 0 if report.plan.shares_full else 1
    for region in report.plan.regions:
        shown = view.canvases[first + region.canvas, region.y : region.y + region.height]
        source = FRAME[region.top : region.bottom, region.left : region.right]
        shown = shown[:, region.x : region.x + region.width]
        assert abs(float(shown.mean()) - float(source.mean())) < 4


def test_closing_releases_both_engines() -> None:
    session, source = BlobSession(), density_source()
    with blob_pipeline(session, density=source, evidence=("density",)):
        pass
    assert session.closed
    assert source._session.closed  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evidence": ("density",)}, "density was asked for, but there is no density network.*--density"),
        ({"plan": "dmnet"}, "dmnet needs a density network"),
        ({"plan": "tiles"}, "plan: expected one of full, grid, dmnet, canvas, got 'tiles'"),
        ({"evidence": ("luck",)}, "evidence: expected some of full, density, previous, got 'luck'"),
        ({"evidence": ()}, "evidence: expected at least one of"),
        ({"fusion": "mean"}, "fusion: expected one of nms, weighted, got 'mean'"),
        ({"canvases": -1}, "canvases: expected 0 to 256, got -1"),
        ({"canvases": 257}, "canvases: expected 0 to 256, got 257"),
        ({"budget_ms": 0.0}, "budget_ms: expected milliseconds above 0, got 0.0"),
        ({"budget_ms": float("nan")}, "budget_ms: expected milliseconds above 0, got nan"),
        ({"threshold": -0.1}, "threshold: expected a number of objects from 0 on"),
        ({"threshold": float("nan")}, "threshold: expected a number of objects from 0 on"),
        ({"overlap": 0.95}, "overlap: expected 0 to 0.9 of a tile"),
        ({"object_px": 0.5}, "object_px: expected 1 to 1000 canvas pixels"),
        ({"enlarging": 1.5}, r"enlarging: expected 0 \(brings nothing\) to 1, got 1.5"),
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        blob_pipeline(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"plan": "full", "canvases": 9}, 0),
        ({"plan": "grid"}, 32),
        ({"plan": "canvas"}, 15),
        ({"canvases": 7}, 7),
        ({"canvases": 0}, 0),
    ],
)
def test_the_limit_is_what_was_asked_for_or_half_of_the_tiles(options: dict[str, object], count: int) -> None:
    limit = AerialOptions(**options).limit_for(2160, 3840, canvas=(640, 640))  # type: ignore[arg-type]
    assert limit == count


def test_boxes_come_best_first() -> None:
    boxes = tuple((60 + 70 * i, 100, 70 + 74 * i, 130) for i in range(6))
    with blob_pipeline(plan="grid", **FINE) as detect:
        found = detect(frame_with(512, 768, *boxes))
    assert all(better >= worse for better, worse in pairwise(found.scores.tolist()))
