"""Packing, tiles and the budget: whatever comes, nothing overlaps and nothing is exceeded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercelet.runtime.planning.budget import CostModel
from tercelet.runtime.planning.grid import plan_grid, region_on_own_canvas, tile_starts
from tercelet.runtime.planning.packing import pack

SIZES = st.lists(st.tuples(st.integers(1, 140), st.integers(1, 110)), max_size=40)


def test_nothing_to_pack_needs_no_place() -> None:
    assert pack([], canvas=(100, 100), limit=3, gutter=4) == []


@settings(max_examples=120, deadline=None)
@given(SIZES, st.integers(0, 5), st.integers(0, 16), SIZES)
def test_packed_rectangles_keep_their_distance_and_stay_inside(
    sizes: list[tuple[int, int]], limit: int, gutter: int, then: list[tuple[int, int]]
) -> None:
    places = pack(sizes, canvas=(100, 130), limit=limit, gutter=gutter, then=then)
    assert len(places) == len(sizes) + len(then)
    placed = [(*place, *size) for place, size in zip(places, sizes + then, strict=True) if place is not None]
    for canvas, x, y, width, height in placed:
        assert 0 <= canvas < limit
        assert x >= 0
        assert y >= 0
        assert x + width <= 130
        assert y + height <= 100
    for index, (canvas, x, y, width, height) in enumerate(placed):
        for other_canvas, other_x, other_y, other_width, other_height in placed[:index]:
            if canvas == other_canvas:
                gap_x = max(x - other_x - other_width, other_x - x - width)
                gap_y = max(y - other_y - other_height, other_y - y - height)
                assert max(gap_x, gap_y) >= gutter
    assert sorted({canvas for canvas, *_ in placed}) == list(range(len({canvas for canvas, *_ in placed})))
    assert places == pack(sizes, canvas=(100, 130), limit=limit, gutter=gutter, then=then)


def test_a_rectangle_as_large_as_the_canvas_fills_it_and_a_larger_one_finds_no_place() -> None:
    assert pack([(130, 100)], canvas=(100, 130), limit=1, gutter=12) == [(0, 0, 0)]
    assert pack([(131, 100), (130, 101)], canvas=(100, 130), limit=9, gutter=12) == [None, None]


def test_what_comes_then_never_takes_a_place_from_the_others() -> None:
    first = [(60, 60), (40, 90)]
    alone = pack(first, canvas=(100, 130), limit=1, gutter=4)
    assert pack(first, canvas=(100, 130), limit=1, gutter=4, then=[(129, 99)] * 3)[:2] == alone


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(0, 16), st.tuples(st.integers(1, 130), st.integers(1, 100)))
def test_what_lies_on_the_first_canvas_already_stays_free(
    sizes: list[tuple[int, int]], limit: int, gutter: int, taken: tuple[int, int]
) -> None:
    for place in pack(sizes, canvas=(100, 130), limit=limit, gutter=gutter, taken=taken):
        if place is not None and place[0] == 0:
            assert max(place[1] - taken[0], place[2] - taken[1]) >= gutter
        assert place is None or place[0] < limit


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([0.0, 0.2, 0.5]), st.sampled_from([64, 640])
)
def test_tiles_cover_the_whole_frame(height: int, width: int, overlap: float, tile: int) -> None:
    for length in (height, width):
        starts = tile_starts(length, tile=tile, overlap=overlap)
        ends = [min(start + tile, length) for start in starts]
        assert starts[0] == 0
        assert ends[-1] == length
        assert all(later <= end for later, end in zip(starts[1:], ends, strict=False))
        assert all(end - start == min(tile, length) for start, end in zip(starts, ends, strict=True))
    if (height // tile + 2) * (width // tile + 2) < 200:
        plan = plan_grid(height, width, canvas=(tile, tile), overlap=overlap)
        assert plan.canvases == len(plan.regions) == plan.limit
        assert plan.left_out == ()
        assert all((r.x, r.y) == (0, 0) and r.scale == 1 for r in plan.regions)


def test_tiles_that_are_too_many_are_left_out_and_told() -> None:
    whole = plan_grid(2160, 3840, canvas=(640, 640))
    some = plan_grid(2160, 3840, canvas=(640, 640), limit=5)
    assert some.regions == whole.regions[:5]
    assert [region[:4] for region in whole.regions[5:]] == list(some.left_out)
    assert (some.canvases, some.limit) == (5, 5)


def test_a_region_alone_on_a_canvas_is_enlarged_only_if_asked() -> None:
    box = (100, 50, 150, 75)
    plain = region_on_own_canvas(box, 2, (64, 64))
    assert (plain.canvas, plain.width, plain.height) == (2, 50, 25)
    large = region_on_own_canvas(box, 2, (64, 64), enlarge=True)
    assert (large.x, large.width, large.height) == (0, 64, 32)
    wide = region_on_own_canvas((0, 0, 1280, 64), 0, (64, 64))
    assert (wide.width, wide.height) == (64, 3)


def test_nothing_is_affordable_before_anything_was_measured() -> None:
    assert CostModel().affordable(1e6) == 0
    assert CostModel().predicted_ms(3) == 0


@pytest.mark.parametrize(("budget", "count"), [(10, 0), (24.9, 0), (25, 1), (65, 5), (1015, 100)])
def test_a_budget_buys_what_is_left_after_the_fixed_part(budget: float, count: int) -> None:
    model = CostModel()
    for _ in range(3):
        model.learn(canvases=4, canvases_ms=40, frame_ms=55)
    assert (model.fixed_ms, model.each_ms) == (15, 10)
    assert model.affordable(budget) == count
    if count:
        assert model.predicted_ms(count) <= budget


def test_the_cost_follows_a_machine_that_gets_slower_and_quicker_again() -> None:
    model = CostModel()
    for each in [10] * 30 + [30] * 30:
        model.learn(canvases=2, canvases_ms=2 * each, frame_ms=2 * each + 5)
    assert model.each_ms == 30
    for _ in range(30):
        model.learn(canvases=2, canvases_ms=20, frame_ms=25)
    assert model.each_ms == 10


def test_one_slow_frame_does_not_change_the_plan() -> None:
    model = CostModel()
    for each in [10] * 12 + [500]:
        model.learn(canvases=1, canvases_ms=each, frame_ms=each + 5)
    assert model.each_ms == 10
