"""Frames in several processes that end by themselves when the one that feeds them is gone, however it went.

A worker reads tasks as JSON lines from stdin and answers each with one line on stdout.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError, TerceletError
from tercelet.evaluation.preparation.frame import FrameTask, prepare_frame
from tercelet.evaluation.preparation.settings import PrepareSettings

_ERRORS = {kind.__name__: kind for kind in (InputError, CheckFailedError, MissingDependencyError)}
# Ctrl-C goes to every process of a terminal and is left to the one that feeds. An entry "" would let a file
# of the working folder stand in for a package.
_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "sys.path[:] = [entry for entry in sys.path if entry]; "
    "from tercelet.evaluation.preparation.workers import serve; serve()"
)


def prepare_frames(tasks: Sequence[FrameTask], *, jobs: int, advance: Callable[[], None]) -> None:
    """Prepare every frame, `jobs` at a time; advance is called after each.

    After the first error no new frame is begun, those in work are finished, and the error is raised.
    """
    if min(jobs, len(tasks)) < 2:
        for task in tasks:
            prepare_frame(task)
            advance()
        return
    pending = iter(tasks)
    lock, stop = threading.Lock(), threading.Event()
    answers: queue.SimpleQueue[BaseException | threading.Thread | None] = queue.SimpleQueue()

    def feed() -> None:
        try:
            with _Worker() as worker:
                while not stop.is_set():
                    with lock:
                        task = next(pending, None)
                    if task is None:
                        return
                    worker.prepare(task)
                    answers.put(None)
        except BaseException as error:  # handed to the thread that waits
            answers.put(error)
        finally:
            answers.put(threading.current_thread())

    threads = [threading.Thread(target=feed, daemon=True) for _ in range(min(jobs, len(tasks)))]
    for thread in threads:
        thread.start()
    try:
        _wait(answers, len(threads), advance=advance, stop=stop)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _wait(
    answers: queue.SimpleQueue[BaseException | threading.Thread | None],
    running: int,
    *,
    advance: Callable[[], None],
    stop: threading.Event,
) -> None:
    failure: BaseException | None = None
    while running:
        answer = answers.get()
        if answer is None:
            advance()
        elif isinstance(answer, threading.Thread):
            running -= 1
        else:
            failure = failure or answer
            stop.set()
    if failure is not None:
        raise failure


class _Worker:
    """One process, for one thread."""

    def __init__(self) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )

    def prepare(self, task: FrameTask) -> None:
        """Have one frame prepared; raises what the worker raised, CheckFailedError if it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(_plain(task)) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise CheckFailedError(
                f"{task.picture}: the process that prepared it ended with exit code {code} "
                "(is memory short?); the same command goes on where this one stopped"
            )
        answer = json.loads(line)
        if answer["error"] is not None:
            raise _ERRORS.get(answer["error"], RuntimeError)(answer["message"])

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input ends a worker.
        self._process.communicate()


def serve() -> None:
    """A worker's life: until its input ends."""
    from tercelet.runtime import vision

    vision.limit_threads(1)
    # A library that prints must not spoil the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    for answer in _answers(sys.stdin):
        try:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        except BrokenPipeError:
            os._exit(1)


def _answers(lines: Iterator[str] | Any) -> Iterator[dict[str, str | None]]:
    for line in lines:
        try:
            prepare_frame(_task(json.loads(line)))
            yield {"error": None}
        except TerceletError as error:
            yield {"error": type(error).__name__, "message": str(error)}
        except Exception:
            yield {"error": "unexpected", "message": traceback.format_exc()}


def _plain(task: FrameTask) -> dict[str, Any]:
    paths = {name: str(getattr(task, name)) for name in ("picture", "annotation", "output")}
    return {**paths, "name": task.name, "mode": task.mode, "settings": asdict(task.settings)}


def _task(plain: dict[str, Any]) -> FrameTask:
    return FrameTask(
        picture=Path(plain["picture"]),
        annotation=Path(plain["annotation"]),
        name=plain["name"],
        output=Path(plain["output"]),
        mode=plain["mode"],
        settings=PrepareSettings(**plain["settings"]),
    )
