"""The op kit: custom ops of domain `tercelet`, one folder and one line of `OPS` an op.

    OPS["AKConvSample"].reference(x, offset, stride=2)

This package needs numpy alone; torch and onnx are imported in `bindings` and in an op's `torch_kernel.py`
only.
"""

from __future__ import annotations

from tercelet.contract.op_spec import OpSpec
from tercelet.ops.akconv.spec import SPEC as _AKCONV
from tercelet.ops.akconv_sample.spec import SPEC as _AKCONV_SAMPLE
from tercelet.ops.ball_query.spec import SPEC as _BALL_QUERY
from tercelet.ops.furthest_point_sample.spec import SPEC as _FURTHEST_POINT_SAMPLE
from tercelet.ops.set_abstraction.spec import SPEC as _SET_ABSTRACTION
from tercelet.ops.three_interpolate.spec import SPEC as _THREE_INTERPOLATE
from tercelet.ops.vote_fusion.spec import SPEC as _VOTE_FUSION

_SPECS = (
    _AKCONV_SAMPLE,
    _AKCONV,
    _FURTHEST_POINT_SAMPLE,
    _BALL_QUERY,
    _THREE_INTERPOLATE,
    _VOTE_FUSION,
    _SET_ABSTRACTION,
)
OPS: dict[str, OpSpec] = {spec.name: spec for spec in _SPECS}

__all__ = ["OPS", "OpSpec"]
