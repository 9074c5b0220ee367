"""The golden pair: one canvas and the candidates it must give, stored in the bundle and run after opening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.artefact import verify_file
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Golden, Manifest
from tercelet.contract.session import Session, TopCandidates

GOLDEN_FILE = "golden.npz"
_COMPARED = 64


def write_golden(folder: Path, canvases: NDArray[np.uint8], candidates: TopCandidates) -> None:
    """Store canvases (B, H, W, 3) and the best of their candidates as golden.npz in an artefact's folder."""
    np.savez_compressed(
        folder / GOLDEN_FILE,
        canvases=canvases,
        boxes=candidates.boxes[:, :_COMPARED],
        scores=candidates.scores[:, :_COMPARED],
        class_ids=candidates.class_ids[:, :_COMPARED],
    )


def check_golden(folder: Path, manifest: Manifest, session: Session) -> None:
    """Run the golden canvas; CheckFailedError if the engine does not compute what was exported."""
    golden = manifest.golden
    if golden is None:
        return
    path = verify_file(folder, manifest, golden.file)
    try:
        with np.load(path, allow_pickle=False) as stored:
            canvases = stored["canvases"]
            expected = TopCandidates(stored["boxes"], stored["scores"], stored["class_ids"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: expected a golden pair written by tercelet export: {error}") from error
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
        for rank, (box, score, class_id) in enumerate(zip(*(part[image] for part in expected), strict=True)):
            near = (
                (ids == class_id)
                & (np.abs(scores - score) <= golden.tolerance_score)
                & (np.abs(boxes - box).max(axis=1) <= golden.tolerance_px)
            )
            # The last few may have dropped out behind candidates of the same score.
            at_cut = score <= scores[-1] + golden.tolerance_score
            if not near.any() and not at_cut:
                place = ", ".join(f"{value:.2f}" for value in box)
                return f"candidate {rank} (class {class_id}, score {score:.4f}, box {place}) is not there"
    return None
