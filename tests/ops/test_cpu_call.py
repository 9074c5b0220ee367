"""The native library as torch kernels call it: the same decisions as torch makes, and refusals in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.ops import OPS
from tercelet.ops.bindings.cpu_call import native_ops, run_on_cpu, use_native_ops
from tercelet.ops.bindings.torch import torch_op
from tercelet.ops.building import build_library


@pytest.fixture(scope="module")
def library() -> Path:
    try:
        return build_library("onnxruntime").path
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = native_ops()
    yield
    use_native_ops(before)


def cloud(count: int) -> Tensor:
    """Three clouds with points that come twice."""
    points = torch.rand(3, count, 3, generator=torch.Generator().manual_seed(count)) * 4
    points[:, count // 2] = points[:, 0]
    return points


def test_nothing_is_native_until_it_is_asked_for(library: Path) -> None:
    use_native_ops(None)
    assert native_ops() is None
    with pytest.raises(CheckFailedError, match="use_native_ops first"):
        run_on_cpu(
            OPS["FurthestPointSample"], [np.zeros((1, 4, 3), np.float32)], {"count": 1, "ties": "lowest"}
        )


@pytest.mark.parametrize("ties", ["lowest", "mmcv"])
@pytest.mark.parametrize("count", [1, 7, 500, 3000])
def test_furthest_points_are_the_same(library: Path, count: int, ties: str) -> None:
    both = [sampled(way, count, ties) for way in (None, library)]
    assert torch.equal(*both)


def sampled(way: Path | None, count: int, ties: str) -> Tensor:
    use_native_ops(way)
    found: Tensor = torch_op("FurthestPointSample")(cloud(count), min(count, 64), ties)
    return found


@pytest.mark.parametrize("count", [1, 7, 500, 3000])
def test_points_in_balls_are_the_same(library: Path, count: int) -> None:
    points = cloud(count)
    both = []
    for way in (None, library):
        use_native_ops(way)
        both.append(torch_op("BallQuery")(points, points[:, :50], 0.6, 16, 0.0))
    assert torch.equal(*both)
    assert both[0].dtype == torch.int32


@pytest.mark.parametrize("known", [1, 2, 3, 200])
def test_interpolation_keeps_lower_indices_first(known: int) -> None:
    use_native_ops(None)
    points, few = cloud(60), cloud(60)[:, :1].expand(-1, known, -1).contiguous()
    features = torch.arange(known, dtype=torch.float32).expand(3, 2, known).contiguous()
    found = torch_op("ThreeInterpolate")(points, few, features, "distance")
    # All are equally near: the first three have it.
    np.testing.assert_allclose(found.numpy(), (min(known, 3) - 1) / 2, atol=1e-6)


def test_shapes_that_do_not_fit_are_refused(library: Path) -> None:
    use_native_ops(library)
    with pytest.raises(InputError):
        torch_op("BallQuery")(cloud(5), torch.zeros(2, 5, 3), 0.6, 16, 0.0)


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.so").write_bytes(b"no library")
    with pytest.raises(CheckFailedError, match=r"no\.so: expected a library with tercelet_cpu_call"):
        use_native_ops(tmp_path / "no.so")
