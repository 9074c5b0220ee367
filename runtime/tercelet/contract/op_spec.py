"""What a custom op is, said once: its operands with symbolic shapes, its attributes, its reference, its
cases.

Every binding (torch, ONNX, ONNX Runtime, CUDA, TensorRT) and every table of tests and docs is derived from
it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tercelet.contract.errors import InputError

DOMAIN = "tercelet"
DOMAIN_VERSION = 1
Array = NDArray[Any]
AttributeValue = int | float | str | tuple[int, ...]
Shape = tuple[int, ...]
_DIMENSION = re.compile(r"(?:(\d+)\*)?([A-Za-z]\w*)$")


@dataclass(frozen=True)
class Operand:
    """An input or output. shape: of numbers, symbols, or a number times a symbol such as "2*N".

    A symbol of an output that no input has is the value of the integer attribute of that name. is_feature:
    may also be float16 on a GPU; everything else (coordinates, offsets, weights of interpolation) is float32
    in every precision. int32: indices.
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str
    is_feature: bool = False
    dtype: Literal["float32", "int32"] = "float32"


@dataclass(frozen=True)
class Attribute:
    """An attribute. choices: the strings it may be; a binding in C++ sees their index. default: None where
    it has to be given. A float is rounded to float32, as ONNX keeps it."""

    name: str
    kind: Literal["int", "ints", "float", "string"]
    meaning: str
    default: AttributeValue | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One row of the case table: inputs as arrays, attributes complete, what is special about it.

    layer: the detector's layer that has these shapes, "" for a case made for an edge. is_exact_tie: some
    coordinates lie on a border, where the last bit of a rounding decides by design.
    """

    name: str
    inputs: tuple[Array, ...]
    attributes: Mapping[str, AttributeValue]
    layer: str = ""


@dataclass(frozen=True)
class OpSpec:
    """A custom op of domain `tercelet`.

    folder: its folder below tercelet.ops. reference(*inputs, **attributes): numpy arrays in and one out (a
    tuple where there are several outputs); it checks its arguments and raises InputError. cases(): the table
    that drives tests, benchmark and support table. check(dims, attributes): what symbols and attributes must
    fulfil beyond the shapes, None or a sentence. has_fast_cpu: cpu.cc or exact.cc holds a vectorised kernel
    beside kernel.h. scratch: shape of the floats that kernel.h needs beside inputs and outputs; () for none.
    """

    name: str
    folder: str
    summary: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    attributes: tuple[Attribute, ...]
    reference: Callable[..., Any]
    cases: Callable[[], Sequence[Case]]
    check: Callable[[Mapping[str, int], Mapping[str, AttributeValue]], str | None]
    has_fast_cpu: bool = False
    scratch: tuple[int | str, ...] = ()

    def bind(
        self, shapes: Sequence[Sequence[int]], attributes: Mapping[str, AttributeValue]
    ) -> dict[str, int]:
        """The value of every symbol; InputError where shapes or attributes do not fit the specification."""
        if len(shapes) != len(self.inputs):
            raise InputError(f"{self.name}: expected {len(self.inputs)} inputs, got {len(shapes)}")
        symbols: dict[str, int] = {}
        for operand, shape in zip(self.inputs, shapes, strict=True):
            if len(shape) != len(operand.shape):
                raise InputError(self._misfit(operand, shape))
            for size, dimension in zip(shape, operand.shape, strict=True):
                if not _bind_dimension(symbols, dimension, int(size)):
                    raise InputError(self._misfit(operand, shape))
        problem = self.check(symbols, self.complete(attributes))
        if problem:
            raise InputError(f"{self.name}: {problem}")
        return symbols

    def output_shapes(
        self, shapes: Sequence[Sequence[int]], attributes: Mapping[str, AttributeValue]
    ) -> list[Shape]:
        """The shape rule: shapes of the outputs from those of the inputs, checked like `bind`."""
        symbols = self.bind(shapes, attributes)
        complete = self.complete(attributes)
        symbols |= {name: int(complete[name]) for name in sizing_attributes(self)}  # type: ignore[arg-type]
        return [tuple(size_of(d, symbols) for d in operand.shape) for operand in self.outputs]

    def complete(self, attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        """The attributes with defaults filled in; InputError for an unknown, missing or impossible one."""
        known = {item.name: item for item in self.attributes}
        for name in attributes:
            if name not in known:
                raise InputError(f"{self.name}: expected attributes among {', '.join(known)}, got {name!r}")
        complete: dict[str, AttributeValue] = {}
        for item in self.attributes:
            value = attributes.get(item.name, item.default)
            if value is None:
                raise InputError(f"{self.name}: expected the attribute {item.name}, it is missing")
            complete[item.name] = _checked(self.name, item, value)
        return complete

    def _misfit(self, operand: Operand, shape: Sequence[int]) -> str:
        expected = " x ".join(map(str, operand.shape))
        return f"{self.name}: {operand.name}: expected {expected}, got {' x '.join(map(str, shape))}"


def sizing_attributes(spec: OpSpec) -> list[str]:
    """The integer attributes that are sizes of outputs, in the order in which the outputs name them."""
    known = {split_dimension(d)[1] for item in spec.inputs for d in item.shape if isinstance(d, str)}
    found: dict[str, None] = {}
    for item in spec.outputs:
        for dimension in item.shape:
            if isinstance(dimension, str) and split_dimension(dimension)[1] not in known:
                found[split_dimension(dimension)[1]] = None
    return list(found)


def size_of(dimension: int | str, symbols: Mapping[str, int]) -> int:
    """The number that a dimension of an operand stands for."""
    if isinstance(dimension, int):
        return dimension
    factor, symbol = split_dimension(dimension)
    return factor * symbols[symbol]


def split_dimension(dimension: str) -> tuple[int, str]:
    """Factor and symbol of a dimension such as "2*N"."""
    found = _DIMENSION.match(dimension)
    if not found:
        raise ValueError(f"dimension: expected a symbol or a number times a symbol, got {dimension!r}")
    return int(found[1] or 1), found[2]


def largest_relative_difference(got: Array, expected: Array) -> float:
    """Largest difference over the largest finite value of `expected`.

    NaN must meet NaN and an infinity its like, and shapes must be equal, or the result is inf; never NaN.
    Integers are indices: equal, or the result is inf.
    """
    if got.shape != expected.shape or got.dtype.kind != expected.dtype.kind:
        return float("inf")
    if expected.dtype.kind == "i":
        return 0.0 if bool((got == expected).all()) else float("inf")
    mine, wanted = got.astype(np.float64), expected.astype(np.float64)
    is_finite = np.isfinite(wanted)
    same = (np.isnan(mine) & np.isnan(wanted)) | (mine == wanted)
    if not bool((same | (is_finite & np.isfinite(mine))).all()):
        return float("inf")
    if not is_finite.any():
        return 0.0
    largest = float(np.abs(wanted[is_finite]).max())
    return float(np.abs(mine[is_finite] - wanted[is_finite]).max()) / (largest or 1.0)


def _bind_dimension(symbols: dict[str, int], dimension: int | str, size: int) -> bool:
    if isinstance(dimension, int):
        return size == dimension
    factor, symbol = split_dimension(dimension)
    value, rest = divmod(size, factor)
    return not rest and symbols.setdefault(symbol, value) == value


def _checked(op: str, item: Attribute, value: Any) -> AttributeValue:
    if item.kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if item.kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value))
        if math.isfinite(rounded):
            return rounded
    if item.kind == "string" and value in item.choices:
        return str(value)
    if item.kind == "ints" and not isinstance(value, (str, int)):
        try:
            return tuple(int(v) for v in value)
        except (TypeError, ValueError):
            pass
    wanted = (
        f"one of {', '.join(item.choices)}"
        if item.choices
        else {"int": "an integer", "float": "a finite number"}.get(item.kind, "integers")
    )
    raise InputError(f"{op}: {item.name}: expected {wanted}, got {value!r}")
