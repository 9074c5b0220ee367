"""Which optional packages are installed, without importing them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from tercelet.contract.errors import MissingDependencyError

EXPORT_PACKAGES = ("torch", "onnx", "onnxscript", "safetensors")
EVALUATE_PACKAGES = ("faster_coco_eval",)


def missing_packages(packages: Sequence[str]) -> tuple[str, ...]:
    """Those that cannot be found."""
    return tuple(name for name in packages if not _is_found(name))


def check_installed(packages: Sequence[str], *, extra: str, what: str) -> None:
    """MissingDependencyError naming the first package that is not there."""
    missing = missing_packages(packages)
    if missing:
        raise MissingDependencyError(
            f"{what}: needs the package {missing[0]}, which is not installed: pip install 'tercelet[{extra}]'"
        )


def _is_found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # refused by a hook of somebody's, or a module without a spec
        return False
