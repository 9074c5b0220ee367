"""SetAbstraction in torch: the kernel behind `tercelet::set_abstraction`; without a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.ops.set_abstraction.spec import SPEC


@torch.no_grad()
def set_abstraction(
    points: Tensor,
    centre: Tensor,
    index: Tensor,
    features: Tensor,
    weight0: Tensor,
    bias0: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    *,
    radius: float,
) -> Tensor:
    """As `set_abstraction_reference`, sums in the dtype of features, which is that of the result (B, O, M).

    Raises InputError for shapes, attributes or dtypes that do not fit.
    """
    layers = ((weight0, bias0), (weight1, bias1), (weight2, bias2))
    given = (points, centre, index, features, *(item for layer in layers for item in layer))
    dims = SPEC.bind([item.shape for item in given], {"radius": radius})
    for name, places in (("points", points), ("centre", centre)):
        if places.dtype not in (torch.float32, torch.float64):
            raise InputError(f"SetAbstraction: {name}: expected float32, got {places.dtype}")
    batch = torch.arange(dims["B"], device=points.device)[:, None, None]
    taken = index.long().clamp(0, dims["N"] - 1)
    once = features.transpose(1, 2) @ weight0[:, 3:].T + bias0
    offset = (points[batch, taken] - centre[:, :, None]) / radius
    rows = torch.relu(offset.to(features.dtype) @ weight0[:, :3].T + once[batch, taken])
    rows = torch.relu(rows @ weight1.T + bias1)
    return torch.relu((rows @ weight2.T).amax(2) + bias2).transpose(1, 2).contiguous()
