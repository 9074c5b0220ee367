"""Several processes, on one machine or many, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor

from tercelet.contract.errors import InputError

# The others wait while the leader validates and writes, which on a large data set takes its time.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Processes:
    """rank: which one this is, 0 leads and alone writes. count: how many there are. device: this one's."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process reports, validates and writes."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        if self.count == 1:
            return value
        summed = value.detach().clone()
        torch.distributed.all_reduce(summed)
        return summed

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def any(self, fact: bool) -> bool:
        """Whether it is true in any process."""
        if self.count == 1:
            return fact
        return bool(self.total(torch.tensor(float(fact), device=self.device)) > 0)


@contextmanager
def started_processes(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; left again at the end.

    device: cpu (gloo) or cuda (nccl, one GPU a process). InputError for an environment that is half set.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    if count == 1:
        yield Processes(0, 1, place)
        return
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        raise InputError("WORLD_SIZE is set, but RANK or MASTER_ADDR is not; start with torchrun")
    if device == "cuda":
        torch.cuda.set_device(place)
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(torch.distributed.get_rank(), torch.distributed.get_world_size(), place)
    finally:
        torch.distributed.destroy_process_group()
