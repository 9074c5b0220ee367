"""FurthestPointSample in torch: the kernel behind `tercelet::furthest_point_sample`; without a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.ops.bindings.native_torch import runs_natively, torch_from_native
from tercelet.ops.furthest_point_sample.spec import EXCLUDED, FURTHEST, SPEC, tie_order


@torch.no_grad()
def furthest_point_sample(xyz: Tensor, *, count: int, ties: str) -> Tensor:
    """xyz (B, N, 3) float32 (or float64) -> indices (B, count), int32; as `furthest_point_sample_reference`.

    Raises InputError for shapes, attributes or dtypes that do not fit.
    """
    SPEC.bind((xyz.shape,), {"count": count, "ties": ties})
    if xyz.dtype not in (torch.float32, torch.float64):
        raise InputError(f"FurthestPointSample: xyz: expected float32, got {xyz.dtype}")
    if runs_natively(xyz):
        return torch_from_native(SPEC, (xyz,), {"count": count, "ties": ties})[0]
    order = torch.from_numpy(tie_order(xyz.shape[1], ties)).to(xyz.device)
    points = xyz.detach()[:, order]
    is_finite = points.isfinite().all(2)
    x, y, z = torch.where(is_finite[..., None], points, 0).permute(2, 0, 1).contiguous()
    nearest = torch.where(is_finite, float(FURTHEST), float(EXCLUDED)).to(xyz.dtype)
    found = torch.empty((count, xyz.shape[0]), dtype=torch.int64, device=xyz.device)
    for place in range(count):
        best = nearest.argmax(1, keepdim=True) if xyz.shape[0] else found[place][:, None]
        found[place] = best[:, 0]
        dx, dy, dz = (plane - plane.gather(1, best) for plane in (x, y, z))
        nearest = torch.minimum(nearest, (dx * dx + dy * dy) + dz * dz)
    return order[found.T].to(torch.int32).contiguous()
