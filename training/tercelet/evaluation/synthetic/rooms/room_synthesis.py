"""The function behind `tercelet synth rooms`: a folder of synthetic rooms in two forms of SUN RGB-D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.contract.json_output import check_json_place, write_json
from tercelet.evaluation.datasets.sunrgbd_votenet import read_votenet_boxes
from tercelet.evaluation.synthetic.requested_folder import open_requested_folder
from tercelet.evaluation.synthetic.rooms.room_files import FOLDERS, RoomRequest
from tercelet.evaluation.synthetic.rooms.room_workers import write_rooms
from tercelet.evaluation.synthetic.rooms.view import LEAST_POINTS, POINTS
from tercelet.runtime.given_path import given_path
from tercelet.runtime.progress import Progress
from tercelet.runtime.vision import require_opencv

JOBS = 2


@dataclass(frozen=True)
class SyntheticRoomsResult:
    """objects: with a box, by class. made: rooms that were drawn in this run; the others were there already.
    least_points: how many of the `points` of a cloud an object with a box has at least. seconds: of this
    run."""

    output: Path
    seed: int
    rooms: int
    made: int
    points: int
    least_points: int
    objects: dict[str, int]
    seconds: float

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "output": str(self.output)}


def synth_rooms(
    output: str | Path,
    *,
    count: int = 100,
    seed: int = 0,
    jobs: int = JOBS,
    json: str | Path | None = None,
    quiet: bool = False,
) -> SyntheticRoomsResult:
    """Write the rooms `seed`, `seed` + 1, ... as a data set in two forms, both of which open_sunrgbd reads:

        sunrgbd_trainval/image/SEED.jpg      the picture, 640x480
        sunrgbd_trainval/depth/SEED.png      depth of the same pixels, 16 bit, millimetres, 0 for a hole
        sunrgbd_trainval/depth/SEED.mat      20000 points of it, upright, with colours
        sunrgbd_trainval/calib/SEED.txt      Rtilt and K
        sunrgbd_trainval/label_v1/SEED.txt   boxes
        sunrgbd_pc_bbox_votes/SEED_pc.npz, SEED_bbox.npy, SEED_votes.npz   the same points and boxes, votes
        synthetic.json                       the request

    A piece of furniture has a box if at least 60 of the 20000 points are its own. A point votes for the piece
    that it was seen on: noise takes no votes away, and the floor below a table has none. jobs: processes.
    json: file for the summary, "-" for stdout. quiet: no progress on stderr. The folder must be new or empty,
    or hold what the same request made; rooms that are complete there are kept. Raises InputError (options, a
    folder with something else in it, no room on the disk).
    """
    start = perf_counter()
    check_json_place(json)
    require_opencv()
    _check_options(count=count, seed=seed, jobs=jobs)
    folder = given_path(output, name="output")
    open_requested_folder(
        folder,
        {"seed": seed, "count": count, "points": POINTS, "least_points": LEAST_POINTS},
        made_by="tercelet synth rooms",
        folders=FOLDERS,
    )
    requests = [RoomRequest(folder, number) for number in range(seed, seed + count)]
    missing = [request for request in requests if not request.last_file.is_file()]
    with Progress(count, "synth", silent=quiet) as progress:
        progress.advance(count - len(missing))
        write_rooms(missing, jobs=jobs, advance=progress.advance)
    result = SyntheticRoomsResult(
        output=folder,
        seed=seed,
        rooms=count,
        made=len(missing),
        points=POINTS,
        least_points=LEAST_POINTS,
        objects=_counts(requests),
        seconds=perf_counter() - start,
    )
    if json is not None:
        write_json(json, result.record())
    return result


def rooms_text(result: SyntheticRoomsResult) -> str:
    """A line a fact."""
    objects = ", ".join(f"{name} {count}" for name, count in result.objects.items() if count) or "none"
    total = sum(result.objects.values())
    seeds = f"seeds {result.seed} to {result.seed + result.rooms - 1}"
    kept = f", {result.rooms - result.made} of them there already" if result.made < result.rooms else ""
    each = f", {result.seconds / result.made:.2f} s a room" if result.made else ""
    rows = [
        ("rooms", f"{result.rooms} of {result.points} points, {seeds}{kept}"),
        ("objects", f"{total} ({total / result.rooms:.1f} a room): {objects}"),
        ("boxes", f"of objects with at least {result.least_points} points"),
        ("time", f"{result.seconds:.1f} s{each}"),
        ("written to", str(result.output)),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _check_options(*, count: int, seed: int, jobs: int) -> None:
    if count < 1:
        raise InputError(f"count: expected at least 1 room, got {count}")
    if seed < 0 or seed + count > 1_000_000:
        raise InputError(f"seed: expected rooms from 0 to 999999, got {seed} to {seed + count - 1}")
    if jobs < 1:
        raise InputError(f"jobs: expected at least 1 process, got {jobs}")


def _counts(requests: Sequence[RoomRequest]) -> dict[str, int]:
    ids = [read_votenet_boxes(request.boxes_file)[1] for request in requests]
    found = np.bincount(np.concatenate(ids), minlength=len(SUNRGBD_CLASSES)).tolist()
    return dict(zip(SUNRGBD_CLASSES, found, strict=True))
