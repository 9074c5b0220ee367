"""Which RGB-D frames a benchmark runs on: files that are read each time, or rooms in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from tercelet.contract.errors import InputError
from tercelet.contract.scenes import synthetic_frame, synthetic_room
from tercelet.runtime.clouds.calibration import depth2img
from tercelet.runtime.clouds.cloud import Cloud
from tercelet.runtime.clouds.upright import Upright
from tercelet.runtime.given_path import given_path
from tercelet.runtime.sources.rgbd import RgbdFiles, RgbdFrame, read_rgbd, rgbd_files
from tercelet.runtime.vision import write_image

# As many points as SUN RGB-D's prepared clouds have, and the size of its commonest pictures.
SYNTHETIC_POINTS, SYNTHETIC_HEIGHT, SYNTHETIC_WIDTH = 50_000, 530, 730
SYNTHETIC_COUNT = 4
_INTRINSICS = np.array([[529.5, 0, 365], [0, 529.5, 265], [0, 0, 1.0]])


@dataclass(frozen=True, eq=False)
class BenchmarkRooms:
    """As `BenchmarkFrames`, of RGB-D. sources: what was named, in the order of files."""

    description: str
    files: tuple[RgbdFiles, ...] = ()
    sources: tuple[Path, ...] = ()
    stored: tuple[RgbdFrame, ...] = ()

    def take(self, index: int) -> tuple[RgbdFrame, float | None]:
        """Frame `index`, and the milliseconds of reading it, None for one in memory."""
        if self.stored:
            return self.stored[index % len(self.stored)], None
        start = perf_counter()
        frame = read_rgbd(self.files[index % len(self.files)])
        return frame, (perf_counter() - start) * 1e3

    def first_file(self, folder: Path) -> Path:
        """A source whose first frame is the first; a synthetic one is written into `folder`."""
        if self.sources:
            return self.sources[0]
        room = self.stored[0]
        assert room.image is not None
        np.savez(folder / "room_pc.npz", pc=room.cloud.points)
        write_image(folder / "image.png", room.image)
        matrices = (np.eye(3), _INTRINSICS)
        lines = (" ".join(f"{value:.9g}" for value in matrix.ravel(order="F")) for matrix in matrices)
        (folder / "calib.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
        return folder


def benchmark_rooms(sources: str | Path | Sequence[str | Path] | None) -> BenchmarkRooms:
    """sources: clouds and folders of RGB-D frames, or None for synthetic rooms with a picture.

    Raises InputError for what is neither, MissingDependencyError without the library that reads pictures.
    """
    if sources is None:
        rooms = tuple(_room(index) for index in range(SYNTHETIC_COUNT))
        return BenchmarkRooms(
            f"{len(rooms)} synthetic rooms of {SYNTHETIC_POINTS} points in memory", stored=rooms
        )
    named = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not named:
        raise InputError(
            "images: expected at least one cloud or folder, got none; leave it out for synthetic rooms"
        )
    places = [given_path(source, name="images") for source in named]
    files = tuple(frame for place in places for frame in rgbd_files(place))
    plural = "s" if len(files) > 1 else ""
    return BenchmarkRooms(f"{len(files)} RGB-D frame{plural}", files=files, sources=tuple(places))


def _room(index: int) -> RgbdFrame:
    return RgbdFrame(
        source=f"room {index}",
        cloud=Cloud(f"room {index}", synthetic_room(index, points=SYNTHETIC_POINTS)),
        upright=Upright(np.eye(3), "identity"),
        image=synthetic_frame(index, height=SYNTHETIC_HEIGHT, width=SYNTHETIC_WIDTH),
        depth2img=depth2img(_INTRINSICS, None),
    )
