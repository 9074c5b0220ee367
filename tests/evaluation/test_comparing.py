"""tercelet compare: the same detector twice, a checkpoint and its bundle, and detectors that differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import lively_detector
from numpy.typing import NDArray

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Postprocess, Provenance
from tercelet.contract.session import TopCandidates
from tercelet.evaluation import compare
from tercelet.evaluation.comparing import ComparisonResult, _compare_frame, _verdict
from tercelet.evaluation.comparison_text import comparison_text
from tercelet.evaluation.parity import DifferenceSummary
from tercelet.export import bundle_aerial
from tercelet.runtime.command_line import main
from tercelet.runtime.pipelines.single import SinglePipeline
from tercelet.training.checkpoint import write_checkpoint

WritePicture = Callable[..., Path]


def test_a_bundle_agrees_with_itself_to_the_last_bit(tiny_bundle: Path) -> None:
    result = compare(tiny_bundle, tiny_bundle, score=0.05, quiet=True)
    assert result.agrees
    assert len(result.frames) == 3
    assert result.matched > 0
    assert (result.min_iou, result.max_score, result.only_a, result.only_b) == (pytest.approx(1), 0, 0, 0)
    assert result.candidates is not None
    assert (result.candidates.boxes_px_max, result.candidates.scores_max, result.candidates.missing) == (
        0,
        0,
        0,
    )


def test_a_checkpoint_agrees_with_its_bundle(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    verb = ["compare", str(tiny_checkpoint), str(tiny_bundle), "--score", "0.05", "--json", str(out)]
    assert main([*verb, "--limit", "2"]) == 0
    captured = capsys.readouterr()
    assert "the same: all " in captured.out
    assert "candidates before suppression" in captured.out
    record = json.loads(out.read_text())
    assert record["agrees"]
    assert len(record["frames"]) == 2
    assert record["frames"][0]["source"] == "synthetic"
    assert record["min_iou"] >= 0.99


def test_a_bundle_that_would_look_closer_is_compared_without_that_and_the_notes_say_so(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    closer = bundle_aerial(tiny_bundle, output=tmp_path / "closer")
    out = tmp_path / "result.json"
    result = compare(tiny_bundle, closer, score=0.05, limit=1, quiet=True, json=out)
    assert result.agrees
    (note,) = result.notes
    assert note.startswith("B would look closer at parts of a frame (pipeline density_crops); compared are")
    assert f"note: {note}" in comparison_text(result).splitlines()
    assert json.loads(out.read_text())["notes"] == [note]
    (both,) = compare(closer, closer, score=0.05, limit=1, quiet=True).notes
    assert both.startswith("A and B would look closer")
    alone = compare(tiny_bundle, tiny_bundle, score=0.05, limit=1, quiet=True)
    assert alone.notes == ()
    assert "note" not in comparison_text(alone)


def test_the_official_checkpoint_and_its_bundle_find_the_same(
    yolov5n_checkpoint: Path, yolov5n_bundle: Path, shared: Path
) -> None:
    coco = shared / "data" / "coco"
    images = [coco / "bus.jpg", coco / "zidane.jpg", coco / "coco8" / "images" / "val"]
    result = compare(yolov5n_checkpoint, yolov5n_bundle, images=images, limit=4, quiet=True)
    assert result.agrees, result.reason
    assert len(result.frames) == 4
    assert result.matched >= 9
    assert result.min_iou is not None
    assert result.min_iou >= 0.99
    assert result.max_score is not None
    assert result.max_score <= 1e-3
    assert result.candidates is not None
    assert result.candidates.boxes_px_p999 <= 1e-3
    assert result.candidates.scores_p999 <= 1e-4


def test_different_labels_are_refused_by_name(tiny_bundle: Path, yolov5n_bundle: Path) -> None:
    with pytest.raises(InputError, match="got 3 and 80; class 0 is 'cat' in A and 'person' in B"):
        compare(tiny_bundle, yolov5n_bundle, quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": ["nowhere.jpg"]}, r"nowhere\.jpg: expected a picture"),
        ({"images": []}, "expected at least one frame, got none"),
        ({"limit": 0}, "limit: expected at least 1 frame"),
        ({"min_iou": 1.5}, "expected min_iou in 0..1"),
        ({"max_score": -1.0}, "max_score of 0 or more"),
        ({"images": [""]}, "expected a path, got an empty name"),
        ({"a": ""}, "a: expected a path, got an empty name"),
        ({"b": ""}, "b: expected a path, got an empty name"),
        ({"json": ""}, "--json: expected a file name"),
    ],
)
def test_impossible_requests_are_refused(tiny_bundle: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(**{"a": tiny_bundle, "b": tiny_bundle, "quiet": True, **options})


def test_frames_of_several_sources_are_counted_together(
    tiny_bundle: Path, tmp_path: Path, write_picture: WritePicture
) -> None:
    for name in ("one/a.png", "one/b.png", "c.png"):
        write_picture(tmp_path / name)
    result = compare(
        tiny_bundle, tiny_bundle, images=[tmp_path / "one", tmp_path / "c.png"], limit=2, quiet=True
    )
    assert [Path(frame.source).name for frame in result.frames] == ["a.png", "b.png"]


@pytest.fixture
def one_broken_of_three(tmp_path: Path, write_picture: WritePicture) -> Path:
    """A folder of three pictures, the first of which is none."""
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / "frames" / name)
    (tmp_path / "frames" / "a.png").write_bytes(b"<html></html>")
    return tmp_path / "frames"


def test_a_picture_that_cannot_be_read_is_told_and_counted_and_the_rest_compared(
    tiny_bundle: Path, one_broken_of_three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = one_broken_of_three.parent / "out.json"
    verb = ["compare", str(tiny_bundle), str(tiny_bundle), "--images", str(one_broken_of_three), "--quiet"]
    assert main([*verb, "--json", str(out)]) == 2
    captured = capsys.readouterr()
    assert "a.png: expected a picture, got an HTML page" in captured.err
    assert "tercelet: 1 frames could not be read, see above" in captured.err
    assert "1 frames could not be read and are left out" in captured.out
    assert "the same: " in captured.out.splitlines()[-1]
    record = json.loads(out.read_text())
    assert (record["broken"], [Path(f["source"]).name for f in record["frames"]]) == (1, ["b.png", "c.png"])


def test_a_limit_is_reached_before_what_lies_behind_it_is_read(
    tiny_bundle: Path, tmp_path: Path, write_picture: WritePicture
) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    result = compare(tiny_bundle, tiny_bundle, images=[tmp_path], limit=1, quiet=True)
    assert (len(result.frames), result.broken) == (1, 0)


def test_without_one_readable_frame_there_is_no_verdict(tiny_bundle: Path, one_broken_of_three: Path) -> None:
    for name in ("b.png", "c.png"):
        (one_broken_of_three / name).unlink()
    told: list[InputError] = []
    with pytest.raises(InputError, match="expected at least one frame, got none from"):
        compare(tiny_bundle, tiny_bundle, images=[one_broken_of_three], quiet=True, on_broken=told.append)
    assert len(told) == 1
    named = one_broken_of_three / "a.png"
    with pytest.raises(InputError, match=r"a\.png: expected a picture, got an HTML page"):
        compare(tiny_bundle, tiny_bundle, images=[named], quiet=True, on_broken=told.append)


def test_by_default_a_broken_picture_is_a_warning(tiny_bundle: Path, one_broken_of_three: Path) -> None:
    with pytest.warns(UserWarning, match=r"a\.png: expected a picture, got an HTML page"):
        assert compare(tiny_bundle, tiny_bundle, images=[one_broken_of_three], quiet=True).broken == 1


def test_a_place_for_json_that_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file for the results, got a folder"):
        compare("nowhere", "nowhere", json=tmp_path)


def test_another_network_is_told_apart_with_exit_code_1(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    provenance = Provenance(source="seeded", sha256="0" * 64, format="none", image_size=64)
    other = tmp_path / "other"
    detector = lively_detector("yolov5n", classes=3, seed=1)
    write_checkpoint(other, detector, labels=("cat", "dog", "owl"), provenance=provenance)
    assert main(["compare", str(tiny_checkpoint), str(other), "--score", "0.05", "--json", "-"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert not record["agrees"]
    assert record["only_a"] + record["only_b"] > 0
    assert record["candidates"]["missing"] > 0


class _RuleSession:
    """A network that finds the given (x1, y1, x2, y2, score, class) whatever it sees."""

    batch = 1
    backend = "rule"

    def __init__(self, rows: list[tuple[float, ...]]) -> None:
        table = np.array(rows, np.float32).reshape(1, -1, 6)
        self._found = TopCandidates(table[..., :4], table[..., 4], table[..., 5].astype(np.int64))

    def run(self, canvases: NDArray[np.uint8]) -> TopCandidates:
        return self._found

    def close(self) -> None:
        pass


SURE = (10, 10, 30, 30, 0.9, 0)


# Threshold 0.25, gate 0.001, at most two detections a frame.
@pytest.mark.parametrize(
    ("a", "b", "matched", "only_a", "only_b", "at_threshold"),
    [
        pytest.param([], [], 0, 0, 0, 0, id="nothing on either side"),
        pytest.param([SURE], [SURE], 1, 0, 0, 0, id="the same"),
        pytest.param([SURE, (40, 40, 60, 60, 0.2504, 1)], [SURE], 1, 0, 0, 1, id="A hovers above the cut"),
        pytest.param([SURE], [SURE, (40, 40, 60, 60, 0.2509, 1)], 1, 0, 0, 1, id="B hovers above the cut"),
        pytest.param([SURE, (40, 40, 60, 60, 0.252, 1)], [SURE], 1, 1, 0, 0, id="A's lies beyond the gate"),
        pytest.param([SURE], [SURE, (40, 40, 60, 60, 0.6, 1)], 1, 0, 1, 0, id="B invents one"),
        pytest.param(
            [SURE, (40, 40, 60, 60, 0.5004, 1), (0, 40, 9, 60, 0.5, 2)],
            [SURE, (0, 40, 9, 60, 0.5003, 2), (40, 40, 60, 60, 0.5, 1)],
            1, 0, 0, 2, id="near ties at the end of a full list",
        ),
    ],
)  # fmt: skip
def test_detections_near_the_cut_are_not_called_lost(
    tiny_bundle: Path, a: list, b: list, matched: int, only_a: int, only_b: int, at_threshold: int
) -> None:
    manifest = read_manifest(tiny_bundle)
    settings = Postprocess(score_threshold=0.25, iou_threshold=0.45, max_detections=2)
    first, second = (SinglePipeline(manifest, _RuleSession(rows), postprocess=settings) for rows in (a, b))
    size = (manifest.preprocess.height, manifest.preprocess.width, 3)
    result = _compare_frame(first, second, np.zeros(size, np.uint8), "made", 0, 1e-3)
    assert (result.matched, result.only_a, result.only_b) == (matched, only_a, only_b)
    assert result.at_threshold == at_threshold


SUMMARY = DifferenceSummary(
    canvases=1,
    candidates=9,
    boxes_px_max=0.0,
    boxes_px_p999=0.0,
    scores_max=0.0,
    scores_p999=0.0,
    missing=0,
)
AGREEING = ComparisonResult(
    a="a",
    b="b",
    frames=(),
    broken=0,
    matched=5,
    min_iou=0.995,
    max_score=5e-4,
    only_a=0,
    only_b=0,
    at_threshold=1,
    candidates=SUMMARY,
    gate_min_iou=0.99,
    gate_max_score=1e-3,
    agrees=True,
    reason="",
)
NOTHING = replace(AGREEING, matched=0, min_iou=None, max_score=None)


@pytest.mark.parametrize(
    ("result", "agrees", "reason"),
    [
        (AGREEING, True, "all 5 detections within the gates"),
        (replace(AGREEING, only_a=2), False, "2 detections only in A, 0 only in B"),
        (replace(AGREEING, only_b=1), False, "0 detections only in A, 1 only in B"),
        (replace(AGREEING, min_iou=0.98), False, "lowest IoU 0.9800, expected at least 0.99"),
        (replace(AGREEING, max_score=2e-3), False, "largest score difference 0.002, gate 0.001"),
        (replace(AGREEING, min_iou=float("nan")), False, "lowest IoU nan"),
        (NOTHING, True, "no detections in these frames; the candidates agree in score"),
        (replace(NOTHING, candidates=None), False, "neither side found anything"),
        (replace(NOTHING, candidates=replace(SUMMARY, missing=1)), False, "no detections; candidates differ"),
        (replace(NOTHING, candidates=replace(SUMMARY, scores_max=0.1)), False, "candidates differ by 0.1"),
    ],
)
def test_the_verdict_follows_the_gates(result: ComparisonResult, agrees: bool, reason: str) -> None:
    verdict = _verdict(result)
    assert verdict[0] is agrees
    assert reason in verdict[1]
    text = comparison_text(replace(result, agrees=verdict[0], reason=verdict[1]))
    assert ("the same: " if agrees else "DIFFERENT: ") in text.splitlines()[-1]
