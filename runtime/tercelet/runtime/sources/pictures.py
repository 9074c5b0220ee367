"""Picture files, one or a folder of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType

from tercelet.contract.errors import InputError
from tercelet.runtime.sources.frame import Frame, OnBroken
from tercelet.runtime.vision import read_image

PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".ppm", ".pgm", ".avif", ".gif",
)  # fmt: skip
ARRAY_SUFFIX = ".npy"


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """The pictures right inside the folder in natural order (2 before 10); its .npy frames if it has none.

    Hidden files are passed over. Raises InputError if neither is there.
    """
    try:
        files = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()]
    except OSError as error:
        raise InputError(
            f"{folder}: expected a folder that can be read: {error.strerror or error}"
        ) from error
    found = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
    found = found or [p for p in files if p.suffix.lower() == ARRAY_SUFFIX]
    if not found:
        got = f"{len(files)} other files" if files else "no file at all"
        raise InputError(
            f"{folder}: expected pictures ({', '.join(PICTURE_SUFFIXES[:3])}, ...) right inside the folder, "
            f"got {got}; subfolders are not searched"
        )
    return tuple(sorted(found, key=_natural_order))


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    # The pattern's group makes every second piece a number, so that like is compared with like.
    pieces = re.split("([0-9]+)", path.name.casefold())
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], path.name


class PictureSource:
    """Each picture is a frame of index 0 of a source that is its own path."""

    live = False
    fps: float | None = None
    dropped = 0

    def __init__(
        self, paths: Sequence[Path], *, name: str, on_broken: OnBroken, stop: threading.Event
    ) -> None:
        self.name = name
        self.total: int | None = len(paths)
        self.broken = 0
        self._paths = paths
        self._on_broken = on_broken
        self._stop = stop

    def __iter__(self) -> Iterator[Frame]:
        for path in self._paths:
            if self._stop.is_set():
                return
            start = perf_counter()
            try:
                image = read_image(path)
            except InputError as error:
                self.broken += 1
                self._on_broken(error)
                continue
            yield Frame(source=str(path), index=0, image=image, read_ms=(perf_counter() - start) * 1e3)

    def close(self) -> None:
        """Nothing is held open between two pictures."""

    def __enter__(self) -> PictureSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
