"""Torch tensors into the native library in use (cpu_call.py) and back, for the torch kernels of the ops.

Kernels that decide (which points are in a ball, which is furthest) give the same there to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tercelet.contract.op_spec import AttributeValue, OpSpec
from tercelet.ops.bindings.cpu_call import native_ops, run_on_cpu


def runs_natively(*tensors: Tensor) -> bool:
    """Whether a library is in use that takes these tensors."""
    return native_ops() is not None and all(
        tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors
    )


def torch_from_native(
    spec: OpSpec, inputs: Sequence[Tensor], attributes: Mapping[str, AttributeValue]
) -> tuple[Tensor, ...]:
    """The outputs of an op, on as many threads as torch takes. Errors as `run_on_cpu`."""
    arrays = [tensor.detach().contiguous().numpy() for tensor in inputs]
    found = run_on_cpu(spec, arrays, attributes, threads=torch.get_num_threads())
    return tuple(torch.from_numpy(array) for array in found)
