"""The option --option NAME=VALUE of several verbs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tercelet.contract.errors import InputError


def options_from(texts: Sequence[str]) -> dict[str, Any]:
    """Options of a detector from NAME=VALUE texts; InputError for one named twice, and for classes."""
    options: dict[str, Any] = {}
    for name, value in map(_option, texts):
        if name in options or name == "classes":
            raise InputError(f"--option {name}: expected once at most, and never classes")
        options[name] = value
    return options


def _option(text: str) -> tuple[str, Any]:
    """Name and value of NAME=VALUE; the value as JSON where it is JSON, else as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(f"--option: expected NAME=VALUE, got {text!r}; for example --option grid=xy")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
