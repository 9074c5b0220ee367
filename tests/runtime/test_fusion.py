"""Fusion: exact maps back to the frame, and whole boxes before parts of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercelet.contract.geometry import letterbox_for
from tercelet.contract.plan import Region
from tercelet.contract.session import TopCandidates
from tercelet.runtime.fusion import FULL_FRAME, FusedDetections, Fusion, FusionRules

CANVAS = (128, 160)
FRAME = (400, 600)
# Of float32 coordinates up to a few thousand, there and back.
PIXEL = 0.01
RULES = FusionRules(score_threshold=0.1, iou_threshold=0.5, max_detections=100)
Box = tuple[float, float, float, float]


def candidates(*canvases: Sequence[tuple[Box, float, int]], count: int = 0) -> TopCandidates:
    """Of each canvas its (box, score, class), best first, filled up with empty ones."""
    count = max(count, *(len(canvas) for canvas in canvases), 1)
    boxes = np.zeros((len(canvases), count, 4), np.float32)
    scores, ids = np.zeros((len(canvases), count), np.float32), np.zeros((len(canvases), count), np.int64)
    for number, canvas in enumerate(canvases):
        for index, (box, score, kind) in enumerate(sorted(canvas, key=lambda entry: -entry[1])):
            boxes[number, index], scores[number, index], ids[number, index] = box, score, kind
    return TopCandidates(boxes, scores, ids)


def on_canvas(box: Box, region: Region) -> Box:
    """A box of the frame where the region shows it."""
    across, down = region.width / (region.right - region.left), region.height / (region.bottom - region.top)
    return (
        region.x + (box[0] - region.left) * across,
        region.y + (box[1] - region.top) * down,
        region.x + (box[2] - region.left) * across,
        region.y + (box[3] - region.top) * down,
    )


def on_full(box: Box, frame: tuple[int, int] = FRAME) -> Box:
    place = letterbox_for(*frame, height=CANVAS[0], width=CANVAS[1])
    return tuple(place.to_canvas(np.array(box)).tolist())


def fuse(
    full: Sequence[tuple[Box, float, int]] = (),
    regions: Sequence[tuple[Region, Sequence[tuple[Box, float, int]]]] = (),
    *,
    rules: FusionRules = RULES,
    frame: tuple[int, int] = FRAME,
) -> FusedDetections:
    """Fuse what was found in the full frame and in regions; boxes in frame pixels, put on canvases here."""
    planned = [region for region, _ in regions]
    canvases: list[list[tuple[Box, float, int]]] = [
        [] for _ in range(1 + max((region.canvas for region in planned), default=-1))
    ]
    for region, found in regions:
        canvases[region.canvas] += [(on_canvas(box, region), score, kind) for box, score, kind in found]
    fusion = Fusion(canvas=CANVAS, canvases=1 + len(canvases), candidates=64)
    fusion.start()
    place = letterbox_for(*frame, height=CANVAS[0], width=CANVAS[1])
    whole = candidates([(on_full(box, frame), score, kind) for box, score, kind in full])
    fusion.add_full(whole, place, threshold=rules.score_threshold)
    if planned:
        fusion.add_regions(candidates(*canvases), planned, frame=frame, threshold=rules.score_threshold)
    return fusion.finish(rules, frame=frame)


LEFT = Region(100, 100, 200, 180, 0, 0, 0, 100, 80)
RIGHT = Region(180, 100, 280, 180, 1, 20, 30, 100, 80)


def test_nothing_in_nothing_out() -> None:
    for regions in ([], [(LEFT, [])]):
        found = fuse(regions=regions)
        assert [len(part) for part in found] == [0] * 5
        assert found.boxes.shape == (0, 4)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.integers(0, 7000), st.integers(0, 4000), st.integers(2, 900), st.integers(2, 900)),
    st.tuples(st.integers(0, 100), st.integers(0, 80), st.integers(2, 60), st.integers(2, 48)),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_a_box_inside_a_region_comes_back_to_the_pixel(
    place: tuple[int, int, int, int], at: tuple[int, int, int, int], corners: tuple[float, ...]
) -> None:
    left, top, wide, high = place
    region = Region(left, top, left + wide, top + high, 0, *at)
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    box = (left + x1 * wide, top + y1 * high, left + x2 * wide, top + y2 * high)
    shown = on_canvas(box, region)
    found = fuse(regions=[(region, [(box, 0.5, 0)])], frame=(5000, 8000))
    if min(shown[2] - shown[0], shown[3] - shown[1]) < 1.01:  # less than a canvas pixel is noise
        assert len(found.boxes) <= 1
        return
    # float32 on the canvas, in frame pixels
    allowed = max(PIXEL, 1e-4 * max(wide / at[2], high / at[3]))
    np.testing.assert_allclose(found.boxes, [box], rtol=0, atol=allowed)
    assert found.origins.tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(400, 600), (17, 999), (2160, 3840), (1, 1)]),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_a_box_of_the_full_frame_comes_back_to_the_pixel(
    frame: tuple[int, int], corners: tuple[float, ...]
) -> None:
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    box = (x1 * frame[1], y1 * frame[0], x2 * frame[1], y2 * frame[0])
    found = fuse([(box, 0.5, 0)], frame=frame)
    if min(box[2] - box[0], box[3] - box[1]) < PIXEL:
        return
    np.testing.assert_allclose(found.boxes, [box], rtol=0, atol=PIXEL)
    assert found.origins.tolist() == [FULL_FRAME]


WHOLE: Box = (185, 120, 225, 150)
PART: Box = (185, 120, 200, 150)


def test_a_part_loses_against_the_whole_however_sure_it_is() -> None:
    found = fuse(regions=[(LEFT, [(PART, 0.95, 0)]), (RIGHT, [(WHOLE, 0.3, 0)])])
    np.testing.assert_allclose(found.boxes, [WHOLE], atol=PIXEL)
    assert (found.origins.tolist(), found.cut.tolist()) == ([1], [False])
    found = fuse([(WHOLE, 0.3, 0)], [(LEFT, [(PART, 0.95, 0)])])
    assert found.origins.tolist() == [FULL_FRAME]


def test_a_part_stays_where_there_is_no_whole() -> None:
    found = fuse(regions=[(LEFT, [(PART, 0.95, 0)])])
    np.testing.assert_allclose(found.boxes, [PART], atol=PIXEL)
    assert found.cut.tolist() == [True]
    # nor does a whole one elsewhere, or of another class, drive it out
    found = fuse(
        regions=[(LEFT, [(PART, 0.95, 0)]), (RIGHT, [((230, 120, 260, 150), 0.5, 0), (WHOLE, 0.4, 1)])]
    )
    assert sorted(found.cut.tolist()) == [False, False, True]


@pytest.mark.parametrize(
    ("region", "box"),
    [
        (Region(0, 0, 100, 80, 0, 0, 0, 100, 80), (0, 10, 20, 30)),
        (Region(0, 0, 100, 80, 0, 0, 0, 100, 80), (30, 0, 60, 20)),
        (Region(500, 320, 600, 400, 0, 0, 0, 100, 80), (570, 330, 600, 350)),
        (Region(500, 320, 600, 400, 0, 0, 0, 100, 80), (520, 380, 550, 400)),
        (Region(0, 0, 600, 400, 0, 0, 0, 150, 100), (0, 0, 600, 400)),
    ],
)
def test_a_box_that_ends_where_the_frame_ends_is_whole(region: Region, box: Box) -> None:
    assert fuse(regions=[(region, [(box, 0.5, 0)])]).cut.tolist() == [False]


@pytest.mark.parametrize("side", range(4))
def test_a_box_that_ends_where_its_region_ends_is_cut(side: int) -> None:
    box = [130, 120, 160, 150]
    assert fuse(regions=[(LEFT, [(tuple(box), 0.5, 0)])]).cut.tolist() == [False]
    box[side] = LEFT[side]
    assert fuse(regions=[(LEFT, [(tuple(box), 0.5, 0)])]).cut.tolist() == [True]


def test_what_reaches_beyond_its_region_is_cut_off_there() -> None:
    found = fuse(regions=[(LEFT, [((150, 120, 230, 150), 0.5, 0)])])
    np.testing.assert_allclose(found.boxes, [(150, 120, 200, 150)], atol=PIXEL)
    assert found.cut.tolist() == [True]


def test_what_lies_between_regions_belongs_to_none() -> None:
    fusion = Fusion(canvas=CANVAS, canvases=2, candidates=4)
    fusion.start()
    fusion.add_regions(candidates([((110, 100, 130, 120), 0.9, 0)]), [LEFT], frame=FRAME, threshold=0.1)
    assert len(fusion.finish(RULES, frame=FRAME).boxes) == 0


def test_suppression_is_class_by_class_unless_told_otherwise() -> None:
    near: Box = (142, 120, 172, 150)
    entries = [((140, 120, 170, 150), 0.9, 0), (near, 0.8, 1), (near, 0.7, 0)]
    found = fuse(regions=[(LEFT, entries)])
    assert found.class_ids.tolist() == [0, 1]
    agnostic = FusionRules(0.1, 0.5, 100, class_agnostic=True)
    assert fuse(regions=[(LEFT, entries)], rules=agnostic).class_ids.tolist() == [0]


def test_the_best_are_kept_in_order() -> None:
    entries = [((100 + 4 * i, 110, 102 + 4 * i, 120), 0.2 + 0.05 * i, 0) for i in range(1, 9)]
    found = fuse(regions=[(LEFT, entries)], rules=FusionRules(0.1, 0.5, 3))
    np.testing.assert_allclose(found.scores, [0.6, 0.55, 0.5], atol=1e-6)


def test_a_score_at_the_threshold_does_not_count() -> None:
    rules = FusionRules(0.5, 0.5, 100)
    entries = [((140, 120, 170, 150), 0.5, 0), ((140, 105, 170, 115), 0.75, 0)]
    assert fuse(regions=[(LEFT, entries)], rules=rules).scores.tolist() == [0.75]
    assert fuse(entries, rules=rules).scores.tolist() == [0.75]


def test_memory_is_used_again_and_nothing_stays_from_the_last_frame() -> None:
    fusion = Fusion(canvas=CANVAS, canvases=3, candidates=8)
    two = candidates([((10, 10, 30, 30), 0.9, 0)], [((40, 50, 60, 70), 0.8, 0)])
    one = candidates([((40, 10, 60, 30), 0.7, 0)])
    for _ in range(2):
        fusion.start()
        fusion.add_regions(two, [LEFT, RIGHT], frame=FRAME, threshold=0.1)
        assert fusion.finish(RULES, frame=FRAME).origins.tolist() == [0, 1]
        fusion.start()
        fusion.add_regions(one, [LEFT], frame=FRAME, threshold=0.1)
        found = fusion.finish(RULES, frame=FRAME)
        np.testing.assert_allclose(found.boxes, [(140, 110, 160, 130)], atol=PIXEL)


def test_two_thousand_objects_come_through() -> None:
    corners = np.stack(np.meshgrid(np.arange(50) * 12, np.arange(40) * 10), axis=-1).reshape(-1, 2)
    boxes = np.concatenate((corners, corners + 6), axis=1).astype(np.float32)
    region = Region(0, 0, 600, 400, 0, 0, 0, 600, 400)
    fusion = Fusion(canvas=(400, 600), canvases=2, candidates=2000)
    fusion.start()
    scores = np.linspace(0.9, 0.3, 2000, dtype=np.float32)
    found = TopCandidates(boxes[None], scores[None], np.zeros((1, 2000), np.int64))
    fusion.add_regions(found, [region], frame=FRAME, threshold=0.1)
    fused = fusion.finish(FusionRules(0.1, 0.5, 3000), frame=FRAME)
    np.testing.assert_allclose(fused.boxes, boxes, atol=PIXEL)


def reference(
    full: Sequence[tuple[Box, float, int]],
    regions: Sequence[tuple[Region, Sequence[tuple[Box, float, int]]]],
    rules: FusionRules,
) -> list[tuple[Box, float, int, int]]:
    """What fusion is, one box after the other; boxes lie inside their regions."""
    height, width = FRAME
    entries = [(box, score, kind, FULL_FRAME, False) for box, score, kind in full]
    for number, (region, found) in enumerate(regions):
        for box, score, kind in found:
            zoom = region.width / (region.right - region.left)
            ends = [
                region.left > 0 and (box[0] - region.left) * zoom <= 2.5,
                region.top > 0 and (box[1] - region.top) * zoom <= 2.5,
                region.right < width and (region.right - box[2]) * zoom <= 2.5,
                region.bottom < height and (region.bottom - box[3]) * zoom <= 2.5,
            ]
            entries.append((box, score, kind, number, any(ends)))
    kept: list[tuple[Box, float, int, int, bool]] = []
    for entry in sorted(entries, key=lambda e: (e[4], -e[1])):
        box, score, kind, _, is_cut = entry
        if score <= rules.score_threshold:
            continue
        for other, _, other_kind, _, _ in kept:
            if kind != other_kind and not rules.class_agnostic:
                continue
            shared = max(min(box[2], other[2]) - max(box[0], other[0]), 0) * max(
                min(box[3], other[3]) - max(box[1], other[1]), 0
            )
            own, others = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
            if shared > rules.iou_threshold * (own + others - shared) or (is_cut and shared > 0.6 * own):
                break
        else:
            kept.append(entry)
    best = sorted(kept, key=lambda e: -e[1])[: rules.max_detections]
    return [entry[:4] for entry in best]


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.booleans(), st.sampled_from([0.1, 0.45, 0.9]))
def test_it_is_what_the_plain_way_gives(seed: int, count: int, agnostic: bool, iou: float) -> None:
    random = np.random.default_rng(seed)
    distinct = iter((random.permutation(4 * count) / 256).tolist())  # in float32 too

    def found_in(left: int, top: int, right: int, bottom: int) -> list[tuple[Box, float, int]]:
        middles = random.uniform((left, top), (right, bottom), (count, 2))
        half = random.uniform(3, 20, (count, 2))
        low = np.maximum(middles - half, (left, top)).round(1)
        high = np.minimum(middles + half, (right, bottom)).round(1)
        kinds = random.integers(0, 2, count).tolist()
        return [
            ((*a, *b), next(distinct), kind)
            for a, b, kind in zip(low.tolist(), high.tolist(), kinds, strict=True)
            if b[0] - a[0] > 2 and b[1] - a[1] > 2
        ]

    corner = Region(500, 320, 600, 400, 1, 0, 0, 50, 40)
    full = found_in(0, 0, FRAME[1], FRAME[0])
    regions = [(region, found_in(*region[:4])) for region in (LEFT, RIGHT._replace(canvas=2), corner)]
    rules = FusionRules(0.2, iou, 25, class_agnostic=agnostic)
    got, expected = fuse(full, regions, rules=rules), reference(full, regions, rules)
    assert got.origins.tolist() == [origin for _, _, _, origin in expected]
    assert got.class_ids.tolist() == [kind for _, _, kind, _ in expected]
    np.testing.assert_allclose(got.boxes, np.reshape([box for box, *_ in expected], (-1, 4)), atol=0.02)
    np.testing.assert_allclose(got.scores, [score for _, score, _, _ in expected], atol=1e-6)


def weighted(iou: float = 0.5) -> FusionRules:
    return FusionRules(0.1, iou, 100, kind="weighted")


def test_weighted_boxes_are_the_mean_by_score_of_what_lies_on_them() -> None:
    entries = [((140, 120, 170, 150), 0.6, 0), ((144, 120, 174, 150), 0.3, 0), ((105, 105, 115, 115), 0.5, 0)]
    found = fuse(regions=[(LEFT, entries)], rules=weighted())
    mean = 140 + 4 * 0.3 / 0.9
    np.testing.assert_allclose(found.boxes, [(mean, 120, mean + 30, 150), (105, 105, 115, 115)], atol=PIXEL)
    np.testing.assert_allclose(found.scores, [0.6, 0.5], atol=1e-6)


def test_a_part_has_no_say_in_the_mean_of_a_whole() -> None:
    near_part: Box = (185, 120, 200, 150)
    found = fuse(
        regions=[(LEFT, [(near_part, 0.9, 0)]), (RIGHT, [((185, 120, 205, 150), 0.4, 0)])],
        rules=weighted(0.3),
    )
    np.testing.assert_allclose(found.boxes, [(185, 120, 205, 150)], atol=PIXEL)


def test_weighted_fusion_gives_finite_boxes_at_every_threshold() -> None:
    entries = [((140, 120, 170, 150), 0.6, 0), ((144, 120, 174, 150), 0.3, 0)]
    for iou in (0.0, 0.99, 1.0):
        boxes = fuse(regions=[(LEFT, entries)], rules=weighted(iou)).boxes
        assert len(boxes) == (1 if iou == 0 else 2)
        assert np.isfinite(boxes).all()
