"""Which votes of the picture go on: a fixed number of columns out of three a seed, the same every time.

Upstream draws them at random, at test time as well; here they are taken in ascending order.
"""

from __future__ import annotations

import torch
from torch import Tensor


def selected_columns(mask: Tensor) -> Tensor:
    """mask (B, 3n), not 0 where there is a vote, column j * n + i being vote j of seed i -> (B, n) int64.

    The columns with a vote, ascending. If there are fewer than n: then the first column of each seed that has
    no vote, ascending, as far as places are left. Seeds with several votes come several times, so that as
    many others may be missing. All shapes are fixed.
    """
    is_vote = mask != 0
    count = mask.shape[1] // 3
    has_none = ~is_vote.reshape(-1, 3, count).any(1)
    # Ranks are unique and below 2 ** 24, so float32 tells them apart.
    columns = torch.arange(3 * count, device=mask.device, dtype=torch.float32)
    is_spare = torch.cat((has_none, torch.zeros_like(is_vote[:, count:])), 1)
    rank = columns + torch.where(is_vote, 0.0, torch.where(is_spare, 3.0 * count, 6.0 * count))
    return rank.topk(count, dim=1, largest=False, sorted=True).indices
