"""The exported graph of a detector of clouds against torch, proposal by proposal.

Which points are sampled, which lie in a ball and which votes a picture gives is decided by comparisons: the
last bit of a vote can put another point into a ball and so change a proposal as a whole. Hence two steps.
First every node that decides is compared with its reference on the inputs that it got in the engine, and must
equal it (op_lowering). Then torch runs on the same inputs and is given the graph's decisions, in the order in
which it asks for them: what is left is arithmetic, and every proposal has its counterpart. What torch would
have decided on must be that of the graph to rounding, and how many decisions it would have taken otherwise is
recorded.
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
from tercelet.export.onnx_from_points import CloudDetector, output_names
from tercelet.export.op_lowering import run_opened
from tercelet.export.point_scenes import Scene
from tercelet.ops import OPS
from tercelet.ops.bindings.onnx import attributes_of
from tercelet.ops.bindings.torch import torch_op, torch_ops
from tercelet.training.detectors.point_detector import PointDetector

# Metres and radians, of numbers above 1 relative to the largest; what a fault causes is far larger.
BOX_GATE = 1e-3
SCORE_GATE = 1e-3
Floats = NDArray[np.float64]


class _GivenDecisions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Torch ops that decide give what the graph gave instead, one node a call.

    nodes, values: as `run_opened` has them. decisions, changed: how many indices and votes of a picture torch
    was given, and how many it would have chosen otherwise. apart: largest difference of the numbers it would
    have decided on.
    """

    def __init__(self, nodes: Sequence[onnx.NodeProto], values: dict[str, NDArray[Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {torch_op(name): name for name in torch_ops() if _decision_of(name) is not None}
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
        given = tuple(torch.from_numpy(self._values[output].copy()) for output in node.output)
        owned, place = own if isinstance(own, tuple) else (own,), _decision_of(name)
        assert place is not None
        self.decisions += given[place].numel()
        self.changed += int((owned[place] != given[place]).sum())
        return given if isinstance(own, tuple) else given[0]

    def unasked(self) -> list[str]:
        """Names of nodes that torch did not ask for."""
        return [name for name, nodes in self._nodes.items() if nodes]


def check_point_parity(detector: PointDetector, model: Path, scenes: Sequence[Scene]) -> CloudParity:
    """Compare a graph whose custom ops have bodies with its torch source; CheckFailedError above the gates.

    scenes: each what the graph takes, by name and in the order in which the detector takes it.
    """
    graph, reference = onnx.load(model), CloudDetector(detector).eval()
    names = output_names(detector)
    boxes: list[Floats] = []
    scores: list[Floats] = []
    decisions = changed = 0
    apart = 0.0
    for scene in scenes:
        nodes, values = run_opened(graph, scene)
        given = _GivenDecisions(nodes, values)
        with torch.no_grad(), given:
            expected = [part.numpy() for part in reference(*map(torch.from_numpy, scene.values()))]
        if given.unasked():
            raise CheckFailedError(f"the graph has nodes {', '.join(given.unasked())} that torch lacks")
        difference, *rest = (_apart(values[n], e) for n, e in zip(names, expected, strict=True))
        difference[..., 6] = np.minimum(difference[..., 6], np.abs(2 * np.pi - difference[..., 6]))
        boxes.append(difference.ravel() / max(1.0, float(np.abs(expected[0]).max())))
        scores.extend(part.ravel() for part in rest)
        decisions, changed = decisions + given.decisions, changed + given.changed
        apart = max(apart, given.apart) if np.isfinite(given.apart) else np.inf
    parity = CloudParity(
        reference=f"torch {torch.__version__} float32",
        clouds=len(scenes),
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


def _decision_of(name: str) -> int | None:
    """The output of an op that says what was decided: indices, or which votes there are; None where an op
    only computes."""
    outputs = OPS[name].outputs
    return next((i for i, item in enumerate(outputs) if item.dtype == "int32" or item.name == "mask"), None)


def _apart(got: NDArray[Any], expected: NDArray[Any]) -> Floats:
    """Absolute differences; infinite where either is no finite number."""
    apart: Floats = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    return np.where(np.isfinite(apart), apart, np.inf)


def _worst(before: float, got: NDArray[Any], expected: NDArray[Any]) -> float:
    return max(before, float(_apart(got, expected).max(initial=0.0)))
