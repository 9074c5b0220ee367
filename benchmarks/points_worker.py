"""The process in which fpsample and scipy run for bench_points.py, in an environment without tercelet.

    python benchmarks/points_worker.py CLOUD.npz

CLOUD.npz: xyz (N, 3) and centre (M, 3), float32. Requests come as JSON, one a line, on stdin: {"way": NAME,
"count": 2048, "radius": 0.2, "samples": 64}. Answers go to stdout: {"seconds", "index"}, index a list, null
where it cannot be compared. The CPU's time is measured, from arrays in memory to an array of indices.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import fpsample
import numpy as np
from scipy.spatial import cKDTree

Index = np.ndarray[Any, Any]


def sampled(cloud: dict[str, Any], request: dict[str, Any]) -> Index:
    """fpsample's plain form, which starts where it is told to."""
    return np.asarray(fpsample.fps_sampling(cloud["xyz"], request["count"], start_idx=0))


def sampled_in_buckets(cloud: dict[str, Any], request: dict[str, Any]) -> Index:
    """fpsample's quickest exact form with the tree that suits this size; its start is drawn at random."""
    return np.asarray(fpsample.bucket_fps_kdline_sampling(cloud["xyz"], request["count"], h=5))


def in_ball(cloud: dict[str, Any], request: dict[str, Any]) -> Index:
    """A tree, what it finds in every ball sorted by index, the first of that, the rest filled up."""
    tree = cKDTree(cloud["xyz"])
    found = np.zeros((len(cloud["centre"]), request["samples"]), np.int32)
    hits = tree.query_ball_point(cloud["centre"], request["radius"], return_sorted=True)
    for row, indices in zip(found, hits, strict=True):
        kept = indices[: request["samples"]]
        row[:] = kept[0] if kept else 0
        row[: len(kept)] = kept
    return found


WAYS: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Index], bool]] = {
    "fpsample": (sampled, True),
    "fpsample buckets": (sampled_in_buckets, False),
    "cKDTree": (in_ball, True),
}


def main(path: str) -> None:
    """Answer until stdin ends."""
    with np.load(path) as stored:
        cloud = dict(stored)
    versions = {name: version(name) for name in ("fpsample", "scipy", "numpy")}
    print(json.dumps({"versions": versions}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        way, is_comparable = WAYS[request["way"]]
        start = time.process_time()
        index = way(cloud, request)
        seconds = time.process_time() - start
        answer = {"seconds": seconds, "index": index.tolist() if is_comparable else None}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
