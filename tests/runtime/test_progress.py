"""The progress bar: on stderr only, a bar on a terminal, few lines elsewhere."""

from __future__ import annotations

import io
import re
import sys

import pytest

from tercelet.runtime import progress
from tercelet.runtime.progress import Progress


class Terminal(io.StringIO):
    """What a terminal would be sent."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


def run_steps(clock: Clock, count: int, seconds: float, total: int | None) -> None:
    with Progress(total, "clip") as bar:
        for _ in range(count):
            clock.now += seconds
            bar.advance()


def test_nothing_to_do_gives_one_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run_steps(clock, 0, 0, 0)
    assert capsys.readouterr().err == "clip: 0, 0.0/s, 0:00\n"


def test_without_a_terminal_a_line_comes_every_ten_seconds_at_most_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    run_steps(clock, 100, 0.25, 100)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "clip: 40/100, 4.0/s, 0:15 left",
        "clip: 80/100, 4.0/s, 0:05 left",
        "clip: 100/100, 4.0/s, 0:25",
    ]


def test_steps_slower_than_one_a_second_are_given_in_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    run_steps(clock, 2, 2000.0, 4)
    assert capsys.readouterr().err.splitlines()[-1] == "clip: 2/4, 2000.0 s each, 1:06:40 left"


def test_an_unknown_total_has_neither_bar_nor_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run_steps(clock, 30, 1.0, None)
    assert capsys.readouterr().err.splitlines()[-1] == "clip: 30, 1.0/s, 0:30"


def test_on_a_terminal_a_bar_is_redrawn_in_place(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(10, "clip") as bar:
        for _ in range(5):
            clock.now += 1
            bar.advance()
        bar.clear()
        half = terminal.getvalue()
        bar.advance(5)
    assert re.search(r"\rclip: 5/10, 1.0/s, 0:05 left \[#{15}\.{15}\]\x1b\[K\r\x1b\[K$", half)
    assert "\n" not in half
    assert terminal.getvalue().endswith("[" + "#" * 30 + "]\x1b[K\n")
    longest = max(re.sub(r"\x1b\[K", "", part).__len__() for part in terminal.getvalue().split("\r"))
    assert longest <= 80


def test_a_narrow_terminal_gets_no_bar_and_no_broken_line(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "24")
    run_steps(clock, 3, 1.0, 10)
    assert "#" not in terminal.getvalue()
    assert all(len(part.replace("\x1b[K", "")) <= 24 for part in terminal.getvalue().split("\r"))


def test_silent_means_silent(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(3, "clip", silent=True) as bar:
        clock.now += 100
        bar.advance()
        bar.clear()
    assert bar.count == 1
    assert terminal.getvalue() == ""


def test_without_stderr_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(2, "clip") as bar:
        bar.advance()
        bar.clear()
    assert bar.count == 1
