"""Class names: read, checked, and the colour each class is drawn in."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

from tercelet.contract.errors import InputError


def numbered_labels(count: int) -> tuple[str, ...]:
    """Names for a detector whose weights carry none: class_0, class_1, ..."""
    return tuple(f"class_{index}" for index in range(count))


def check_labels(labels: Sequence[str], *, where: str) -> tuple[str, ...]:
    """The labels as a tuple; InputError if there are none or one is empty. `where` names their origin."""
    if not labels:
        raise InputError(f"{where}: expected at least one class name, got none")
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{where}: expected a class name at position {index}, got {label!r}")
    return tuple(labels)


def labels_from_file(path: str | Path) -> tuple[str, ...]:
    """Read class names, one a line, UTF-8; blank lines at the end are dropped."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file with one class name a line: {error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return check_labels([line.strip() for line in lines], where=str(path))


def color_for(class_id: int) -> tuple[int, int, int]:
    """A stable, saturated BGR colour for a class; neighbours in number lie far apart in hue."""
    red, green, blue = colorsys.hsv_to_rgb((class_id * 0.618034 + 0.02) % 1.0, 0.85, 0.95)
    return round(blue * 255), round(green * 255), round(red * 255)
