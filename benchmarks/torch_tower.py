"""VoteNet in torch without kernels of its own, for bench_points.py.

The network of a checkpoint in eval mode, with point operators in plain tensor operations as the PyTorch
ports of PointNet++ have them: sampling in a loop with one step a point, ball query by the table of all
distances and a search in each row, the three nearest likewise, grouping by indices. Three searches: `sort` of
whole rows, as the well-known ports do it; `expanded`, the same with their distances by the expansion of the
square, whose rounding moves points across the radius; `topk`, a sort of no more than is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tercelet.training.checkpoint import load_checkpoint
from tercelet.training.detectors import point_layers, point_ops
from tercelet.training.detectors.votenet import proposal_head
from tercelet.training.detectors.votenet.detector import VoteNet

Floats = NDArray[np.float32]
_USERS: tuple[ModuleType, ...] = (point_layers, proposal_head)
_INDICES = ("furthest_point_sample", "ball_query")


def furthest_point_sample(points: Tensor, count: int, *, ties: str = "lowest") -> Tensor:
    """As `point_ops`; of equally far points the one that torch's argmax takes."""
    batch, number, _ = points.shape
    x, y, z = points.permute(2, 0, 1).contiguous()
    found = torch.zeros(batch, count, dtype=torch.long)
    nearest = torch.full((batch, number), 1e10)
    furthest = torch.zeros(batch, 1, dtype=torch.long)
    for step in range(count):
        found[:, step] = furthest[:, 0]
        dx, dy, dz = x - x.gather(1, furthest), y - y.gather(1, furthest), z - z.gather(1, furthest)
        nearest = torch.minimum(nearest, dx * dx + dy * dy + dz * dz)
        furthest = nearest.argmax(1, keepdim=True)
    return found


def ball_query(
    points: Tensor, centres: Tensor, *, radius: float, samples: int, least_radius: float = 0.0
) -> Tensor:
    """As `point_ops`, for a least radius of 0."""
    number = points.shape[1]
    distance = _distances(centres, points)
    order = torch.arange(number, dtype=torch.int32)
    hits = order.masked_fill(distance >= radius, number)
    return _filled(hits.topk(min(samples, number), dim=2, largest=False, sorted=True).values.long(), number)


def ball_query_by_sorting(
    points: Tensor, centres: Tensor, *, radius: float, samples: int, least_radius: float = 0.0
) -> Tensor:
    """The same with whole rows sorted."""
    return _first_by_sorting(_distances(centres, points) >= radius, samples)


def ball_query_by_expansion(
    points: Tensor, centres: Tensor, *, radius: float, samples: int, least_radius: float = 0.0
) -> Tensor:
    """The same with distances by the expansion of the square, which is off by more than a rounding."""
    square = centres.square().sum(2)[:, :, None] + points.square().sum(2)[:, None]
    square = torch.baddbmm(square, centres, points.transpose(1, 2), alpha=-2)
    return _first_by_sorting(square > radius**2, samples)


def _distances(centres: Tensor, points: Tensor) -> Tensor:
    """(B, M, N) by the differences of coordinates."""
    return torch.cdist(centres, points, compute_mode="donot_use_mm_for_euclid_dist")


def _first_by_sorting(is_out: Tensor, samples: int) -> Tensor:
    batch, count, number = is_out.shape
    hits = torch.arange(number).repeat(batch, count, 1)
    hits[is_out] = number
    return _filled(hits.sort(dim=2).values[:, :, :samples], number)


def _filled(first: Tensor, number: int) -> Tensor:
    """Hits in order, `number` where there are no more -> what is left over repeats the first; else 0."""
    return torch.where(first == number, first[:, :, :1] % number, first)


def group(
    points: Tensor, centres: Tensor, features: Tensor | None, indices: Tensor, *, radius: float
) -> Tensor:
    """As `point_ops`, by indexing."""
    batch = torch.arange(points.shape[0])[:, None, None]
    around = (points[batch, indices] - centres[:, :, None]) / radius
    if features is not None:
        around = torch.cat((around, features.transpose(1, 2)[batch, indices]), 3)
    return around.permute(0, 3, 1, 2)


def three_interpolate(
    points: Tensor, known: Tensor, features: Tensor, *, weighting: str = "distance"
) -> Tensor:
    """As `point_ops`, by the table of distances and the three smallest of each row."""
    distance = _distances(points, known)
    near, index = distance.topk(3, dim=2, largest=False)
    inverse = 1 / near.square().clamp(min=1e-10) if weighting == "squared" else 1 / (near + 1e-8)
    weights = inverse / inverse.sum(2, keepdim=True)
    batch = torch.arange(points.shape[0])[:, None, None]
    taken = features.transpose(1, 2)[batch, index]
    return (taken * weights[..., None]).sum(2).transpose(1, 2)


SEARCHES: dict[str, Callable[..., Tensor]] = {
    "sort": ball_query_by_sorting,
    "expanded": ball_query_by_expansion,
    "topk": ball_query,
}


def _torch_ops(search: str) -> dict[str, Callable[..., Tensor]]:
    return {
        "furthest_point_sample": furthest_point_sample,
        "ball_query": SEARCHES[search],
        "group": group,
        "three_interpolate": three_interpolate,
    }


@contextmanager
def _point_ops(ops: dict[str, Callable[..., Tensor]], seen: list[Tensor] | None = None) -> Iterator[None]:
    """The network uses these instead of its own; seen: takes the indices that they give."""

    def recorded(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*given: Any, **named: Any) -> Tensor:
            found = op(*given, **named)
            assert seen is not None
            seen.append(found)
            return found

        return run

    patches = [
        patch.object(module, name, recorded(op) if seen is not None and name in _INDICES else op)
        for name, op in ops.items()
        for module in _USERS
        if hasattr(module, name)
    ]
    for item in patches:
        item.start()
    try:
        yield
    finally:
        for item in patches:
            item.stop()


class TorchTower:
    """A checkpoint's network with torch's point operators, on so many threads."""

    def __init__(self, checkpoint: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        network, _ = load_checkpoint(checkpoint)
        if not isinstance(network, VoteNet):
            raise SystemExit(f"{checkpoint}: expected a checkpoint of votenet")
        self._network = network.eval()

    @torch.no_grad()
    def run(self, cloud: Floats, search: str) -> tuple[float, list[Floats]]:
        """cloud (1, N, 4) -> seconds, and boxes, objectness, class scores."""
        given = torch.from_numpy(cloud)
        with _point_ops(_torch_ops(search)):
            start = time.process_time()
            found = self._network(given)
            spent = time.process_time() - start
        return spent, [part.numpy() for part in (found.boxes, found.objectness, found.class_scores)]

    @torch.no_grad()
    def indices(self, cloud: Floats, search: str = "") -> list[NDArray[np.int64]]:
        """What samplings and balls give, level by level; without a search those of the op kit."""
        seen: list[Tensor] = []
        own = {name: getattr(point_ops, name) for name in _INDICES}
        with _point_ops(_torch_ops(search) if search else own, seen):
            self._network(torch.from_numpy(cloud))
        return [indices.numpy() for indices in seen]


def padded_share(ball: NDArray[Any]) -> float:
    """The share of the slots of a ball query (B, M, S) that only repeat the first hit."""
    return float((ball[..., 1:] == ball[..., :1]).sum() / ball.size)
