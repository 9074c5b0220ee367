"""The runtime: numpy plus one engine. Opens bundles, reads frames, finds objects, writes results.

    from tercelet.runtime import open_pipeline
    with open_pipeline("bundle/") as detect:
        detections = detect(frame)

Names are loaded when they are first used, so that `tercelet --help` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tercelet.runtime.benchmarking import benchmark
    from tercelet.runtime.diagnosis import doctor
    from tercelet.runtime.inspection import inspect
    from tercelet.runtime.nms import non_maximum_suppression
    from tercelet.runtime.opening import open_pipeline
    from tercelet.runtime.planning.dmnet import plan_dmnet
    from tercelet.runtime.running import run

_LAZY = {
    "benchmark": "tercelet.runtime.benchmarking",
    "doctor": "tercelet.runtime.diagnosis",
    "inspect": "tercelet.runtime.inspection",
    "non_maximum_suppression": "tercelet.runtime.nms",
    "open_pipeline": "tercelet.runtime.opening",
    "plan_dmnet": "tercelet.runtime.planning.dmnet",
    "run": "tercelet.runtime.running",
}
__all__ = ["benchmark", "doctor", "inspect", "non_maximum_suppression", "open_pipeline", "plan_dmnet", "run"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
