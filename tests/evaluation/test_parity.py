"""Parity numbers: one-to-one pairing of a graph's candidates with those of its source."""

from __future__ import annotations

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.contract.session import TopCandidates
from tercelet.evaluation.parity import candidate_differences, summarise_differences

K = 200
# The perturbations below are added in float32 to coordinates up to 640: one unit there is 6e-5.
FLOAT32_PX = 1.3e-4


def _source(count: int = 2 * K, *, canvases: int = 2, classes: int = 5, seed: int = 0) -> TopCandidates:
    """Candidates on a grid-like spread of boxes, best first."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 500, (canvases, count, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(4, 120, (canvases, count, 2))), -1)
    scores = -np.sort(-rng.uniform(0.01, 1, (canvases, count)), axis=1)
    class_ids = rng.integers(0, classes, (canvases, count))
    return TopCandidates(boxes.astype(np.float32), scores.astype(np.float32), class_ids)


def _take(source: TopCandidates, index: np.ndarray) -> TopCandidates:
    return TopCandidates(source.boxes[:, index], source.scores[:, index], source.class_ids[:, index])


def test_lists_without_candidates_differ_by_nothing() -> None:
    empty = TopCandidates(
        np.zeros((1, 0, 4), np.float32), np.zeros((1, 0), np.float32), np.zeros((1, 0), int)
    )
    result = candidate_differences(empty, empty)
    assert (len(result.boxes_px), result.missing, result.unpaired, result.canvases) == (0, 0, 0, 1)
    parity = summarise_differences([result])
    assert (parity.candidates, parity.boxes_px_max, parity.boxes_px_p999) == (0, 0.0, 0.0)


@pytest.mark.parametrize("classes", [1, 5])
def test_the_order_of_the_lists_does_not_matter(classes: int) -> None:
    source = _source(classes=classes)
    result = candidate_differences(source, _take(source, np.random.default_rng(1).permutation(K)))
    assert len(result.boxes_px) == 2 * K
    assert result.boxes_px.max() == 0
    assert result.scores.max() == 0
    assert (result.missing, result.unpaired) == (0, 0)


def test_perturbations_are_measured_as_they_are() -> None:
    source = _source()
    boxes, scores = source.boxes[:, :K].copy(), source.scores[:, :K].copy()
    boxes[0, 17, 2] += 0.25
    scores[1, 3] -= 0.004
    result = candidate_differences(source, TopCandidates(boxes, scores, source.class_ids[:, :K]))
    assert result.boxes_px.max() == pytest.approx(0.25, abs=FLOAT32_PX)
    assert np.count_nonzero(result.boxes_px > FLOAT32_PX) == 1
    assert result.scores.max() == pytest.approx(0.004, abs=1e-6)
    assert np.count_nonzero(result.scores > 1e-6) == 1
    assert result.missing == 0


def test_a_candidate_swapped_across_the_cut_off_is_not_missing() -> None:
    source = _source()
    source.scores[:, K] = source.scores[:, K - 1] - np.float32(1e-5)
    index = np.r_[0 : K - 1, K]
    result = candidate_differences(source, _take(source, index))
    assert result.missing == 0
    assert result.boxes_px.max() == 0


def test_dropped_candidates_are_counted_as_missing() -> None:
    source = _source()
    index = np.delete(np.arange(K + 3), [4, 50, 90])
    result = candidate_differences(source, _take(source, index))
    assert result.missing == 3 * 2


def test_a_box_moved_far_away_is_missing_and_its_difference_shows() -> None:
    source = _source(classes=1)
    boxes = source.boxes[:, :K].copy()
    boxes[0, 0] += 2000
    result = candidate_differences(
        source, TopCandidates(boxes, source.scores[:, :K], source.class_ids[:, :K])
    )
    assert result.missing == 1
    assert result.boxes_px.max() > 1000


def test_a_changed_class_is_unpaired_and_missing() -> None:
    source = _source()
    class_ids = source.class_ids[:, :K].copy()
    class_ids[0, 9] = 77
    result = candidate_differences(
        source, TopCandidates(source.boxes[:, :K], source.scores[:, :K], class_ids)
    )
    assert (result.missing, result.unpaired) == (1, 1)
    assert summarise_differences([result]).missing == 2


def test_equal_boxes_are_told_apart_by_their_scores() -> None:
    boxes = np.tile(np.float32([10, 10, 50, 50]), (1, 4, 1))
    class_ids = np.zeros((1, 4), np.int64)
    source = TopCandidates(boxes, np.float32([[0.9, 0.6, 0.5, 0.1]]), class_ids)
    graph = TopCandidates(boxes[:, :3], np.float32([[0.5, 0.9, 0.6]]), class_ids[:, :3])
    result = candidate_differences(source, graph)
    assert result.scores.max() == 0
    assert result.missing == 0
    dropped = candidate_differences(
        source, TopCandidates(boxes[:, :2], graph.scores[:, :2], class_ids[:, :2])
    )
    assert dropped.missing == 1


def test_one_source_candidate_serves_one_graph_candidate_only() -> None:
    source = _source(classes=1, canvases=1)
    doubled = np.r_[0, 0, 2:K]
    result = candidate_differences(source, _take(source, doubled))
    assert result.missing == 1
    assert result.boxes_px.max() > 1


def test_a_margin_below_the_cut_off_keeps_near_ties_out_of_the_missing() -> None:
    source = _source(canvases=1)
    source.scores[0, :] = np.linspace(0.9, 0.5, 2 * K)
    source.scores[0, K - 2] = source.scores[0, K - 1] + np.float32(1e-4)
    index = np.r_[0 : K - 2, K - 1]
    assert candidate_differences(source, _take(source, index)).missing == 0
    assert candidate_differences(source, _take(source, index), margin=1e-6).missing == 1


def test_a_crowded_single_class_list_is_paired_exactly() -> None:
    source = _source(8192, canvases=1, classes=1)
    tied = TopCandidates(np.zeros_like(source.boxes), np.full_like(source.scores, 0.5), source.class_ids)
    for candidates in (source, tied):
        graph = _take(candidates, np.random.default_rng(2).permutation(4096))
        result = candidate_differences(candidates, graph)
        assert result.boxes_px.max() == 0
        assert result.missing == 0 or candidates is tied


def test_canvases_must_agree() -> None:
    with pytest.raises(InputError, match=r"same canvases.*got 2 and 1"):
        candidate_differences(_source(), _source(canvases=1))


def test_the_summary_holds_maxima_and_percentiles() -> None:
    source = _source()
    boxes = source.boxes[:, :K] + np.float32(0.0625)
    boxes[0, 0] += np.float32(0.25)
    result = candidate_differences(
        source, TopCandidates(boxes, source.scores[:, :K], source.class_ids[:, :K])
    )
    summary = summarise_differences([result] * 3)
    assert (summary.canvases, summary.candidates, summary.missing) == (6, 6 * K, 0)
    assert summary.boxes_px_max == pytest.approx(0.3125, abs=FLOAT32_PX)
    assert summary.boxes_px_p999 == pytest.approx(np.percentile(result.boxes_px.repeat(3), 99.9))
    assert summary.scores_max == summary.scores_p999 == 0


def test_nan_is_not_taken_for_agreement() -> None:
    source = _source(canvases=1)
    boxes = source.boxes[:, :K].copy()
    boxes[0, 5, 1] = np.nan
    result = candidate_differences(
        source, TopCandidates(boxes, source.scores[:, :K], source.class_ids[:, :K])
    )
    summary = summarise_differences([result])
    assert not summary.boxes_px_max <= 1e9
    assert summary.missing >= 1
