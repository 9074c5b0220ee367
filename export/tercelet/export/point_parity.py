"""The exported graph of a detector of clouds against torch, proposal by proposal.

Which points are sampled and which lie in a ball is decided by comparisons: the last bit of a vote can put
another point into a ball and so change a proposal as a whole. Hence two steps. First every node that decides
is compared with its reference on the inputs that it got in the engine, and must equal it (op_lowering). Then
torch runs on the same cloud and is given the graph's decisions, in the order in which it asks for them: what
is left is arithmetic, and every proposal has its counterpart. The points that torch would have decided on
must be those of the graph to rounding, and how many decisions it would have taken otherwise is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from tercelet.contract.errors import CheckFailedError
from tercelet.contract.manifest import CloudParity
from tercelet.export.onnx_from_points import OUTPUT_NAMES, CloudDetector
from tercelet.export.op_lowering import run_opened
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import attributes_of
from tercelet.ops.bindings.torch import torch_op, torch_ops
from tercelet.training.detectors.votenet.detector import VoteNet

# Metres and radians, of numbers above 1 relative to the largest; what a fault causes is far larger.
BOX_GATE = 1e-3
SCORE_GATE = 1e-3
Floats = NDArray[np.float64]


class _GivenDecisions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Torch ops that decide give what the graph gave instead, one node a call.

    nodes, values: as `run_opened` has them. decisions, changed: how many indices torch was given, and how
    many it would have chosen otherwise. apart: largest difference of the points it would have decided on.
    """

    def __init__(self, nodes: Sequence[onnx.NodeProto], values: dict[str, NDArray[Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {torch_op(name): name for name in torch_ops() if _decides(name)}
        self._nodes = {name: [n for n in nodes if n.op_type == name] for name in self._names.values()}
        self._values = values
        self.decisions = self.changed = 0
        self.apart = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = self._names.get(func)
        own = func(*args, **(kwargs or {}))
        if name is None:
            return own
        if not self._nodes[name]:
            raise CheckFailedError(f"the graph lacks a node {name} that torch runs; nothing was written")
        node, spec = self._nodes[name].pop(0), OPS[name]
        named = (item.name for item in spec.attributes)
        asked = spec.complete(dict(zip(named, args[len(spec.inputs) :], strict=True)))
        if attributes_of(node) != asked:
            raise CheckFailedError(f"{node.name or name}: expected {asked}, got {attributes_of(node)}")
        for points, read in zip(args, node.input, strict=False):
            self.apart = _worst(self.apart, points.numpy(), self._values[read])
        given = torch.from_numpy(self._values[node.output[0]].copy())
        self.decisions += given.numel()
        self.changed += int((own != given).sum())
        return given

    def unasked(self) -> list[str]:
        """Names of nodes that torch did not ask for."""
        return [name for name, nodes in self._nodes.items() if nodes]


def check_point_parity(detector: VoteNet, model: Path, clouds: Sequence[NDArray[np.float32]]) -> CloudParity:
    """Compare a graph whose custom ops have bodies with its torch source; CheckFailedError above the gates.

    clouds: each (1, N, 4) float32 as the graph takes it.
    """
    graph, reference = onnx.load(model), CloudDetector(detector).eval()
    boxes: list[Floats] = []
    scores: list[Floats] = []
    decisions = changed = 0
    apart = 0.0
    for cloud in clouds:
        nodes, values = run_opened(graph, cloud)
        given = _GivenDecisions(nodes, values)
        with torch.no_grad(), given:
            expected = [part.numpy() for part in reference(torch.from_numpy(cloud))]
        if given.unasked():
            raise CheckFailedError(f"the graph has nodes {', '.join(given.unasked())} that torch lacks")
        difference, *rest = (_apart(values[n], e) for n, e in zip(OUTPUT_NAMES, expected, strict=True))
        difference[..., 6] = np.minimum(difference[..., 6], np.abs(2 * np.pi - difference[..., 6]))
        boxes.append(difference.ravel() / max(1.0, float(np.abs(expected[0]).max())))
        scores.extend(part.ravel() for part in rest)
        decisions, changed = decisions + given.decisions, changed + given.changed
        apart = max(apart, given.apart) if np.isfinite(given.apart) else np.inf
    parity = CloudParity(
        reference=f"torch {torch.__version__} float32",
        clouds=len(clouds),
        proposals=sum(len(part) for part in boxes) // 7,
        boxes_max=float(np.concatenate(boxes).max()),
        boxes_p999=float(np.percentile(np.concatenate(boxes), 99.9)),
        scores_max=float(np.concatenate(scores).max()),
        scores_p999=float(np.percentile(np.concatenate(scores), 99.9)),
        decisions=decisions,
        changed=changed,
        points_max=apart,
        gate_box=BOX_GATE,
        gate_score=SCORE_GATE,
    )
    _check(parity)
    return parity


def _check(parity: CloudParity) -> None:
    """CheckFailedError above a gate; written so that NaN fails."""
    if not (max(parity.boxes_p999, parity.points_max) <= BOX_GATE and parity.scores_p999 <= SCORE_GATE):
        raise CheckFailedError(
            f"the graph differs from torch: boxes by {parity.boxes_p999:.3g} (99.9 %), points that decide "
            f"by {parity.points_max:.3g}, scores by {parity.scores_p999:.3g} (99.9 %); expected at most "
            f"{BOX_GATE:g}, {BOX_GATE:g} and {SCORE_GATE:g}. Nothing was written"
        )


def _decides(name: str) -> bool:
    return any(item.dtype == "int32" for item in OPS[name].outputs)


def _apart(got: NDArray[Any], expected: NDArray[Any]) -> Floats:
    """Absolute differences; infinite where either is no finite number."""
    apart: Floats = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    return np.where(np.isfinite(apart), apart, np.inf)


def _worst(before: float, got: NDArray[Any], expected: NDArray[Any]) -> float:
    return max(before, float(_apart(got, expected).max(initial=0.0)))
