"""The op kit: custom ops of domain `tercelet`, one folder and one line of `OPS` an op.

    OPS["AKConvSample"].reference(x, offset, stride=2)

This package needs numpy alone; torch and onnx are imported in `bindings` and in an op's `torch_kernel.py`
only.
"""

from __future__ import annotations

from tercelet.contract.op_spec import OpSpec
from tercelet.ops.akconv.spec import SPEC as _AKCONV
from tercelet.ops.akconv_sample.spec import SPEC as _AKCONV_SAMPLE

OPS: dict[str, OpSpec] = {spec.name: spec for spec in (_AKCONV_SAMPLE, _AKCONV)}

__all__ = ["OPS", "OpSpec"]
