"""The bounded queue between the thread that reads frames and the one that looks at them."""

from __future__ import annotations

import threading
from collections import deque

from tercelet.runtime.sources.frame import Frame

_POLL_S = 0.1


class FrameBuffer:
    """At most `capacity` frames. When full, `put` waits, or with drop_oldest discards the oldest frame."""

    def __init__(self, capacity: int, *, drop_oldest: bool) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._drop_oldest = drop_oldest
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self.closed = False
        self._error: BaseException | None = None

    def put(self, frame: Frame) -> bool:
        """Add a frame; False once the buffer was closed, which tells the reader to give up."""
        with self._changed:
            if self._drop_oldest and len(self._frames) >= self._capacity:
                self._frames.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: self.closed or len(self._frames) < self._capacity)
            if self.closed:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """No more frames will come; `error` is raised in the consumer behind the last of them."""
        with self._changed:
            self._finished = True
            self._error = error
            self._changed.notify_all()

    def get(self, stop: threading.Event) -> Frame | None:
        """The next frame, waiting for it; None at the end, when closed, or soon after `stop` was set."""
        with self._changed:
            while not self._frames and not self._finished and not self.closed and not stop.is_set():
                self._changed.wait(_POLL_S)
            if self.closed or stop.is_set():
                return None
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Drop what is left and release whoever waits."""
        with self._changed:
            self.closed = True
            self._frames.clear()
            self._changed.notify_all()
