"""JSON for scripts: what `--json FILE` of every verb writes."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from tercelet.contract.errors import InputError


def write_json(destination: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to a file, or to stdout where destination is "-".

    Values that JSON has no name for (NaN, infinities) become null. Parents are made. Raises InputError where
    the file cannot be written.
    """
    text = json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if str(destination) == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    path = Path(destination)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}; choose another --json FILE") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
