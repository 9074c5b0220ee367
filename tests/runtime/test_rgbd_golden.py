"""The golden pair of pipeline rgbd: damaged and foreign ones are refused, a flipped bit is not."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cloud_bundle import POINTS, write_cloud_bundle

from tercelet.contract.artefact import finish_artefact, read_manifest
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Golden
from tercelet.contract.session import Proposals
from tercelet.runtime import open_pipeline
from tercelet.runtime.point_golden import first_difference

GOLDEN = Golden("golden.npy", tolerance_px=1e-3, tolerance_score=1e-3)


def proposals(count: int) -> Proposals:
    draw = np.random.default_rng(count).random
    parts = draw((1, count, 7)) * 3, draw((1, count)), draw((1, count, 10))
    return Proposals(*(part.astype(np.float32) for part in parts))


def test_no_proposals_are_no_difference() -> None:
    assert first_difference(proposals(0), proposals(0), GOLDEN) is None


def _as_is(found: Proposals) -> Proposals:
    return found


def _other_order(found: Proposals) -> Proposals:
    order = np.random.default_rng(0).permutation(found.boxes.shape[1])
    return Proposals(*(part[:, order] for part in found))


def _yaw_round(found: Proposals) -> Proposals:
    boxes = found.boxes.copy()
    boxes[..., 6] -= np.float32(2 * np.pi)
    return found._replace(boxes=boxes)


def _two_elsewhere(found: Proposals) -> Proposals:
    boxes = found.boxes.copy()
    boxes[0, :2] += 1
    return found._replace(boxes=boxes)


@pytest.mark.parametrize("change", [_as_is, _other_order, _yaw_round, _two_elsewhere])
def test_what_rounding_on_another_machine_may_change_is_let_pass(
    change: Callable[[Proposals], Proposals],
) -> None:
    assert first_difference(proposals(20), change(proposals(20)), GOLDEN) is None


def _moved(found: Proposals) -> Proposals:
    return found._replace(boxes=found.boxes + np.float32(0.01))


def _less_sure(found: Proposals) -> Proposals:
    return found._replace(objectness=found.objectness * np.float32(0.9))


def _other_classes(found: Proposals) -> Proposals:
    return found._replace(class_scores=found.class_scores[..., ::-1])


def _no_numbers(found: Proposals) -> Proposals:
    return Proposals(*(part * np.float32(np.nan) for part in found))


@pytest.mark.parametrize("change", [_moved, _less_sure, _other_classes, _no_numbers])
def test_what_a_fault_changes_is_found(change: Callable[[Proposals], Proposals]) -> None:
    problem = first_difference(proposals(20), change(proposals(20)), GOLDEN)
    assert problem is not None
    assert "of 20 proposals are not there, where 2 may be missing" in problem


def arrays(*parts: np.ndarray) -> bytes:
    file = io.BytesIO()
    for part in parts:
        np.save(file, part)
    return file.getvalue()


CLOUD = np.zeros((1, POINTS, 4), np.float32)
PARTS = (np.zeros((1, 4, 7), np.float32), np.zeros((1, 4), np.float32), np.zeros((1, 4, 2), np.float32))


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        (b"", InputError, "expected a golden pair written by tercelet export"),
        (arrays(CLOUD), InputError, "expected a golden pair written by tercelet export"),
        (arrays(CLOUD[:, :9], *PARTS), InputError, "expected a golden pair of .*; export the bundle anew"),
        (arrays(CLOUD, PARTS[0][:, :3], *PARTS[1:]), InputError, "expected a golden pair of"),
        (arrays(CLOUD, *PARTS), CheckFailedError, "does not reproduce the bundle's golden pair: 4 of 4"),
    ],
    ids=["empty", "cut", "fewer points", "fewer boxes", "other numbers"],
)
def test_a_golden_file_that_does_not_fit_is_refused(
    tmp_path: Path, data: bytes, error: type[Exception], match: str
) -> None:
    folder = write_cloud_bundle(tmp_path / "bundle")
    (folder / "golden.npy").write_bytes(data)
    finish_artefact(folder, read_manifest(folder))
    with pytest.raises(error, match=match):
        open_pipeline(folder, threads=1)
    open_pipeline(folder, threads=1, check_golden=False).close()


def test_without_a_golden_pair_there_is_nothing_to_check(tmp_path: Path) -> None:
    folder = write_cloud_bundle(tmp_path / "bundle")
    finish_artefact(folder, replace(read_manifest(folder), golden=None))
    with open_pipeline(folder, threads=1) as detect:
        assert detect.labels == ("chair", "table")
