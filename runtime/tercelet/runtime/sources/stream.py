"""Video files, cameras and network streams: one thread reads ahead into a bounded buffer."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from types import TracebackType
from typing import Protocol
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.runtime.sources.buffer import FrameBuffer
from tercelet.runtime.sources.frame import Frame, OnBroken, SourceLostError

# A file's reader may be two frames ahead, which hides decoding; a live source keeps the newest frame only.
FILE_CAPACITY = 2
LIVE_CAPACITY = 1
_POLL_S = 0.1
_CLOSE_S = 1.0
# Longer than any read of a stalled stream lasts.
_EXIT_S = 12.0
_open_sources: WeakSet[StreamSource] = WeakSet()


class FrameReader(Protocol):
    """What reads a stream: opened, read and closed by one thread."""

    total: int | None
    fps: float | None
    broken: int

    def read(self) -> tuple[int, NDArray[np.uint8]] | None:
        """Index and image of the next frame, None at the end."""
        ...

    def close(self) -> None:
        """Give the file or the device back."""
        ...


class StreamSource:
    """Frames of a reader in its own thread; what that thread raises is raised where frames are taken.

    The thread opens, reads and closes, because a capture that is released while it reads crashes. So `close`
    only tells it to end and waits a second; a stalled one ends by itself after its read timeout.
    """

    def __init__(
        self,
        open_reader: Callable[[], FrameReader],
        *,
        name: str,
        live: bool,
        on_broken: OnBroken,
        stop: threading.Event,
    ) -> None:
        """Returns once the reader is open, or raises what opening raised; ends early if `stop` is set."""
        self.name = name
        self.live = live
        self.total: int | None = None
        self.fps: float | None = None
        self._open_reader = open_reader
        self._on_broken = on_broken
        self._stop = stop
        self._reader: FrameReader | None = None
        self._buffer = FrameBuffer(LIVE_CAPACITY if live else FILE_CAPACITY, drop_oldest=live)
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name=f"reader of {name}", daemon=True)
        _open_sources.add(self)
        self._thread.start()
        try:
            while not self._opened.wait(_POLL_S) and not stop.is_set():
                pass
        except BaseException:  # Ctrl-C too must end the reader; re-raised
            self.close()
            raise
        if self._failure is not None:
            raise self._failure
        if self._reader is not None:
            self.total = None if live else self._reader.total
            self.fps = self._reader.fps

    @property
    def dropped(self) -> int:
        """Frames of a live source that were thrown away because the consumer was busy."""
        return self._buffer.dropped

    @property
    def broken(self) -> int:
        """Frames so far that could not be decoded although later ones could."""
        return self._reader.broken if self._reader is not None else 0

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._buffer.get(self._stop)) is not None:
            yield frame
        if self.broken and not self._stop.is_set():
            self._on_broken(
                InputError(
                    f"{self.name}: {self.broken} frames in the middle could not be decoded; is it damaged?"
                )
            )

    def _read(self) -> None:
        try:
            reader = self._open_reader()
        except BaseException as error:  # whatever it is, it belongs to the thread that waits for the opening
            self._failure = error
            self._opened.set()
            return
        self._reader = reader
        self._opened.set()
        problem: BaseException | None = None
        try:
            count = self._read_all(reader)
            if self.live:
                problem = SourceLostError(
                    f"{self.name}: the live source ended or went silent after {count} frames; "
                    "what came before is kept, start again to reconnect"
                )
        except BaseException as error:  # the same, for the thread that takes the frames
            problem = error
        finally:
            reader.close()
            self._buffer.finish(problem)

    def _read_all(self, reader: FrameReader) -> int:
        count = 0
        while True:
            start = perf_counter()
            found = reader.read()
            if found is None:
                return count
            index, image = found
            frame = Frame(self.name, index, image, read_ms=(perf_counter() - start) * 1e3)
            if not self._buffer.put(frame):
                return count
            count += 1

    def close(self) -> None:
        """Tell the reader to end and wait a second for it; safe to call twice."""
        self._buffer.close()
        self._thread.join(_CLOSE_S)

    @property
    def stalled(self) -> bool:
        """Whether the reader, told to end, is still waiting for its device or its server."""
        return self._buffer.closed and self._thread.is_alive()

    def __enter__(self) -> StreamSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def reader_stalled() -> bool:
    """Whether a closed source's reader is still waiting, which delays the interpreter's exit."""
    return any(source.stalled for source in _open_sources)


@atexit.register
def _end_readers() -> None:
    # A thread that comes back from OpenCV while the interpreter is being taken down aborts the process.
    for source in list(_open_sources):
        source.close()
    for source in list(_open_sources):
        source._thread.join(_EXIT_S)
