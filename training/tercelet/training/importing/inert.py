"""What a pickle turns into here: plain data and inert records. None of these can be called or run.

A class or function that a file names becomes a `Global`, an object of such a class an `InertObject`, and a
tensor a `StridedTensor` that says where its numbers lie; nothing is imported to make them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_SHOWN = 80
_SHOWN_BITS = 128


def quoted(value: Any) -> str:
    """Text or a number from a file, made fit for a terminal: printable, at most 80 characters.

    Of anything else only the type's name is shown: a small file can hold a list that takes hours to print.
    """
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= _SHOWN_BITS):
        return str(value)
    if not isinstance(value, str):
        return f"<{type(value).__name__}>"
    clean = "".join(c if c.isprintable() else "?" for c in value[: _SHOWN + 1])
    return clean if len(value) <= _SHOWN else clean[: _SHOWN - 3] + "..."


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function, as a file states it."""

    module: str
    name: str

    def __str__(self) -> str:
        return quoted(f"{self.module}.{self.name}")


@dataclass(eq=False, slots=True)
class InertObject:
    """An object of class `cls` with the attributes a file gives it, and its items if it is a container."""

    cls: Global
    attributes: dict[str, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of numbers kept outside the pickle: kind as torch names it ("HalfStorage"), key, length."""

    kind: str
    key: str
    numel: int


@dataclass(frozen=True, eq=False, slots=True)
class StridedTensor:
    """A view of a storage; offset and strides count elements. Not yet checked against the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
