"""Progress on stderr: a bar with rate and time left on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import shutil
import sys
from time import monotonic
from types import TracebackType

BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 10.0
_WIDEST_BAR = 30


class Progress:
    """Counts steps as a context manager; writes to stderr only, and nothing at all when silent or
    where stderr is closed.

    total: steps to come, None if unknown. Where stderr is no terminal a line is written every ten seconds
    at most, and one at the end.
    """

    def __init__(self, total: int | None, title: str, *, silent: bool = False) -> None:
        self.count = 0
        self._total = total
        self._title = title
        self._stream = sys.stderr
        self._silent = silent or sys.stderr is None
        self._terminal = not self._silent and self._stream.isatty()
        self._start = self._shown = monotonic()

    def advance(self, n: int = 1) -> None:
        """Count n more steps and show it if it is time to."""
        self.count += n
        now = monotonic()
        if not self._silent and now - self._shown >= (BAR_INTERVAL_S if self._terminal else LINE_INTERVAL_S):
            self._shown = now
            self._show(self._line(now), final=False)

    def clear(self) -> None:
        """Take the bar off the terminal, before something else is written there."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def __enter__(self) -> Progress:
        self._start = self._shown = monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._silent:
            self._show(self._line(monotonic()), final=True)

    def _show(self, line: str, *, final: bool) -> None:
        if self._terminal:
            width = max(shutil.get_terminal_size().columns - 1, 20)
            self._stream.write("\r" + line[:width] + "\x1b[K" + ("\n" if final else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _line(self, now: float) -> str:
        seconds = max(now - self._start, 1e-9)
        rate = self.count / seconds
        speed = f"{rate:.1f}/s" if rate >= 1 or not self.count else f"{1 / rate:.1f} s each"
        if not self._total:
            return f"{self._title}: {self.count}, {speed}, {_clock(seconds)}"
        share = min(self.count / self._total, 1.0)
        text = f"{self._title}: {self.count}/{self._total}, {speed}"
        if self.count < self._total:
            text += f", {_clock((self._total - self.count) / rate)} left" if rate else ""
        else:
            text += f", {_clock(seconds)}"
        if not self._terminal:
            return text
        room = min(_WIDEST_BAR, shutil.get_terminal_size().columns - len(text) - 4)
        return f"{text} {_bar(share, room)}" if room >= 5 else text


def _bar(share: float, width: int) -> str:
    full = round(share * width)
    return "[" + "#" * full + "." * (width - full) + "]"


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
