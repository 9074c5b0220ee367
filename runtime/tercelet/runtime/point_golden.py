"""The golden pair of a bundle of pipeline rgbd: one set of inputs and the proposals it must give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from tercelet.contract.artefact import verify_file
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Golden, Manifest
from tercelet.contract.session import PointSession, Proposals
from tercelet.runtime.golden import GOLDEN_FILE

Array = NDArray[Any]
# The last bit of a number, which is another on every machine, decides which points lie in a ball and which
# vote is chosen next, and so may change some proposals as a whole. A fault changes them all.
_MISSING_SHARE = 0.1


def write_point_golden(
    folder: Path, manifest: Manifest, inputs: Mapping[str, NDArray[np.float32]], proposals: Proposals
) -> None:
    """Store inputs by name and their proposals as golden.npy in an artefact's folder: the arrays one after
    the other, in the order of the manifest's network.inputs and network.outputs."""
    network, _ = manifest.cloud_parts()
    with (folder / GOLDEN_FILE).open("wb") as file:
        for part in (*(inputs[item.name] for item in network.inputs), *proposals):
            np.save(file, part)


def check_point_golden(folder: Path, manifest: Manifest, session: PointSession) -> None:
    """Run the golden pair; CheckFailedError if the engine does not compute what was exported.

    Raises InputError for a file that is no golden pair of this bundle.
    """
    golden = manifest.golden
    if golden is None:
        return
    network, _ = manifest.cloud_parts()
    path = verify_file(folder, manifest, golden.file)
    records = (*network.inputs, *network.outputs)
    try:
        with path.open("rb") as file:
            parts = [read_array(file, allow_pickle=False) for _ in records]
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(
            f"{path}: expected a golden pair written by tercelet export: {error}; export the bundle anew"
        ) from error
    stated = [(item.dtype, tuple(item.shape)) for item in records]
    found = [(part.dtype.name, part.shape) for part in parts]
    if found != stated:
        raise InputError(f"{path}: expected a golden pair of {stated}, got {found}; export the bundle anew")
    inputs = {item.name: part for item, part in zip(network.inputs, parts, strict=False)}
    expected = Proposals(*parts[len(inputs) :])
    problem = first_difference(expected, session.run(inputs), golden)
    if problem:
        raise CheckFailedError(
            f"{folder}: {session.backend} does not reproduce the bundle's golden pair: {problem}; "
            "export the bundle anew on this machine, or open it without the check"
        )


def first_difference(expected: Proposals, got: Proposals, golden: Golden) -> str | None:
    """At least nine of ten proposals must be there, wherever they stand: boxes within tolerance_px, here
    metres and radians, objectness and all class scores within tolerance_score; None where they are."""
    count = expected.boxes.shape[1]
    missing = sum(
        not (
            (_apart(expected.boxes[0, row], got.boxes[0]) <= golden.tolerance_px).all(axis=1)
            & (np.abs(expected.objectness[0, row] - got.objectness[0]) <= golden.tolerance_score)
            & (np.abs(expected.class_scores[0, row] - got.class_scores[0]) <= golden.tolerance_score).all(1)
        ).any()
        for row in range(count)
    )
    allowed = int(_MISSING_SHARE * count)
    if missing <= allowed:
        return None
    return f"{missing} of {count} proposals are not there, where {allowed} may be missing"


def _apart(box: Array, boxes: Array) -> Array:
    """(7,) and (P, 7) -> (P, 7) how far each number is off, of yaw the shorter way round."""
    apart: Array = np.abs(boxes - box)
    apart[:, 6] = np.minimum(apart[:, 6], np.abs(2 * np.pi - apart[:, 6]))
    return apart
