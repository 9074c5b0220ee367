"""The golden pair: one canvas and the candidates it must give, stored in the bundle and run after opening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import verify_file
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Golden, Manifest
from tercelet.contract.session import Session, TopCandidates

# Arrays one after the other in .npy format: unpacking a zip file took a tenth of the time of a cold start.
GOLDEN_FILE = "golden.npy"
_COMPARED = 64


def write_golden(folder: Path, canvases: NDArray[np.uint8], candidates: TopCandidates) -> None:
    """Store canvases (B, H, W, 3) and the best of their candidates as golden.npy in an artefact's folder."""
    with (folder / GOLDEN_FILE).open("wb") as file:
        np.save(file, canvases)
        for part in candidates:
            np.save(file, part[:, :_COMPARED])


def check_golden(folder: Path, manifest: Manifest, session: Session) -> None:
    """Run the golden canvas; CheckFailedError if the engine does not compute what was exported."""
    golden = manifest.golden
    if golden is None:
        return
    path = verify_file(folder, manifest, golden.file)
    try:
        with path.open("rb") as file:
            canvases, *parts = (np.load(file, allow_pickle=False) for _ in range(4))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected a golden pair written by tercelet export: {error}") from error
    expected = TopCandidates(*parts)
    problem = _first_difference(expected, session.run(canvases), golden)
    if problem:
        raise CheckFailedError(
            f"{folder}: {session.backend} does not reproduce the bundle's golden pair: {problem}; "
            "export the bundle anew on this machine, or open it without the check"
        )


def _first_difference(expected: TopCandidates, got: TopCandidates, golden: Golden) -> str | None:
    """Each expected candidate needs a partner of its class within both tolerances; near ties may swap."""
    for image in range(len(expected.scores)):
        boxes, scores, ids = (part[image] for part in got)
        wanted_boxes, wanted_scores, wanted_ids = (part[image] for part in expected)
        near = (
            (wanted_ids[:, None] == ids)
            & (np.abs(wanted_scores[:, None] - scores) <= golden.tolerance_score)
            & (np.abs(wanted_boxes[:, None] - boxes).max(axis=2) <= golden.tolerance_px)
        ).any(axis=1)
        # The last few may have dropped out behind candidates of the same score.
        lost = np.flatnonzero(~near & (wanted_scores > scores[-1] + golden.tolerance_score))
        if len(lost):
            rank = int(lost[0])
            place = ", ".join(f"{value:.2f}" for value in wanted_boxes[rank])
            return (
                f"candidate {rank} (class {wanted_ids[rank]}, score {wanted_scores[rank]:.4f}, box {place}) "
                "is not there"
            )
    return None
