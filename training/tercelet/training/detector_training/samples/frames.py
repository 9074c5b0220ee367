"""Decoded frames: read each time, kept in shared memory, or kept as mapped files."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.evaluation.datasets import DatasetImage
from tercelet.evaluation.evaluating import read_frame
from tercelet.training.density_training.frames import opencv

CacheName = Literal["off", "ram", "disk"]
CACHES: tuple[CacheName, ...] = ("off", "ram", "disk")
# The rest is for the training itself.
LARGEST_SHARE_OF_MEMORY = 0.7
_SHARED_MEMORY = Path("/dev/shm")
_OPEN_MAPS = 4096


class Frames(Protocol):
    """Frames by their number."""

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, not to be written to; InputError if the picture cannot be read."""
        ...


def open_frames(
    images: Sequence[DatasetImage], *, cache: CacheName = "off", folder: str | Path | None = None
) -> Frames:
    """The frames of the images. cache: "ram" keeps them decoded in memory that all workers share, filled as
    they are asked for; "disk" keeps them decoded as .npy in `folder`, from where they are mapped, and takes
    up those of an earlier run whose picture has kept its size and time.

    Raises InputError: an unknown cache, a folder missing or given without use, more bytes than 70 % of the
    free memory.
    """
    if cache not in CACHES:
        raise InputError(f"cache: expected one of {', '.join(CACHES)}, got {cache!r}")
    if (folder is not None) != (cache == "disk"):
        raise InputError(f"cache_folder: expected with the cache on disk and only there, got {folder!r}")
    if cache == "ram":
        return _SharedFrames(images)
    if folder is not None:
        return _MappedFrames(images, Path(folder))
    return _ReadFrames(images)


def _read(image: DatasetImage) -> NDArray[np.uint8]:
    frame: NDArray[np.uint8] = opencv().cvtColor(read_frame(image), opencv().COLOR_BGR2RGB)
    return frame


class _ReadFrames:
    def __init__(self, images: Sequence[DatasetImage]) -> None:
        self._images = tuple(images)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        return _read(self._images[number])


class _SharedFrames:
    """One block for all frames, and a flag for each that is filled.

    Two workers may fill the same frame at once: with the same bytes.
    """

    def __init__(self, images: Sequence[DatasetImage]) -> None:
        self._images = tuple(images)
        sizes = [image.height * image.width * 3 for image in images]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        _check_memory(sum(sizes))
        self._block = _shared(sum(sizes))
        self._filled = _shared(len(sizes))

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        image = self._images[number]
        end = int(self._ends[number])
        begin = end - image.height * image.width * 3
        frame: NDArray[np.uint8] = self._block.numpy()[begin:end].reshape(image.height, image.width, 3)
        if not self._filled[number]:
            frame[...] = _read(image)
            self._filled[number] = 1
        return frame


def _shared(length: int) -> torch.Tensor:
    """(length,) uint8 zeros that other processes see too; pages take memory once they are written."""
    # What torch collates its batches into; share_memory_() would need the memory twice for a moment.
    storage = torch.UntypedStorage._new_shared(length)  # type: ignore[no-untyped-call]
    return torch.tensor([], dtype=torch.uint8).set_(storage)


class _MappedFrames:
    """A file a frame, named by the picture's path, size and time."""

    def __init__(self, images: Sequence[DatasetImage], folder: Path) -> None:
        self._images = tuple(images)
        self._folder = folder
        self._open: dict[int, NDArray[np.uint8]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: expected a folder for decoded frames: {error.strerror}") from error

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        frame = self._open.get(number)
        if frame is None:
            if len(self._open) >= _OPEN_MAPS:
                self._open.clear()
            frame = self._open[number] = self._mapped(self._images[number])
        return frame

    def _mapped(self, image: DatasetImage) -> NDArray[np.uint8]:
        try:
            state = image.path.stat()
        except OSError as error:
            raise InputError(
                f"{image.path}: expected a picture, it cannot be read: {error.strerror}"
            ) from error
        identity = hashlib.sha256(str(image.path.resolve()).encode()).hexdigest()[:20]
        file = self._folder / f"{identity}-{state.st_size}-{state.st_mtime_ns}.npy"
        shape = (image.height, image.width, 3)
        frame = _mapped_file(file, shape)
        if frame is not None:
            return frame
        for stale in self._folder.glob(f"{identity}-*.npy"):
            stale.unlink(missing_ok=True)
        _write(file, _read(image))
        frame = _mapped_file(file, shape)
        if frame is None:
            raise InputError(
                f"{file}: expected the frame just written there, got something else; is the disk full?"
            )
        return frame


def _mapped_file(file: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
    try:
        stored = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(stored) if stored.shape == shape and stored.dtype == np.uint8 else None


def _write(file: Path, frame: NDArray[np.uint8]) -> None:
    partial = file.with_name(f"{file.stem}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as stream:
            np.save(stream, frame, allow_pickle=False)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"{file}: a decoded frame cannot be written: {error.strerror}; free space there"
        ) from error


def _check_memory(wanted: int) -> None:
    for place, free in (("memory", _free_memory()), (str(_SHARED_MEMORY), _free_shared_memory())):
        if free is not None and wanted > LARGEST_SHARE_OF_MEMORY * free:
            raise InputError(
                f"cache: the decoded frames take {wanted / 2**30:.2f} GiB, expected at most "
                f"{LARGEST_SHARE_OF_MEMORY:.0%} of the {free / 2**30:.2f} GiB free in {place}; "
                "choose the cache on disk, or none"
            )


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _free_shared_memory() -> int | None:
    try:
        state = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    return state.f_bavail * state.f_frsize
