"""From a checkpoint to a checked bundle: torch to ONNX, graph passes, parity, golden pair.

from tercelet.export import export
export("yolov5n-checkpoint", output="yolov5n-bundle", size=(640, 640))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tercelet.export.aerial_bundle import bundle_aerial
    from tercelet.export.building_ops import build_ops
    from tercelet.export.demonstration import demo
    from tercelet.export.exporting import export
    from tercelet.export.rgbd_bundle import bundle_rgbd

_LAZY = {
    "bundle_aerial": "tercelet.export.aerial_bundle",
    "bundle_rgbd": "tercelet.export.rgbd_bundle",
    "build_ops": "tercelet.export.building_ops",
    "demo": "tercelet.export.demonstration",
    "export": "tercelet.export.exporting",
}
__all__ = ["build_ops", "bundle_aerial", "bundle_rgbd", "demo", "export"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
