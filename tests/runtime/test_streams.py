"""The thread that reads a stream: what is kept, dropped and raised, and that it always comes to an end."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from tercelet.contract import InputError
from tercelet.runtime.sources import SourceLostError
from tercelet.runtime.sources.buffer import FrameBuffer
from tercelet.runtime.sources.frame import Frame, raise_broken
from tercelet.runtime.sources.stream import FILE_CAPACITY, StreamSource, reader_stalled

# Generous on a busy machine; what is meant is "at once" against "never".
SOON_S = 3.0


class CountingReader:
    """Frames of a number each: at most `frames`, one every `interval_s`; then `error`, a stall or the end."""

    fps = 25.0
    broken = 0

    def __init__(
        self,
        frames: int | None,
        *,
        interval_s: float = 0.0,
        error: Exception | None = None,
        stall: threading.Event | None = None,
    ) -> None:
        self.total = frames
        self.given = 0
        self.closed = threading.Event()
        self._interval_s = interval_s
        self._error = error
        self._stall = stall

    def read(self) -> tuple[int, NDArray[np.uint8]] | None:
        time.sleep(self._interval_s)
        if self.given == self.total:
            if self._stall is not None:
                self._stall.wait()
            if self._error is not None:
                raise self._error
            return None
        self.given += 1
        return self.given - 1, np.full((2, 2, 3), self.given - 1, np.uint8)

    def close(self) -> None:
        self.closed.set()


def stream_of(reader: CountingReader, *, live: bool, stop: threading.Event | None = None) -> StreamSource:
    return StreamSource(
        lambda: reader, name="test", live=live, on_broken=raise_broken, stop=stop or threading.Event()
    )


def test_an_empty_file_ends_at_once() -> None:
    with stream_of(CountingReader(0), live=False) as source:
        assert list(source) == []


class GatedReader(CountingReader):
    """Gives a frame only when it is let through, so that a test decides what is read when."""

    def __init__(self, frames: int) -> None:
        super().__init__(frames)
        self._changed = threading.Condition()
        self._allowed = self._asked = 0

    def read(self) -> tuple[int, NDArray[np.uint8]] | None:
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._asked <= self._allowed)
        return super().read()

    def let_through(self, count: int) -> None:
        """Return once the first `count` frames have been handed over: the reader asks for the next one."""
        with self._changed:
            self._allowed = count
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._asked > count, timeout=60)

    def end(self) -> None:
        """Let the end of the stream through."""
        with self._changed:
            self._allowed += 1
            self._changed.notify_all()


def test_a_live_source_drops_the_oldest_and_says_how_many() -> None:
    reader = GatedReader(200)
    with stream_of(reader, live=True) as source:
        frames = iter(source)
        got = []
        for count in (1, 5, 6, 200):
            reader.let_through(count)
            got.append((next(frames).index, source.dropped))
        reader.end()
        with pytest.raises(SourceLostError, match="after 200 frames"):
            next(frames)
    # Each is the newest there was when it was taken.
    assert got == [(0, 0), (4, 3), (5, 3), (199, 196)]


def test_a_file_waits_for_its_consumer_with_a_bounded_queue() -> None:
    reader = CountingReader(50)
    with stream_of(reader, live=False) as source:
        for frame in source:
            time.sleep(0.002)
            # Queued, plus the one in the consumer's hand, plus the one that waits to be put.
            assert reader.given <= frame.index + FILE_CAPACITY + 2
        assert source.dropped == 0
    assert reader.given == 50
    assert reader.closed.wait(SOON_S)


@pytest.mark.parametrize("live", [False, True])
def test_an_error_of_the_reader_is_raised_behind_the_last_frame(live: bool) -> None:
    reader = CountingReader(1, error=OSError("device gone"))
    with stream_of(reader, live=live) as source:
        frames = iter(source)
        assert next(frames).index == 0
        with pytest.raises(OSError, match="device gone"):
            next(frames)
    assert reader.closed.is_set()


def test_an_error_while_opening_is_raised_by_the_opening() -> None:
    def fail() -> CountingReader:
        raise InputError("no such device")

    with pytest.raises(InputError, match="no such device"):
        StreamSource(fail, name="test", live=True, on_broken=raise_broken, stop=threading.Event())


def test_the_end_of_a_live_source_is_an_error_that_says_what_to_do() -> None:
    with (
        stream_of(CountingReader(1), live=True) as source,
        pytest.raises(SourceLostError, match="ended or went silent after 1 frames; .* start again") as caught,
    ):
        list(source)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("live", [False, True])
def test_a_consumer_that_stops_early_ends_the_reader(live: bool) -> None:
    reader = CountingReader(None, interval_s=0.001)
    start = time.monotonic()
    with stream_of(reader, live=live) as source:
        next(iter(source))
    assert reader.closed.wait(SOON_S)
    assert time.monotonic() - start < SOON_S
    assert list(source) == []
    source.close()


def test_closing_a_stalled_source_does_not_wait_for_it() -> None:
    release = threading.Event()
    reader = CountingReader(1, stall=release)
    source = stream_of(reader, live=True)
    next(iter(source))
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < SOON_S
    assert source.stalled
    assert reader_stalled()
    release.set()
    assert reader.closed.wait(SOON_S)
    source.close()
    assert not source.stalled


def test_a_request_to_stop_reaches_a_consumer_of_a_stalled_source() -> None:
    release, stop = threading.Event(), threading.Event()
    source = stream_of(CountingReader(0, stall=release), live=True, stop=stop)
    threading.Timer(0.2, stop.set).start()
    start = time.monotonic()
    assert list(source) == []
    assert time.monotonic() - start < SOON_S
    release.set()
    source.close()


def test_a_request_to_stop_ends_the_wait_for_an_opening() -> None:
    release, stop = threading.Event(), threading.Event()

    def open_late() -> CountingReader:
        release.wait()
        return CountingReader(5)

    threading.Timer(0.2, stop.set).start()
    start = time.monotonic()
    source = StreamSource(open_late, name="test", live=True, on_broken=raise_broken, stop=stop)
    assert time.monotonic() - start < SOON_S
    assert (source.total, source.broken, list(source)) == (None, 0, [])
    release.set()
    source.close()


def test_an_interrupt_while_opening_leaves_no_reader_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    reader = CountingReader(None)

    def open_late() -> CountingReader:
        release.wait()
        return reader

    class Interrupted(threading.Event):
        def is_set(self) -> bool:
            release.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StreamSource(open_late, name="test", live=False, on_broken=raise_broken, stop=Interrupted())
    assert reader.closed.wait(SOON_S)


def test_a_buffer_that_was_closed_takes_and_gives_nothing() -> None:
    buffer = FrameBuffer(2, drop_oldest=False)
    frame = Frame("x", 0, np.zeros((1, 1, 3), np.uint8), 0.0)
    assert buffer.put(frame)
    buffer.close()
    assert not buffer.put(frame)
    assert buffer.get(threading.Event()) is None
