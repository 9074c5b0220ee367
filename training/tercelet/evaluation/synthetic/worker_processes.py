"""Frames or rooms in several processes, each of which takes every so manieth.

A worker reads all its requests from stdin and answers with a JSON line for each. Processes of their own, not
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
from typing import Any

from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError, TerceletError

_ERRORS = {kind.__name__: kind for kind in (InputError, CheckFailedError, MissingDependencyError)}
# An entry "" would let a file of the working folder stand in for a package.
_PROGRAM = (
    "import sys; sys.path[:] = [entry for entry in sys.path if entry]; from {module} import serve; serve()"
)

_Answer = dict[str, Any]


def answers_of_workers(
    module: str,
    requests: Sequence[Any],
    *,
    names: Sequence[str],
    jobs: int,
    advance: Callable[[], None],
) -> list[Any]:
    """What `serve` of a module answers to each request, in their order, from `jobs` processes.

    requests: JSON-ready. names: of the requests, for the message where a process died. advance: called after
    each. Raises the first error of a request, CheckFailedError for a process that died.
    """
    answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    places = range(len(requests))
    workers = [_start(module, places[first::jobs], requests, names, answers) for first in range(jobs)]
    found: dict[int, Any] = {}
    try:
        running = jobs
        while running:
            answer = answers.get()
            if "error" in answer:
                raise _ERRORS.get(answer["error"], CheckFailedError)(answer["message"])
            if "ended" in answer:
                running -= 1
            else:
                found[answer["place"]] = answer["made"]
                advance()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return [found[place] for place in places]


def _start(
    module: str,
    places: Sequence[int],
    requests: Sequence[Any],
    names: Sequence[str],
    answers: queue.SimpleQueue[_Answer],
) -> subprocess.Popen[str]:
    """A worker with a thread that hands on its answers."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(module=module)],
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
            worker.stdin.write(json.dumps([[place, requests[place]] for place in places]))
            worker.stdin.close()
            for line in worker.stdout:
                answers.put(json.loads(line))
                count += 1
        except (OSError, ValueError):
            pass  # it died: the count tells
        if count < len(places):
            code = worker.wait()
            answers.put({"error": "CheckFailedError", "message": _death(names[places[count]], code)})
        answers.put({"ended": True})

    threading.Thread(target=hand_on, daemon=True).start()
    return worker


def _death(name: str, code: int) -> str:
    return f"{name}: the process that drew it ended with exit code {code} (is memory short?); try --jobs 1"


def serve_requests(make: Callable[[Any], Any]) -> None:
    """A worker's life: all requests of stdin, an answer on stdout after each, the end at the first error.

    make: writes what a request asks for and returns something JSON-ready.
    """
    from tercelet.runtime import vision

    vision.limit_threads(1)
    # A library that prints must not spoil the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    for place, request in json.load(sys.stdin):
        try:
            answer: _Answer = {"place": place, "made": make(request)}
        except TerceletError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        try:
            out.write(json.dumps(answer) + "\n")
            out.flush()
        except (BrokenPipeError, KeyboardInterrupt):
            os._exit(1)
        if "error" in answer:
            return
