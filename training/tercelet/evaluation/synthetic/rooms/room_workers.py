"""Synthetic rooms, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tercelet.evaluation.synthetic.rooms.room_files import RoomRequest, write_room
from tercelet.evaluation.synthetic.worker_processes import answers_of_workers, serve_requests


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
    plain = [[str(request.output), request.seed] for request in requests]
    names = [request.stem for request in requests]
    answers_of_workers(__name__, plain, names=names, jobs=jobs, advance=advance)


def serve() -> None:
    """A worker's life, see `serve_requests`."""
    serve_requests(_write)


def _write(plain: list[Any]) -> None:
    output, seed = plain
    write_room(RoomRequest(Path(output), seed))
