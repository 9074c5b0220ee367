"""Which frames a benchmark runs on: pictures that are read from their files, or synthetic ones in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.contract.scenes import synthetic_frames
from tercelet.runtime.sources import check_source
from tercelet.runtime.sources.pictures import pictures_in
from tercelet.runtime.vision import read_image

# What most cameras of drones and robots send; larger than every canvas, so that resizing is part of the work.
SYNTHETIC_HEIGHT, SYNTHETIC_WIDTH = 720, 1280
SYNTHETIC_COUNT = 4


@dataclass(frozen=True, eq=False)
class BenchmarkFrames:
    """Frames that are taken in turn and begin anew at the end. Either `files` or `stored` holds them."""

    description: str
    files: tuple[Path, ...] = ()
    stored: tuple[NDArray[np.uint8], ...] = ()

    def take(self, index: int) -> tuple[NDArray[np.uint8], float | None]:
        """Frame `index`, (H, W, 3) uint8 BGR, and the milliseconds of reading it, None for one in memory."""
        if self.stored:
            return self.stored[index % len(self.stored)], None
        start = perf_counter()
        image = read_image(self.files[index % len(self.files)])
        return image, (perf_counter() - start) * 1e3

    def first_file(self, folder: Path) -> Path:
        """A file that holds the first frame; a synthetic one is written into `folder` as .npy."""
        if self.files:
            return self.files[0]
        path = folder / "frame.npy"
        np.save(path, self.stored[0])
        return path


def benchmark_frames(images: str | Path | Sequence[str | Path] | None) -> BenchmarkFrames:
    """images: pictures and folders of them, or None for synthetic frames.

    Raises InputError for what is neither, MissingDependencyError without the vision library that reads them.
    """
    if images is None:
        stored = synthetic_frames(SYNTHETIC_COUNT, height=SYNTHETIC_HEIGHT, width=SYNTHETIC_WIDTH)
        size = f"{SYNTHETIC_HEIGHT}x{SYNTHETIC_WIDTH}"
        return BenchmarkFrames(f"{len(stored)} synthetic frames of {size} in memory", stored=tuple(stored))
    named = [images] if isinstance(images, (str, Path)) else list(images)
    if not named:
        raise InputError(
            "images: expected at least one picture or folder, got none; leave it out for synthetic"
        )
    files: list[Path] = []
    for source in named:
        kind = check_source(source)
        if kind not in ("picture", "folder"):
            raise InputError(
                f"images: expected pictures or folders of them, got {source} ({kind}); "
                "save some of its frames as pictures first"
            )
        files += pictures_in(Path(source)) if kind == "folder" else (Path(source),)
    plural = "s" if len(files) > 1 else ""
    return BenchmarkFrames(f"{len(files)} picture file{plural}", files=tuple(files))
