"""Plan canvas and its rectangles: properties that hold for whatever the evidence says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tercelet.contract.geometry import letterbox_for
from tercelet.contract.plan import Plan, canvases_of
from tercelet.runtime.planning.canvas import CanvasSettings, found_share, plan_canvas
from tercelet.runtime.planning.evidence import Evidence
from tercelet.runtime.planning.rectangles import CellBox, Prices, rectangles_of
from tercelet.runtime.planning.windows import Slot, WindowRules, best_windows

GUTTER = CanvasSettings().gutter
# Masses are float32, those of regions rounded to four places.
MASS = 1e-3
# Frames: smaller than a canvas, odd, of one pixel, narrow, usual ones, and larger than 8K.
FRAMES = [(1, 1), (1, 4000), (37, 53), (360, 640), (1079, 1913), (2160, 3840), (4320, 7680), (9001, 12007)]


def evidence_of(seed: int, frame: tuple[int, int], count: int, *, clusters: int, largest: float) -> Evidence:
    """`count` objects of random sizes around some centres, as weak candidates would show them."""
    random, (height, width) = np.random.default_rng(seed), frame
    evidence = Evidence(height, width)
    evidence.start()
    centres = random.uniform(0, (width, height), (clusters, 2))
    middles = centres[random.integers(0, clusters, count)] + random.normal(0, 0.05, (count, 2)) * max(frame)
    sides = np.exp(random.uniform(np.log(largest / 5), np.log(largest), (count, 1)))
    boxes = np.concatenate((middles - sides / 2, middles + sides / 2), axis=1).astype(np.float32)
    evidence.add_boxes(boxes, np.sort(random.uniform(0.05, 1, count))[::-1].astype(np.float32), power=1)
    evidence.smooth()
    return evidence


def check(
    plan: Plan,
    evidence: Evidence,
    canvas: tuple[int, int],
    limit: int,
    *,
    taken: tuple[int, int] | None = None,
) -> None:
    """What every plan owes to those who execute it."""
    high, wide = canvas
    assert plan.shares_full == (taken is not None)
    assert plan.canvases == max(canvases_of(plan.regions) - plan.shares_full, 0) <= max(limit, 0)
    for r in plan.regions:
        assert 0 <= r.left < r.right <= evidence.width
        assert 0 <= r.top < r.bottom <= evidence.height
        assert r.width > 0
        assert r.height > 0
        assert min(r.x, r.y, r.canvas) >= 0
        assert r.x + r.width <= wide
        assert r.y + r.height <= high
    for index, r in enumerate(plan.regions):
        for other in plan.regions[:index]:
            if r.canvas == other.canvas:
                across = max(r.x - other.x - other.width, other.x - r.x - r.width)
                down = max(r.y - other.y - other.height, other.y - r.y - r.height)
                assert max(across, down) >= GUTTER
        if taken is not None and r.canvas == 0:
            assert max(r.x - taken[0], r.y - taken[1]) >= GUTTER
    for left, top, right, bottom in plan.left_out:
        assert 0 <= left < right <= evidence.width
        assert 0 <= top < bottom <= evidence.height
    assert plan.expected == pytest.approx(float(evidence.mass.sum()), rel=1e-5)
    assert plan.covered == pytest.approx(sum(r.mass for r in plan.regions), abs=MASS)
    assert plan.covered <= plan.expected + MASS * (1 + len(plan.regions))
    assert plan.record()["canvases"] == plan.canvases


def test_no_evidence_and_no_canvas_give_an_empty_plan() -> None:
    nothing = Evidence(1080, 1920)
    assert plan_canvas(nothing, canvas=(640, 640), limit=4) == Plan("canvas", limit=4)
    something = evidence_of(0, (1080, 1920), 50, clusters=3, largest=40)
    plan = plan_canvas(something, canvas=(640, 640), limit=0)
    assert (plan.regions, plan.canvases, plan.left_out) == ((), 0, ((0, 0, 1920, 1080),))
    assert plan.expected > 0


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FRAMES),
    st.integers(1, 400),
    st.integers(1, 12),
    st.sampled_from([8.0, 60.0, 900.0]),
    st.sampled_from([(640, 640), (384, 640), (64, 64), (32, 96)]),
    st.integers(1, 20),
    st.sampled_from([None, None, 0.0, 0.01, 5.0]),
)
def test_a_plan_keeps_its_promises(
    seed: int,
    frame: tuple[int, int],
    count: int,
    clusters: int,
    largest: float,
    canvas: tuple[int, int],
    limit: int,
    threshold: float | None,
) -> None:
    evidence = evidence_of(seed, frame, count, clusters=clusters, largest=largest)
    before = evidence.mass.copy()
    plan = plan_canvas(evidence, canvas=canvas, limit=limit, threshold=threshold)
    check(plan, evidence, canvas, limit)
    assert np.array_equal(evidence.mass, before)
    again = evidence_of(seed, frame, count, clusters=clusters, largest=largest)
    assert plan_canvas(again, canvas=canvas, limit=limit, threshold=threshold) == plan


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FRAMES[3:]),
    st.sampled_from([(640, 640), (384, 640), (64, 64)]),
    st.integers(0, 6),
)
def test_beside_the_full_frame_regions_keep_their_distance_too(
    seed: int, frame: tuple[int, int], canvas: tuple[int, int], limit: int
) -> None:
    evidence = evidence_of(seed, frame, 60, clusters=3, largest=60)
    place = letterbox_for(*frame, height=canvas[0], width=canvas[1])
    taken = place.width, place.height
    plan = plan_canvas(evidence, canvas=canvas, limit=limit, taken=taken)
    check(plan, evidence, canvas, limit, taken=taken)
    assert plan_canvas(evidence, canvas=canvas, limit=limit, taken=taken) == plan


def test_what_the_full_frame_leaves_of_its_canvas_is_used() -> None:
    evidence = evidence_of(5, (1080, 1920), 20, clusters=1, largest=60)
    plan = plan_canvas(evidence, canvas=(640, 640), limit=0, taken=(640, 360))
    assert plan.regions
    assert (plan.canvases, plan.limit) == (0, 0)
    check(plan, evidence, (640, 640), 0, taken=(640, 360))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FRAMES), st.floats(0, 1), st.integers(1, 9))
def test_any_mass_and_any_size_can_be_planned(
    seed: int, frame: tuple[int, int], filled: float, limit: int
) -> None:
    random, evidence = np.random.default_rng(seed), Evidence(*frame)
    shape = evidence.mass.shape
    evidence.mass[...] = random.gamma(0.5, 1, shape) * (random.random(shape) < filled)
    evidence.size[...] = np.exp(random.uniform(0, 8, shape)) * (random.random(shape) < 0.3)
    check(plan_canvas(evidence, canvas=(640, 640), limit=limit), evidence, (640, 640), limit)


def test_one_dense_spot_fills_one_canvas_and_nothing_else_is_looked_at() -> None:
    evidence = Evidence(2160, 3840)
    middles = np.random.default_rng(0).uniform((2000, 900), (2200, 1100), (60, 2))
    boxes = np.concatenate((middles - 8, middles + 8), axis=1).astype(np.float32)
    evidence.add_boxes(boxes, np.ones(60, np.float32), power=1)
    plan = plan_canvas(evidence, canvas=(640, 640), limit=1)
    assert plan.canvases == 1
    assert plan.covered == pytest.approx(plan.expected, rel=0.01)
    for region in plan.regions:
        assert region.scale > 1
        assert 1800 < region.left < region.right < 2400
        assert 700 < region.top < region.bottom < 1300


def test_a_higher_threshold_wants_less() -> None:
    evidence = evidence_of(3, (1080, 1920), 200, clusters=5, largest=30)
    chosen = plan_canvas(evidence, canvas=(640, 640), limit=9)
    assert chosen.threshold is not None
    covered = [chosen.covered]
    for factor in (1.1, 1.3, 1e6):
        plan = plan_canvas(evidence, canvas=(640, 640), limit=9, threshold=factor * chosen.threshold)
        covered.append(plan.covered)
        assert not plan.regions or (plan.threshold or 0) >= factor * chosen.threshold
    # Other rectangles pack a little better or worse.
    assert all(later <= 1.05 * before for before, later in pairwise(covered))
    assert covered[0] > covered[2] > covered[3] == 0


def test_more_canvases_show_more_as_long_as_there_is_more() -> None:
    evidence = evidence_of(4, (2160, 3840), 400, clusters=3, largest=60)
    plans = [plan_canvas(evidence, canvas=(640, 640), limit=limit) for limit in (1, 4, 16)]
    assert plans[0].canvases == 1
    assert plans[0].covered < plans[1].covered < plans[2].covered


def test_the_share_found_grows_with_the_side_and_is_two_of_three_at_object_px() -> None:
    sides = np.array([0, 10, 40, 80, 1000], np.float32)
    share = found_share(sides, np.ones(1, np.float32), 40)
    assert share[0] == 0
    assert (np.diff(share) >= 0).all()
    assert share[2] == pytest.approx(0.632, abs=1e-3)
    assert share[-1] == pytest.approx(1)


def test_enlarging_counts_as_much_as_is_said() -> None:
    side, enlarged = np.full(1, 10, np.float32), np.full(1, 4, np.float32)
    shares = [float(found_share(side, enlarged, 40, power)[0]) for power in (0, 0.5, 1)]
    expected = [1 - np.exp(-((10 * factor / 40) ** 2)) for factor in (1, 2, 4)]
    assert shares == pytest.approx(expected, rel=1e-5)
    reduced = np.full(1, 0.5, np.float32)
    assert found_share(side, reduced, 40, 0) == found_share(side, reduced, 40, 1)


@pytest.mark.parametrize("packed", [False, True], ids=["windows", "regions"])
def test_a_detector_that_gains_from_enlarging_is_shown_larger_parts(packed: bool) -> None:
    evidence = evidence_of(5, (1080, 1920), 600, clusters=3, largest=12)
    plans = [
        plan_canvas(
            evidence,
            canvas=(640, 640),
            limit=6,
            settings=CanvasSettings(object_px=16, enlarging=power),
            threshold=0.05 if packed else None,
        )
        for power in (0.0, 1.0)
    ]
    scales = [np.mean([region.scale for region in plan.regions]) for plan in plans]
    assert 1.5 * scales[0] < scales[1]


def test_windows_of_several_scales_are_taken_where_they_bring_more() -> None:
    # A crowd of small objects, and larger ones far apart.
    crowd = np.zeros((20, 30), np.float32)
    crowd[2:6, 3:7], crowd[12::4, 2::4] = 1, 1
    few = {1.0: np.where(crowd > 0, 0.2, 0), 2.0: np.where(crowd > 0, 0.25, 0)}
    few[2.0][2:6, 3:7] = 1.0
    gains = {scale: values.astype(np.float32) for scale, values in few.items()}
    slots = [Slot(number, 0, 0, 320, 320) for number in range(2)]
    rules = WindowRules(frame=(640, 960), cell=32, least_scale=0.5, least_gain=0.1, scales=(1.0, 2.0))
    alike = best_windows(gains.__getitem__, slots, rules)
    mixed = best_windows(gains.__getitem__, slots, replace(rules, is_mixed=True))
    assert {region.scale for region in alike} in ({1.0}, {2.0})
    assert [region.scale for region in mixed] == [2.0, 1.0]
    assert best_windows(gains.__getitem__, [], rules) == ()


def prices_of(rows: Sequence[float], around: float, largest: tuple[float, float]) -> Prices:
    """Of one scale a row of cells."""
    return Prices(rows, around, largest)


def wanted_of(seed: int, shape: tuple[int, int], filled: float) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(shape) < filled


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 50), st.integers(1, 80)),
    st.sampled_from([0.0, 0.02, 0.2, 0.7, 1.0]),
    st.tuples(st.floats(0.1, 80), st.floats(0.1, 80)),
    st.floats(0, 60),
    st.tuples(st.floats(10, 700), st.floats(10, 700)),
)
def test_every_wanted_cell_lies_in_exactly_one_rectangle(
    seed: int,
    shape: tuple[int, int],
    filled: float,
    scales: tuple[float, float],
    around: float,
    largest: tuple[float, float],
) -> None:
    wanted = wanted_of(seed, shape, filled)
    prices = prices_of(np.linspace(*scales, shape[0]).tolist(), around, largest)
    boxes = rectangles_of(wanted, prices)
    times = np.zeros(shape, int)
    for box in boxes:
        assert 0 <= box.left < box.right <= shape[1]
        assert 0 <= box.top < box.bottom <= shape[0]
        times[box.top : box.bottom, box.left : box.right] += 1
        inside = wanted[box.top : box.bottom, box.left : box.right]
        for border in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert border.any()
        assert prices.fits(box) or (box.right - box.left, box.bottom - box.top) == (1, 1)
    assert times.max(initial=0) <= 1
    assert times[wanted].all()
    assert rectangles_of(wanted, prices) == boxes


def test_two_far_cells_are_two_rectangles_and_two_near_ones_are_one() -> None:
    prices = prices_of([10.0] * 20, 20, (400, 400))
    wanted = np.zeros((20, 30), bool)
    wanted[2, 3] = wanted[2, 4] = True
    assert rectangles_of(wanted, prices) == [CellBox(3, 2, 5, 3)]
    wanted[17, 28] = True
    assert rectangles_of(wanted, prices) == [CellBox(3, 2, 5, 3), CellBox(28, 17, 29, 18)]


def test_what_does_not_fit_is_cut_until_it_does() -> None:
    prices = prices_of([10.0] * 8, 2, (22, 22))
    boxes = rectangles_of(np.ones((8, 8), bool), prices)
    assert all(prices.fits(box) for box in boxes)
    assert len(boxes) == 16
