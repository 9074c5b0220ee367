"""What upstream states with AKConv layers hold beside the tensors of the detectors here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.ops.akconv_sample.spec import GRIDS, default_taps

_OFFSETS = ".p_conv.weight"
_TABLE = ".p_n"


def taps_of_layers(state: Mapping[str, Any]) -> dict[str, int]:
    """N of every AKConv layer of a state, by the layer's name, in the network's order."""
    layers = {
        name.removesuffix(_OFFSETS): value.shape[0] // 2
        for name, value in state.items()
        if name.endswith(_OFFSETS) and value.ndim == 4
    }
    return dict(sorted(layers.items(), key=lambda item: _place(item[0])))


def tables_of_layers(state: Mapping[str, Tensor]) -> tuple[tuple[int, ...], ...] | None:
    """The tables of taps that LDConv keeps, for the option `tables`; None if the state has none.

    `p_n` is (1, 2N, 1, 1), rows of the taps, then their columns, whole numbers. Empty for a layer without it,
    and for one whose taps both grids publish in the same order. InputError for a `p_n` that is none.
    """
    layers = taps_of_layers(state)
    stored = {layer: state.get(layer + _TABLE) for layer in layers}
    if all(value is None for value in stored.values()):
        return None
    tables = tuple(
        () if (value := stored[layer]) is None else _table(f"{layer}{_TABLE}", value, taps)
        for layer, taps in layers.items()
    )
    return tables if any(tables) else ()


def state_of_layers(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state with the weights of AKConv layers in the form (O, C, N, 1), and without `p_n`.

    Derivatives store (O, C * N, 1, 1), channel c * N + n: the same numbers in the same order. What cannot be
    that is left as it is. Values are tensors or arrays.
    """
    normal = dict(state)
    for layer, taps in taps_of_layers(state).items():
        normal.pop(layer + _TABLE, None)
        name = f"{layer}.conv.0.weight"
        weight = state.get(name)
        if weight is None or len(weight.shape) != 4 or tuple(weight.shape[2:]) != (1, 1):
            continue
        outputs, inputs = weight.shape[0], state[layer + _OFFSETS].shape[1]
        if taps and weight.shape[1] == inputs * taps:
            normal[name] = weight.reshape(outputs, inputs, taps, 1)
    return normal


def lists_by_column(table: tuple[int, ...]) -> bool:
    """Whether these taps, one at least, are the published ones in the order of meshgrid's xy indexing."""
    ij, xy = (default_taps(len(table) // 2, grid) for grid in GRIDS)
    return table == xy != ij


def _table(name: str, value: Tensor, taps: int) -> tuple[int, ...]:
    if not taps or tuple(value.shape) != (1, 2 * taps, 1, 1):
        raise InputError(
            f"{name}: expected (1, {2 * taps}, 1, 1), the rows and then the columns of {taps} taps, "
            f"got {tuple(value.shape)}"
        )
    numbers = value.flatten().tolist()
    if any(number != int(number) for number in numbers):
        raise InputError(f"{name}: expected whole numbers, got {numbers}")
    rows, columns = numbers[:taps], numbers[taps:]
    table = tuple(int(number) for tap in zip(rows, columns, strict=True) for number in tap)
    return () if all(table == default_taps(taps, grid) for grid in GRIDS) else table


def _place(name: str) -> list[tuple[int, str]]:
    """Sorts names as the network has them: model.3 before model.18."""
    return [(int(part or -1), text) for part, text in re.findall(r"(\d*)(\D+|$)", name)]
