"""The golden pair of a density bundle: damaged and foreign ones are refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blob_detector import density_manifest

from tercelet.contract.artefact import sha256_of
from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.contract.manifest import Golden, Manifest
from tercelet.runtime.golden import GOLDEN_FILE, check_density_golden, write_density_golden

SIZE, CELL = (32, 48), 4
CANVAS = np.random.default_rng(0).integers(0, 255, (1, *SIZE, 3), dtype=np.uint8)
DENSITY = np.random.default_rng(1).random((1, SIZE[0] // CELL, SIZE[1] // CELL), dtype=np.float32)
TOLERANCE = 0.01


class FixedDensity:
    """An engine that answers with the same density to everything."""

    backend = "fixed"

    def __init__(self, answer: np.ndarray) -> None:
        self.answer = answer

    def run(self, canvases: np.ndarray) -> np.ndarray:
        return self.answer

    def bind(self, canvases: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: self.answer

    def close(self) -> None:
        """Nothing is held."""


def manifest_of(folder: Path) -> Manifest:
    """Of a density bundle whose golden file is the one in the folder."""
    files = {GOLDEN_FILE: sha256_of(folder / GOLDEN_FILE)}
    return replace(density_manifest(SIZE, cell=CELL), files=files, golden=Golden(GOLDEN_FILE, 0.5, TOLERANCE))


def check(folder: Path, got: np.ndarray) -> None:
    check_density_golden(folder, manifest_of(folder), FixedDensity(got))


def arrays(*parts: np.ndarray) -> bytes:
    file = io.BytesIO()
    for part in parts:
        np.save(file, part)
    return file.getvalue()


def test_no_golden_pair_is_no_check(tmp_path: Path) -> None:
    check_density_golden(tmp_path, density_manifest(), FixedDensity(DENSITY * np.nan))


def test_the_same_density_passes_and_so_does_rounding(tmp_path: Path) -> None:
    write_density_golden(tmp_path, CANVAS, DENSITY)
    check(tmp_path, DENSITY)
    check(tmp_path, DENSITY + np.float32(0.9 * TOLERANCE * DENSITY.max()))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d + np.float32(1.1 * TOLERANCE * d.max()),
        lambda d: d * 1.5,
        lambda d: d[:, ::-1],
        lambda d: d * np.nan,
        lambda d: np.where(d == d.max(), np.inf, d),
        lambda d: np.zeros_like(d),
    ],
    ids=["a little more", "half as much again", "upside down", "not a number", "infinite", "nothing"],
)
def test_another_density_is_refused(tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    write_density_golden(tmp_path, CANVAS, DENSITY)
    with pytest.raises(CheckFailedError, match="fixed does not reproduce the bundle's golden pair: a cell"):
        check(tmp_path, change(DENSITY).astype(np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        arrays(CANVAS),
        arrays(DENSITY, CANVAS),
        arrays(CANVAS.astype(np.float32), DENSITY),
        arrays(CANVAS[:, :16], DENSITY),
        arrays(CANVAS[0], DENSITY),
        arrays(CANVAS, DENSITY.astype(np.float64)),
        arrays(CANVAS, DENSITY[:, :4]),
        arrays(CANVAS, np.array([{}], object)),
        arrays(CANVAS, DENSITY)[:-20],
    ],
    ids=[
        "empty", "text", "too few", "turned round", "float canvas", "small canvas", "no batch",
        "double density", "small density", "pickled", "cut off",
    ],
)  # fmt: skip
def test_a_file_that_is_no_golden_pair_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / GOLDEN_FILE).write_bytes(content)
    with pytest.raises(InputError, match="expected a golden pair .*export the bundle anew"):
        check(tmp_path, DENSITY)


def test_a_golden_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    write_density_golden(tmp_path, CANVAS, DENSITY)
    manifest = manifest_of(tmp_path)
    (tmp_path / GOLDEN_FILE).write_bytes(arrays(CANVAS, DENSITY * 2))
    with pytest.raises(CheckFailedError, match=GOLDEN_FILE):
        check_density_golden(tmp_path, manifest, FixedDensity(DENSITY))
