"""Density ground truth: upstream's maps in parity mode, and none of its slips otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_cases import load_case

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import VisDroneAnnotation, read_visdrone_annotation
from tercelet.evaluation.datasets.density_truth import (
    closest_sigma,
    counted_objects,
    density_truth,
    gaussian_row,
    nearest_distances,
    object_points,
    object_sigmas,
    quarter_density,
    upstream_objects,
)

# Sums of float32 values; the issue allows 2e-4.
TOLERANCE = 1e-6
CASES = ("c0", "c1", "c2")


def annotated(*lines: Sequence[int]) -> VisDroneAnnotation:
    """From left, top, width, height and, where they are not 1 4 0 0, the other four columns."""
    rows = [[*line, *(1, 4, 0, 0)[len(line) - 4 :]] for line in lines]
    table = np.array(rows, np.int64).reshape(-1, 8)
    boxes = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1).astype(np.float64)
    return VisDroneAnnotation(boxes, *table[:, 4:].T)


def fixture_annotation(folder: Path, content: bytes) -> VisDroneAnnotation:
    path = folder / "a.txt"
    path.write_bytes(content)
    return read_visdrone_annotation(path)


@pytest.mark.parametrize("case", CASES)
def test_parity_mode_gives_upstreams_points_and_maps(shared: Path, tmp_path: Path, case: str) -> None:
    _, _, inputs, outputs = load_case(shared, "dmn_density_gt")
    annotation = fixture_annotation(tmp_path, bytes(inputs[f"{case}.anno"]))
    height, width = inputs[f"{case}.hw"].tolist()
    for mode in ("train", "val"):
        counted = upstream_objects(annotation, mode=mode)  # type: ignore[arg-type]
        points = object_points(annotation, counted, height=height, width=width)
        np.testing.assert_array_equal(points, outputs[f"{case}.dots_{mode}"])
    points = outputs[f"{case}.dots_train"].astype(np.float64)
    np.testing.assert_allclose(nearest_distances(points), outputs[f"{case}.nn_dist"], rtol=1e-12)
    for method in (1, 2, 3):
        made = density_truth(annotation, height=height, width=width, method=method, parity=True)  # type: ignore[arg-type]
        expected = outputs[f"{case}.density_m{method}"]
        assert np.abs(made - expected).max() <= TOLERANCE * max(1.0, float(np.abs(expected).max()))
        assert made.dtype == np.float32


@pytest.mark.parametrize("case", CASES)
def test_the_corrected_map_is_upstreams_with_its_last_row_and_column(
    shared: Path, tmp_path: Path, case: str
) -> None:
    _, _, inputs, outputs = load_case(shared, "dmn_density_gt")
    annotation = fixture_annotation(tmp_path, bytes(inputs[f"{case}.anno"]))
    height, width = inputs[f"{case}.hw"].tolist()
    made = density_truth(annotation, height=height, width=width, drop_score0=False)
    np.testing.assert_allclose(made, outputs[f"{case}.density_m3_fullclip"], atol=TOLERANCE)


def test_kernels_and_the_choice_of_a_sigma_are_upstreams(shared: Path) -> None:
    _, _, _, outputs = load_case(shared, "dmn_density_gt")
    for name in ("0.0", "0.025", "0.5", "1.0", "2.225"):
        row = gaussian_row(float(name))
        np.testing.assert_allclose(np.outer(row, row), outputs[f"kernel_{name}"], atol=1e-15)
    row = gaussian_row(15.0)
    np.testing.assert_allclose(np.outer(row, row)[60], outputs["kernel_15_row"], atol=1e-15)
    np.testing.assert_array_equal(closest_sigma(outputs["closest_sigma_q"]), outputs["closest_sigma"])


def test_a_quarter_map_is_sampled_as_mcnn_is_trained(shared: Path) -> None:
    _, _, inputs, outputs = load_case(shared, "dmn_mcnn")
    np.testing.assert_allclose(quarter_density(inputs["gt_full"]), outputs["gt_down"], atol=1e-7)
    with pytest.raises(InputError, match=r"at least 4x4 pixels, got \(3, 9\)"):
        quarter_density(np.zeros((3, 9)))


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("lines", [[], [(0, 0, 50, 50, 0, 0)], [(5, 5, 9, 9, 1, 11)], [(5, 5, 0, 9)]])
def test_a_frame_without_objects_is_a_map_of_zeros_where_upstream_fails(
    lines: list[Sequence[int]], parity: bool
) -> None:
    made = density_truth(annotated(*lines), height=40, width=60, parity=parity)
    assert (made.shape, made.dtype, float(made.max())) == ((40, 60), np.float32, 0.0)


def test_the_last_row_and_column_are_not_lost() -> None:
    annotation = annotated((90, 70, 20, 20))
    made = density_truth(annotation, height=81, width=101)
    upstream = density_truth(annotation, height=81, width=101, parity=True)
    assert made[-1].max() > 0
    assert made[:, -1].max() > 0
    assert upstream[-1].max() == upstream[:, -1].max() == 0
    np.testing.assert_array_equal(made[:-1, :-1], upstream[:-1, :-1])


def test_an_object_at_the_last_pixel_with_sigma_zero_stays() -> None:
    # Upstream's assertion fails there: the slice is empty.
    annotation = annotated((59, 39, 2, 2))
    made = density_truth(annotation, height=40, width=60, sigma=0.0)
    assert (made[39, 59], made.sum()) == (1.0, 1.0)
    assert density_truth(annotation, height=40, width=60, sigma=0.0, parity=True).sum() == 0


def test_the_class_is_no_third_coordinate() -> None:
    points = np.array([[10, 10, 0], [13, 14, 9], [10, 18, 0]], np.int64)
    assert object_sigmas(points, method=2).tolist() == [5.0, 5.0, 5.0]
    upstream = object_sigmas(points, method=2, parity=True)
    np.testing.assert_allclose(upstream, [8.0, closest_sigma(np.array([np.sqrt(106)]))[0], 8.0])


def test_a_neighbour_that_is_not_there_does_not_widen_an_object() -> None:
    points = np.array([[10, 10, 0], [40, 10, 0]], np.int64)
    assert object_sigmas(points, method=1).tolist() == [3.0, 3.0]
    assert object_sigmas(points, method=1, parity=True).tolist() == [20.0, 20.0]
    assert object_sigmas(points[:1], method=1).tolist() == [15.0]
    assert object_sigmas(points[:0], method=1).tolist() == []
    assert object_sigmas(points, method=1, min_sigma=7.0).tolist() == [7.0, 7.0]


@pytest.mark.parametrize(("score", "train", "val"), [(0, 1, 0), (1, 1, 1)])
def test_upstream_heeds_the_score_in_one_split_and_the_default_in_every_one(
    score: int, train: int, val: int
) -> None:
    annotation = annotated((20, 20, 10, 10, score, 4))
    for mode, expected in (("train", train), ("test", train), ("val", val)):
        counted = upstream_objects(annotation, mode=mode)  # type: ignore[arg-type]
        assert int(counted.sum()) == expected
    assert int(counted_objects(annotation).sum()) == score
    assert int(counted_objects(annotation, drop_score0=False).sum()) == 1


def test_heavy_occlusion_is_column_eight_and_stays_unless_it_is_dropped() -> None:
    annotation = annotated((20, 20, 10, 10, 1, 4, 0, 2), (40, 20, 10, 10, 1, 4, 2, 0))
    assert counted_objects(annotation).tolist() == [True, True]
    assert counted_objects(annotation, drop_heavy_occlusion=True).tolist() == [False, True]
    # Upstream looks for a 2 in column seven, the truncation, where the format has none.
    assert upstream_objects(annotation, mode="val").tolist() == [True, False]
    assert density_truth(annotation, height=99, width=99, drop_heavy_occlusion=True).sum() < 1.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, "at least 1x1 pixels, got 0x60"),
        ({"method": 4}, "method: expected 1, 2 or 3, got 4"),
        ({"sigma": -1.0}, "sigma: expected a standard deviation of 0 pixels or more"),
        ({"sigma": float("nan")}, "sigma: expected"),
        ({"parity": True, "preserve_count": True}, "parity: expected .* unchanged"),
        ({"parity": True, "drop_score0": False}, "parity: expected .* unchanged"),
    ],
)
def test_an_impossible_option_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        density_truth(annotated(), **{"height": 40, "width": 60, **options})  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(
    corners=st.lists(st.tuples(st.integers(-30, 130), st.integers(-30, 90)), max_size=8),
    sigma=st.floats(0.1, 30.0),
    method=st.sampled_from([1, 2, 3]),
)
def test_every_object_counts_once_where_the_count_is_preserved(
    corners: list[tuple[int, int]], sigma: float, method: int
) -> None:
    annotation = annotated(*[(x, y, 20, 10) for x, y in corners])
    options = {"height": 80, "width": 120, "sigma": sigma, "method": method}
    kept = density_truth(annotation, preserve_count=True, **options)  # type: ignore[arg-type]
    assert kept.sum(dtype=np.float64) == pytest.approx(len(corners), abs=1e-4)
    lost = density_truth(annotation, **options)  # type: ignore[arg-type]
    assert lost.sum(dtype=np.float64) <= len(corners) + 1e-4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60), axes=st.sampled_from([2, 3]))
def test_the_nearest_are_those_that_a_search_one_by_one_finds(seed: int, count: int, axes: int) -> None:
    points = np.random.default_rng(seed).integers(0, 20, (count, axes)).astype(float)
    found = nearest_distances(points)
    for index, point in enumerate(points):
        distances = sorted(float(np.sqrt(((point - other) ** 2).sum())) for other in points)
        expected = (distances + [np.inf] * 4)[:4]
        np.testing.assert_allclose(found[index], expected, rtol=1e-12)
