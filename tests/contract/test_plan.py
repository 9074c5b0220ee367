"""Plans and what is told of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tercelet.contract.detections import Detections
from tercelet.contract.plan import PLAN_NAMES, AerialReport, Plan, Region, canvases_of, plan_named

REGION = Region(10, 20, 110, 70, 1, 0, 4, 200, 100, mass=2.5)


def test_a_plan_of_nothing_needs_no_canvas() -> None:
    plan = Plan("canvas")
    assert canvases_of(plan.regions) == 0
    assert plan.record() == {
        "name": "canvas", "canvases": 0, "limit": 0, "shares_full": False, "threshold": None,
        "expected": 0.0, "covered": 0.0, "regions": [], "left_out": [],
    }  # fmt: skip


def test_regions_count_the_canvases_up_to_the_last_one() -> None:
    assert canvases_of([REGION._replace(canvas=0)]) == 1
    assert canvases_of([REGION._replace(canvas=3), REGION._replace(canvas=0)]) == 4


def test_the_scale_of_a_region_is_the_mean_of_both_axes() -> None:
    assert REGION.scale == pytest.approx(2)
    assert REGION._replace(width=100, height=200).scale == pytest.approx(2)


def test_plans_of_equal_parts_are_equal() -> None:
    parts = {"regions": (REGION,), "canvases": 2, "limit": 4, "left_out": ((0, 0, 5, 5),)}
    assert Plan("grid", **parts) == Plan("grid", **parts)
    assert Plan("grid", **parts) != Plan("canvas", **parts)
    assert Plan("grid", **parts) != Plan("grid", **{**parts, "regions": (REGION._replace(x=1),)})


def test_the_record_of_a_report_holds_the_plan_and_only_what_there_was() -> None:
    plan = Plan("canvas", (REGION,), 2, 4, 0.125, 5.0, 2.5, ((0, 0, 5, 5),))
    record = AerialReport(plan, inferences=3, pixels=1200, evidence=("full", "density")).record()
    assert record["regions"] == [{"box": [10, 20, 110, 70], "canvas": 1, "at": [0, 4, 200, 104]}]
    assert (record["left_out"], record["threshold"]) == ([[0, 0, 5, 5]], 0.125)
    assert (record["inferences"], record["pixels"]) == (3, 1200)
    assert record["evidence"] == ["full", "density"]
    assert not {"counted", "budget_ms", "predicted_ms"} & set(record)
    record = AerialReport(plan, 3, 1200, counted=7.12345, budget_ms=50.0, predicted_ms=41.0).record()
    assert (record["counted"], record["budget_ms"], record["predicted_ms"]) == (7.123, 50.0, 41.0)
    assert json.loads(json.dumps(record)) == record


def test_only_the_names_of_plans_are_plans() -> None:
    assert [plan_named(name) for name in PLAN_NAMES] == list(PLAN_NAMES)
    assert plan_named("Canvas") is None
    assert plan_named("") is None


def test_detections_of_a_plan_tell_where_each_was_found() -> None:
    found = Detections(
        boxes=np.array([[0, 0, 2, 2], [1, 1, 3, 3]], np.float32),
        scores=np.array([0.75, 0.5], np.float32),
        class_ids=np.zeros(2, np.int64),
        labels=("cat",),
        origins=np.array([-1, 4]),
    )
    first, second = found.records()
    assert first["source"] == "full"
    assert "region" not in first
    assert (second["source"], second["region"]) == ("region", 4)
