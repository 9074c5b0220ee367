"""What can be chosen when a detector with an anchor-free head is built, and the checks on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tercelet.contract.errors import InputError


@dataclass(frozen=True)
class AnchorFreeOptions:
    """classes: number of classes. class_width: channels inside the class branches of the head.

    class_width None takes the rule of the family, max(channels of P3, min(classes, 100)); weights that were
    fine-tuned from another number of classes may carry another width.
    """

    classes: int = 80
    class_width: int | None = None

    def __post_init__(self) -> None:
        check_count("classes", self.classes)
        if self.class_width is not None:
            check_count("class_width", self.class_width)


def check_count(name: str, value: Any) -> None:
    """InputError unless value is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name}: expected a whole number of at least 1, got {value!r}")
