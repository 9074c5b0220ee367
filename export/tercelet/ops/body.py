"""What the body of an op is written in: a graph of standard operators, built by name, without importing onnx.

An op's body.py holds `BODIES`, the forms it offers. bindings/onnx.py turns one into a FunctionProto.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Reference:
    """An attribute of the node that the body stands for, handed on to a node of the body."""

    name: str


class Graph(Protocol):
    """Every method returns the name of a tensor; the op's inputs go by their own names."""

    FLOAT: int
    INT64: int
    INT32: int

    def op(self, name: str, *inputs: str, **attributes: Any) -> str:
        """A standard operator with one output."""
        ...

    def ops(self, name: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """A standard operator with several outputs."""
        ...

    def reduced(self, name: str, value: str, axis: int) -> str:
        """A reduction (ReduceMax, ...) over one axis, which is gone then."""
        ...

    def loop(
        self,
        count: str,
        carried: Sequence[str],
        body: Callable[..., tuple[Sequence[str], Sequence[str]]],
        *,
        types: Sequence[int],
        collected: Sequence[int],
    ) -> list[str]:
        """`count` (int64 scalar) times body(step, *carried), which gives what is carried on and what is
        collected.

        It may read tensors from outside. types, collected: element types of both. Returns the last values
        carried, then every collected one with the steps as a first axis.
        """
        ...

    def float(self, value: float) -> str:
        """A float32 scalar."""
        ...

    def integer(self, value: int) -> str:
        """An int64 scalar."""
        ...

    def integers(self, values: Sequence[int]) -> str:
        """A list of int64."""
        ...

    def vector(self, *scalars: str) -> str:
        """Scalars as one list."""
        ...

    def attribute(self, name: str) -> str:
        """The value of an attribute of the op: int64, a scalar or a list, or a float32 scalar."""
        ...

    def reference(self, name: str) -> Reference:
        """An attribute of the op, for an attribute of an operator."""
        ...

    def output(self, name: str, value: str) -> None:
        """This tensor is the output of that name."""
        ...


@dataclass(frozen=True)
class Body:
    """One form. build(graph, variant) writes it; variant: the value of that string attribute, which a body
    cannot look at while it runs. minimum_opset: the oldest opset whose operators it uses."""

    form: str
    build: Callable[[Graph, str], None]
    variant: str
    minimum_opset: int
