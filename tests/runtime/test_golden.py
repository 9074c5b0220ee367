"""The golden pair: which files are one, and which differences between two engines count."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.artefact import read_manifest, sha256_of
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest_json import json_from_manifest
from tercelet.contract.session import TopCandidates
from tercelet.runtime import open_pipeline
from tercelet.runtime.golden import GOLDEN_FILE, check_golden, write_golden

COUNT = 6
CANVAS = np.zeros((1, 64, 64, 3), np.uint8)


def candidates(count: int = COUNT) -> TopCandidates:
    """Distinct boxes with scores from 0.9 downwards in steps of 0.1."""
    boxes = np.arange(count * 4, dtype=np.float32).reshape(1, count, 4) * 3
    scores = (0.9 - 0.1 * np.arange(count, dtype=np.float32))[None]
    return TopCandidates(boxes, scores, np.arange(count, dtype=np.int64)[None] % 3)


class FixedSession:
    """An engine that answers with the same candidates to everything."""

    batch = 1
    backend = "fixed"

    def __init__(self, answer: TopCandidates) -> None:
        self.answer = answer

    def run(self, canvases: np.ndarray) -> TopCandidates:
        return self.answer

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def put_golden(bundle: Path, content: bytes) -> None:
    """Replace the golden file and its entry in the manifest."""
    (bundle / GOLDEN_FILE).write_bytes(content)
    manifest = read_manifest(bundle)
    files = {**manifest.files, GOLDEN_FILE: sha256_of(bundle / GOLDEN_FILE)}
    (bundle / "manifest.json").write_text(json_from_manifest(replace(manifest, files=files)))


def arrays(*parts: np.ndarray) -> bytes:
    file = io.BytesIO()
    for part in parts:
        np.save(file, part)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    np.savez(file, canvases=CANVAS)
    return file.getvalue()


def check(bundle: Path, expected: TopCandidates, got: TopCandidates) -> None:
    write_golden(bundle, CANVAS, expected)
    put_golden(bundle, (bundle / GOLDEN_FILE).read_bytes())
    check_golden(bundle, read_manifest(bundle), FixedSession(got))


BOXES, SCORES, IDS = candidates()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        zipped(),
        b"no array",
        arrays(CANVAS),
        arrays(CANVAS.astype(np.float32), BOXES, SCORES, IDS),
        arrays(CANVAS[:, :32], BOXES, SCORES, IDS),
        arrays(CANVAS, BOXES[..., :3], SCORES, IDS),
        arrays(CANVAS, BOXES, SCORES[:, :3], IDS),
        arrays(CANVAS, BOXES, SCORES[0, 0], IDS),
        arrays(CANVAS, BOXES, SCORES, IDS.astype(np.float32)),
        arrays(CANVAS, BOXES[:, :0], SCORES[:, :0], IDS[:, :0]),
        arrays(CANVAS, BOXES, SCORES * np.nan, IDS),
    ],
    ids=[
        "empty", "zip", "text", "too few", "float canvas", "small canvas", "boxes of three", "fewer scores",
        "one score", "float classes", "no candidate", "not a number",
    ],
)  # fmt: skip
def test_a_file_that_is_no_golden_pair_is_refused(bundle: Path, content: bytes) -> None:
    put_golden(bundle, content)
    with pytest.raises(InputError, match="expected a golden pair .*export the bundle anew"):
        open_pipeline(bundle, threads=1)
    open_pipeline(bundle, threads=1, check_golden=False).close()


def swapped(answer: TopCandidates) -> TopCandidates:
    order = [1, 0, *range(2, COUNT)]
    return TopCandidates(*(part[:, order] for part in answer))


def test_the_same_candidates_pass_and_near_ties_may_swap(bundle: Path) -> None:
    check(bundle, candidates(), candidates())
    check(bundle, candidates(), swapped(candidates()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c._replace(boxes=np.add(c.boxes, [[[0], [9], [0], [0], [0], [0]]])), "candidate 1 "),
        (lambda c: c._replace(scores=c.scores - [[0, 0, 0.05, 0, 0, 0]]), "candidate 2 .*score 0.7000"),
        (lambda c: c._replace(class_ids=np.add(c.class_ids, [[1, 0, 0, 0, 0, 0]])), "candidate 0 "),
        (lambda c: c._replace(scores=c.scores * np.nan), "no finite numbers"),
        (lambda c: c._replace(boxes=c.boxes * np.inf), "no finite numbers"),
    ],
)
def test_a_candidate_that_was_lost_is_named(
    bundle: Path, change: Callable[[TopCandidates], TopCandidates], message: str
) -> None:
    with np.errstate(invalid="ignore"):
        got = change(candidates())
    with pytest.raises(CheckFailedError, match=f"fixed does not reproduce .*{message}"):
        check(bundle, candidates(), got)


def test_only_what_may_have_dropped_out_at_the_end_may_be_missing(bundle: Path) -> None:
    def tied_tail(box: float) -> TopCandidates:
        answer = candidates()
        answer.scores[0, -1] = answer.scores[0, -2]
        answer.boxes[0, -1] = box
        return answer

    # The last two have the same score: another candidate of that score may have taken the last place.
    check(bundle, tied_tail(1.0), tied_tail(50.0))
    longer = candidates(COUNT + 1)
    with pytest.raises(CheckFailedError, match=f"candidate {COUNT - 1} "):
        check(bundle, candidates(), TopCandidates(*(np.delete(part, COUNT - 1, 1) for part in longer)))
