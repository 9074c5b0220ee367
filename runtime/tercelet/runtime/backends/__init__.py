"""The engines a bundle can name as its target: one file each, imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from tercelet.contract.errors import InputError
from tercelet.contract.session import DensitySessionOpener, PointSessionOpener, SessionOpener

BACKENDS = (("onnxruntime", "tercelet.runtime.backends.onnxruntime"),)


def session_opener(backend: str) -> SessionOpener:
    """The `open_session` of a backend by its name in the manifest; InputError for one not in BACKENDS."""
    return cast(SessionOpener, _module_of(backend).open_session)


def density_session_opener(backend: str) -> DensitySessionOpener:
    """The same for the networks of density bundles."""
    return cast(DensitySessionOpener, _module_of(backend).open_density_session)


def point_session_opener(backend: str) -> PointSessionOpener:
    """The same for the networks of bundles of pipeline rgbd."""
    return cast(PointSessionOpener, _module_of(backend).open_point_session)


def _module_of(backend: str) -> Any:
    for name, module in BACKENDS:
        if name == backend:
            return import_module(module)
    known = ", ".join(name for name, _ in BACKENDS)
    raise InputError(f"target.backend: expected one of {known}, got {backend!r}; export for one of them")
