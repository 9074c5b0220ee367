"""What a source is to everybody else: frames one after the other, and how many there will be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError, TerceletError


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame. source: the file or stream it comes from, without passwords. index: its place in that.

    image: (H, W, 3) uint8 BGR. read_ms: milliseconds it took to read and decode it, waiting not included.
    """

    source: str
    index: int
    image: NDArray[np.uint8]
    read_ms: float


class SourceLostError(TerceletError):
    """A live source came to an end: a camera unplugged, a stream cut off or stalled."""

    exit_code = 1


OnBroken = Callable[[InputError], None]


def raise_broken(error: InputError) -> None:
    """What happens to a frame that cannot be read where the caller has no other wish."""
    raise error


class Source(Protocol):
    """Frames in order, to be gone through once, as a context manager.

    name: for messages. total: how many frames it claims to hold, None if it does not say. live: frames that
    come too fast are dropped, oldest first, and counted in `dropped`; a file's frames never are. fps: None
    where there is none. broken: frames so far that could not be read.
    """

    name: str
    total: int | None
    live: bool
    fps: float | None

    @property
    def dropped(self) -> int:
        """Frames of a live source that were thrown away because the consumer was busy."""
        ...

    @property
    def broken(self) -> int:
        """Frames so far that could not be read."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Stop reading and return soon, even if the source has stalled."""
        ...
