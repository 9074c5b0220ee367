"""Synthetic rooms in several processes, each of which takes every so manieth room.

A worker reads its seeds from stdin and answers with a JSON line a room. Processes of their own, not
multiprocessing: a caller's script is not imported again, and a worker ends when nobody reads its answers.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError, TerceletError
from tercelet.evaluation.synthetic.rooms.room_files import RoomRequest, write_room

_ERRORS = {kind.__name__: kind for kind in (InputError, CheckFailedError, MissingDependencyError)}
# An entry "" would let a file of the working folder stand in for a package.
_PROGRAM = (
    "import sys; sys.path[:] = [entry for entry in sys.path if entry]; "
    "from tercelet.evaluation.synthetic.rooms.room_workers import serve; serve()"
)

_Answer = dict[str, Any]


def write_rooms(requests: Sequence[RoomRequest], *, jobs: int, advance: Callable[[], None]) -> None:
    """Write all rooms, `jobs` at a time; advance is called after each.

    Raises the first error of a room, CheckFailedError for a process that died.
    """
    jobs = min(jobs, len(requests))
    if jobs < 2:
        for request in requests:
            write_room(request)
            advance()
        return
    answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    workers = [_start(requests[first::jobs], answers) for first in range(jobs)]
    try:
        running = jobs
        while running:
            answer = answers.get()
            if "error" in answer:
                raise _ERRORS.get(answer["error"], CheckFailedError)(answer["message"])
            if "ended" in answer:
                running -= 1
            else:
                advance()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start(requests: Sequence[RoomRequest], answers: queue.SimpleQueue[_Answer]) -> subprocess.Popen[str]:
    """A worker with a thread that hands on its answers."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )

    def hand_on() -> None:
        assert worker.stdin is not None
        assert worker.stdout is not None
        count = 0
        try:
            worker.stdin.write(json.dumps([[str(request.output), request.seed] for request in requests]))
            worker.stdin.close()
            for line in worker.stdout:
                answers.put(json.loads(line))
                count += 1
        except (OSError, ValueError):
            pass  # it died: the count tells
        if count < len(requests):
            code = worker.wait()
            answers.put({"error": "CheckFailedError", "message": _death(requests[count].stem, code)})
        answers.put({"ended": True})

    threading.Thread(target=hand_on, daemon=True).start()
    return worker


def _death(stem: str, code: int) -> str:
    return f"{stem}: the process that drew it ended with exit code {code} (is memory short?); try --jobs 1"


def serve() -> None:
    """A worker's life: all requests of stdin, an answer on stdout after each, the end at the first error."""
    from tercelet.runtime import vision

    vision.limit_threads(1)
    # A library that prints must not spoil the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    for output, seed in json.load(sys.stdin):
        try:
            write_room(RoomRequest(Path(output), seed))
            answer: _Answer = {"seed": seed}
        except TerceletError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        try:
            out.write(json.dumps(answer) + "\n")
            out.flush()
        except (BrokenPipeError, KeyboardInterrupt):
            os._exit(1)
        if "error" in answer:
            return
