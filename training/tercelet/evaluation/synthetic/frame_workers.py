"""Synthetic frames, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tercelet.evaluation.synthetic.frame_files import FrameRequest, FrameTruth, write_frame
from tercelet.evaluation.synthetic.settings import SceneSettings
from tercelet.evaluation.synthetic.worker_processes import answers_of_workers, serve_requests


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
    plain = [{**asdict(request), "output": str(request.output)} for request in requests]
    names = [request.stem for request in requests]
    return [_truth(a) for a in answers_of_workers(__name__, plain, names=names, jobs=jobs, advance=advance)]


def serve() -> None:
    """A worker's life, see `serve_requests`."""
    serve_requests(lambda plain: asdict(write_frame(_request(plain))))


def _truth(plain: dict[str, Any]) -> FrameTruth:
    return FrameTruth(
        tuple(tuple(box) for box in plain["boxes"]),
        tuple(plain["class_ids"]),
        tuple(plain["visible"]),
        tuple(plain["inside"]),
    )


def _request(plain: dict[str, Any]) -> FrameRequest:
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in plain["settings"].items()
    }
    return FrameRequest(**{**plain, "output": Path(plain["output"]), "settings": SceneSettings(**settings)})
