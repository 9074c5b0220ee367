"""What to do when memory runs out, in place of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tercelet.contract.errors import CheckFailedError
from tercelet.training.detector_training.recipe import Recipe

# How torch says on the CPU what OutOfMemoryError says on a GPU.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bus error",
    "shared memory",
    "killed by signal",
)


@contextmanager
def memory_advice(recipe: Recipe, folder: Path, *, points: int | None = None) -> Iterator[None]:
    """Turn running out of memory into a CheckFailedError that says what to make smaller. points: of
    a cloud, for networks that look at clouds."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise CheckFailedError(_advice(recipe, folder, points)) from error
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in _SIGNS):
            raise
        raise CheckFailedError(
            f"{_advice(recipe, folder, points)} ({str(error).splitlines()[0][:120]})"
        ) from error


def _advice(recipe: Recipe, folder: Path, points: int | None) -> str:
    if points is not None:
        return (
            f"memory ran out with batch {recipe.batch} at {points} points: halve the batch, or lower points "
            f"or workers; the last whole epoch is kept in {folder}"
        )
    return (
        f"memory ran out with batch {recipe.batch} at {recipe.height}x{recipe.width}: halve the batch "
        f"(gradients are summed up to nominal_batch {recipe.nominal_batch} all the same), lower size or "
        f"workers, or turn the cache off; the last whole epoch is kept in {folder}"
    )
