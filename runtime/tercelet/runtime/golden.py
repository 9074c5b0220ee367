"""The golden pair: one canvas and the candidates it must give, stored in the bundle and run after opening."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from tercelet.contract.artefact import verify_file
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Golden, Manifest
from tercelet.contract.session import DensitySession, Session, TopCandidates

# Arrays one after the other in .npy format: unpacking a zip file took a tenth of the time of a cold start.
GOLDEN_FILE = "golden.npy"
_COMPARED = 64
Array = NDArray[Any]


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
            canvases, *parts = (read_array(file, allow_pickle=False) for _ in range(4))
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(
            f"{path}: expected a golden pair written by tercelet export: {error}; export the bundle anew"
        ) from error
    unfit = _why_unfit(canvases, parts, manifest)
    if unfit:
        raise InputError(
            f"{path}: expected a golden pair written by tercelet export, got {unfit}; export the bundle anew"
        )
    expected = TopCandidates(*parts)
    problem = _first_difference(expected, session.run(canvases), golden)
    if problem:
        raise CheckFailedError(
            f"{folder}: {session.backend} does not reproduce the bundle's golden pair: {problem}; "
            "export the bundle anew on this machine, or open it without the check"
        )


def write_density_golden(folder: Path, canvases: NDArray[np.uint8], density: NDArray[np.float32]) -> None:
    """Store canvases (1, H, W, 3) and their density (1, h, w) as golden.npy in an artefact's folder."""
    with (folder / GOLDEN_FILE).open("wb") as file:
        np.save(file, canvases)
        np.save(file, density)


def check_density_golden(folder: Path, manifest: Manifest, session: DensitySession) -> None:
    """Run a density bundle's golden canvas; CheckFailedError if the engine does not compute what was
    exported: no cell may differ by more than the golden's tolerance_score times the largest one."""
    golden = manifest.golden
    if golden is None:
        return
    network, _ = manifest.density_parts()
    path = verify_file(folder, manifest, golden.file)
    try:
        with path.open("rb") as file:
            canvases, expected = (read_array(file, allow_pickle=False) for _ in range(2))
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(
            f"{path}: expected a golden pair written by tercelet export: {error}; export the bundle anew"
        ) from error
    shapes = tuple(network.inputs[0].shape), tuple(network.outputs[0].shape)
    fits = canvases.dtype == np.uint8 and expected.dtype == np.float32
    if not fits or (canvases.shape, expected.shape) != shapes:
        raise InputError(
            f"{path}: expected a golden pair of uint8 {shapes[0]} and float32 {shapes[1]}, got "
            f"{canvases.dtype} {canvases.shape} and {expected.dtype} {expected.shape}; export the bundle anew"
        )
    allowed = golden.tolerance_score * float(np.abs(expected).max())
    worst = float(np.abs(session.run(canvases) - expected).max())
    if not worst <= allowed:  # written so that NaN fails
        raise CheckFailedError(
            f"{folder}: {session.backend} does not reproduce the bundle's golden pair: a cell differs by "
            f"{worst:.3g} where {allowed:.3g} is allowed; export the bundle anew on this machine, or open it "
            "without the check"
        )


def _why_unfit(canvases: Array, parts: Sequence[Array], manifest: Manifest) -> str | None:
    """Which array is not of the type and shape that the pair must have, in words; None if all four are."""
    canvas = manifest.preprocess
    shape = manifest.network.inputs[0].shape if manifest.network else (1, canvas.height, canvas.width, 3)
    if manifest.network and manifest.network.batch == "up_to":
        shape = (len(canvases) if canvases.ndim and len(canvases) <= shape[0] else 1, *shape[1:])
    boxes, scores, class_ids = parts
    count = scores.shape[-1] if scores.ndim else 0
    wanted: tuple[tuple[str, Array, type[np.generic], tuple[int, ...]], ...] = (
        ("canvases", canvases, np.uint8, tuple(shape)),
        ("scores", scores, np.floating, (shape[0], count)),
        ("boxes", boxes, np.floating, (shape[0], count, 4)),
        ("class_ids", class_ids, np.integer, (shape[0], count)),
    )
    for name, array, kind, wanted_shape in wanted:
        if not np.issubdtype(array.dtype, kind) or array.shape != wanted_shape:
            return f"{name} {array.dtype} {array.shape} where {kind.__name__} {wanted_shape} must be"
        if kind is np.floating and not np.isfinite(array).all():
            return f"{name} that are no finite numbers"
    return None if count else "no candidate at all"


def _first_difference(expected: TopCandidates, got: TopCandidates, golden: Golden) -> str | None:
    """Each expected candidate needs a partner of its class within both tolerances; near ties may swap."""
    for image in range(len(expected.scores)):
        boxes, scores, ids = (part[image] for part in got)
        wanted_boxes, wanted_scores, wanted_ids = (part[image] for part in expected)
        if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
            return "boxes or scores are no finite numbers"  # which are neither near nor far from anything
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
