"""The engines a bundle can name as its target: one file each, imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tercelet.contract.errors import InputError
from tercelet.contract.session import SessionOpener

BACKENDS = (("onnxruntime", "tercelet.runtime.backends.onnxruntime"),)


def session_opener(backend: str) -> SessionOpener:
    """The `open_session` of a backend by its name in the manifest; InputError for one not in BACKENDS."""
    for name, module in BACKENDS:
        if name == backend:
            return cast(SessionOpener, import_module(module).open_session)
    known = ", ".join(name for name, _ in BACKENDS)
    raise InputError(f"target.backend: expected one of {known}, got {backend!r}; export for one of them")
