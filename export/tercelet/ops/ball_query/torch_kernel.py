"""BallQuery in torch: the kernel behind `tercelet::ball_query`. Indices have no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.ops.ball_query.spec import SPEC
from tercelet.ops.bindings.native_torch import runs_natively, torch_from_native

# Distances at a time.
_AT_ONCE = 1 << 22


@torch.no_grad()
def ball_query(xyz: Tensor, centre: Tensor, *, radius: float, samples: int, min_radius: float) -> Tensor:
    """xyz (B, N, 3), centre (B, M, 3), both float32 (or float64) -> indices (B, M, samples), int32; as
    `ball_query_reference`.

    Raises InputError for shapes, attributes or dtypes that do not fit.
    """
    SPEC.bind((xyz.shape, centre.shape), {"radius": radius, "samples": samples, "min_radius": min_radius})
    for name, points in (("xyz", xyz), ("centre", centre)):
        if points.dtype not in (torch.float32, torch.float64):
            raise InputError(f"BallQuery: {name}: expected float32, got {points.dtype}")
    if runs_natively(xyz, centre):
        attributes = {"radius": radius, "samples": samples, "min_radius": min_radius}
        return torch_from_native(SPEC, (xyz, centre), attributes)[0]
    outer, inner = (
        torch.tensor(value, dtype=xyz.dtype, device=xyz.device).square() for value in (radius, min_radius)
    )
    found = torch.zeros((*centre.shape[:2], samples), dtype=torch.int32, device=xyz.device)
    step = max(1, _AT_ONCE // xyz.shape[1])
    for image in range(xyz.shape[0]):
        x, y, z = xyz[image].detach().T.contiguous()
        for start in range(0, centre.shape[1], step):
            own = centre[image, start : start + step].detach()
            dx, dy, dz = x - own[:, :1], y - own[:, 1:2], z - own[:, 2:]
            square = (dx * dx + dy * dy) + dz * dz
            is_hit = ((square < outer) & (square >= inner)) | (square == 0)
            found[image, start : start + step] = _first_hits(is_hit, samples)
    return found


def _first_hits(is_hit: Tensor, samples: int) -> Tensor:
    """Indices (M, samples) of the first hits in each row (M, N)."""
    row, column = is_hit.nonzero(as_tuple=True)
    hits = is_hit.sum(1)
    first = hits.cumsum(0) - hits
    place = torch.arange(len(row), device=row.device) - first[row]
    filling = torch.where(hits > 0, is_hit.to(torch.uint8).argmax(1), 0)
    found = filling[:, None].repeat(1, samples)
    is_kept = place < samples
    found[row[is_kept], place[is_kept]] = column[is_kept]
    return found.to(torch.int32)
