"""Loads the parity cases of ../shared/reference/fixtures and applies the tolerance their README gives."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def seeded_weights(shared: Path) -> ModuleType:
    """The rule that makes every fixture's weights and inputs from their names."""
    path = shared / "reference" / "fixtures" / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location("seeded_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_case(
    shared: Path, name: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """case.json, state dict, inputs and expected outputs of one case."""
    return seeded_weights(shared).load_case(shared / "reference" / "fixtures" / name)  # type: ignore[no-any-return]


def keys_of(shared: Path, name: str) -> dict[str, Any]:
    """The state-dict names of a case in upstream order, with shape and dtype."""
    text = (shared / "reference" / "fixtures" / name / "keys.json").read_text()
    return json.loads(text)["keys"]  # type: ignore[no-any-return]


def tolerance_of(case: dict[str, Any], output: str, expected: np.ndarray) -> float:
    """8 x the case's own float32 noise plus 2e-6 of the largest value; 1e-4 of it where no noise is given."""
    largest = float(np.abs(expected).max(initial=0.0))
    noise = case.get("noise_fp32_vs_fp64", {}).get(output)
    return 1e-4 * max(1.0, largest) if noise is None else 8 * float(noise) + 2e-6 * largest
