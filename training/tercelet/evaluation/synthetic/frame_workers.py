"""Synthetic frames in several processes, each of which takes every so manieth frame.

A worker reads all its requests from stdin and answers with a JSON line a frame. Processes of their own, not
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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError, TerceletError
from tercelet.evaluation.synthetic.frame_files import FrameRequest, FrameTruth, write_frame
from tercelet.evaluation.synthetic.settings import SceneSettings

_ERRORS = {kind.__name__: kind for kind in (InputError, CheckFailedError, MissingDependencyError)}
# An entry "" would let a file of the working folder stand in for a package.
_PROGRAM = (
    "import sys; sys.path[:] = [entry for entry in sys.path if entry]; "
    "from tercelet.evaluation.synthetic.frame_workers import serve; serve()"
)

_Answer = dict[str, Any]


def write_frames(
    requests: Sequence[FrameRequest], *, jobs: int, advance: Callable[[], None]
) -> list[FrameTruth]:
    """Write all frames, `jobs` at a time; advance is called after each. Answers in the order of the requests.

    Raises the first error of a frame, CheckFailedError for a process that died.
    """
    jobs = min(jobs, len(requests))
    if jobs < 2:
        truths = []
        for request in requests:
            truths.append(write_frame(request))
            advance()
        return truths
    found: dict[int, FrameTruth] = {}
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
                truth = answer["truth"]
                found[answer["seed"]] = FrameTruth(
                    tuple(tuple(box) for box in truth["boxes"]),
                    tuple(truth["class_ids"]),
                    tuple(truth["visible"]),
                    tuple(truth["inside"]),
                )
                advance()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return [found[request.seed] for request in requests]


def _start(requests: Sequence[FrameRequest], answers: queue.SimpleQueue[_Answer]) -> subprocess.Popen[str]:
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
            worker.stdin.write(json.dumps([_plain(request) for request in requests]))
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
    for plain in json.load(sys.stdin):
        request = _request(plain)
        try:
            answer: _Answer = {"seed": request.seed, "truth": asdict(write_frame(request))}
        except TerceletError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        try:
            out.write(json.dumps(answer) + "\n")
            out.flush()
        except (BrokenPipeError, KeyboardInterrupt):
            os._exit(1)
        if "error" in answer:
            return


def _plain(request: FrameRequest) -> dict[str, Any]:
    return {**asdict(request), "output": str(request.output)}


def _request(plain: dict[str, Any]) -> FrameRequest:
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in plain["settings"].items()
    }
    return FrameRequest(**{**plain, "output": Path(plain["output"]), "settings": SceneSettings(**settings)})
