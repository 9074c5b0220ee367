"""What the aerial pipeline may take: milliseconds from a budget, and no more memory than it began with."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from blob_detector import BlobSession, blob_pipeline, density_source, frame_with

from tercelet.runtime.pipelines import aerial_state
from tercelet.runtime.planning.grid import plan_grid

Box = tuple[int, int, int, int]
# What Python itself may keep between two looks at the memory (counters, a longer deque of times).
NOISE_BYTES = 24_000
FRAME = frame_with(
    512, 768, *((x, y, x + 12, y + 10) for x in (100, 130, 160, 500, 530) for y in (80, 106, 300, 326))
)
FINE = {"size": (128, 128), "object_px": 8.0}


class FakeClock:
    """Time that passes only when the detector runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, session: BlobSession, *, each_ms: float) -> None:
        self.now = 0.0
        self.each_ms = each_ms
        session.on_run = self._pass
        monkeypatch.setattr(aerial_state, "perf_counter", lambda: self.now)

    def _pass(self, count: int) -> None:
        self.now += count * self.each_ms / 1e3


SCATTERED: tuple[Box, ...] = tuple(
    (x, y, x + 16, y + 14) for x in range(10, 1880, 75) for y in range(10, 1050, 70)
)


# Nine dense places, which take more canvases than a small budget buys.
CROWDED = frame_with(
    1080,
    1920,
    *(
        (x + 24 * i, y + 24 * j, x + 24 * i + 14, y + 24 * j + 12)
        for x in (100, 800, 1500)
        for y in (100, 450, 800)
        for i in range(8)
        for j in range(8)
    ),
)


@pytest.mark.parametrize("plan", ["canvas", "grid"])
@pytest.mark.parametrize(("batch", "is_flexible"), [(1, False), (16, True)])
def test_a_budget_is_never_exceeded_by_more_than_a_canvas(
    monkeypatch: pytest.MonkeyPatch, plan: str, batch: int, is_flexible: bool
) -> None:
    tiles = len(plan_grid(1080, 1920, canvas=(160, 160)).regions)
    session = BlobSession(batch=batch, is_flexible=is_flexible)
    clock = FakeClock(monkeypatch, session, each_ms=10)
    frame = frame_with(1080, 1920, *SCATTERED) if plan == "grid" else CROWDED
    with blob_pipeline(
        session, plan=plan, size=(160, 160), object_px=14.0, canvases=40, budget_ms=75.0
    ) as detect:
        for number in range(40):
            clock.each_ms = 10 if number < 15 else 15
            before = session.canvases
            report = detect(frame).report
            assert report is not None
            assert report.budget_ms == 75
            if number:
                assert session.canvases - before == report.inferences
            if number < 15 or number > 33:  # the slower machine is believed after a few frames
                spent = report.inferences * clock.each_ms
                assert spent <= 75 + clock.each_ms
                assert spent > 75 - 3 * clock.each_ms
            assert report.plan.limit < 40
            if plan == "grid":
                assert len(report.plan.left_out) == tiles - len(report.plan.regions) > 0
            else:
                assert report.plan.covered < report.plan.expected


def test_a_budget_below_the_full_frame_leaves_the_full_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    session = BlobSession()
    FakeClock(monkeypatch, session, each_ms=10)
    with blob_pipeline(session, budget_ms=5.0, **FINE) as detect:
        for _ in range(3):
            report = detect(FRAME).report
            assert report is not None
            assert (report.inferences, report.plan.limit) == (1, 0)
            assert report.predicted_ms is not None
            assert report.predicted_ms > 5


@pytest.mark.parametrize(
    ("plan", "evidence"),
    [
        ("canvas", ("full", "previous")),
        ("canvas", ("density",)),
        ("grid", ("full",)),
        ("dmnet", ("density",)),
    ],
)
def test_memory_does_not_grow_from_frame_to_frame(plan: str, evidence: tuple[str, ...]) -> None:
    with blob_pipeline(
        BlobSession(batch=4, candidates=64),
        density=density_source(),
        plan=plan,
        evidence=evidence,
        canvases=4,
        object_px=8.0,
    ) as detect:
        tracemalloc.start()
        try:
            for _ in range(26):  # until all that is remembered of the last frames was made under watch
                detect(FRAME)
            gc.collect()  # what Python keeps for its next tuples too
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(50):
                detect(FRAME)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < NOISE_BYTES
