"""The few keys of a data.yaml that matter here: path, train, val, test, nc and names.

This is no YAML parser: values on one line, lists in brackets or one item a line, `0: name` mappings. A split
may be a list of one place. Anything else under one of these keys is refused with its line, never guessed;
other keys are skipped whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tercelet.contract.errors import InputError

_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*:(?:\s+(.*)|\s*)$")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataYaml:
    """path: root of the splits, relative to the file's folder. splits: train, val, test where stated. names:
    the classes by number, () if not stated. classes: nc."""

    path: str | None
    splits: Mapping[str, str]
    names: tuple[str, ...]
    classes: int | None


def read_data_yaml(path: Path) -> DataYaml:
    """Read a YOLO data.yaml; InputError with the line of what is not in the simple form."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a YOLO data.yaml, got something unreadable: {error}") from error
    sections = _sections(lines, path)
    texts = {key: _scalar(sections[key]) for key in ("path", "nc") if key in sections}
    splits = {key: _place(sections[key]) for key in _SPLITS if key in sections}
    classes = texts.get("nc")
    if classes is not None and not re.fullmatch("[0-9]{1,9}", classes):
        raise InputError(f"{sections['nc'].where}: nc: expected a number of classes, got {classes!r}")
    names = _names(sections["names"]) if "names" in sections else ()
    if names and classes is not None and int(classes) != len(names):
        raise InputError(
            f"{path}: expected as many names as nc states, got {len(names)} names and nc {classes}"
        )
    return DataYaml(
        path=texts.get("path"),
        splits={key: text for key, text in splits.items() if text},
        names=names,
        classes=None if classes is None else int(classes),
    )


@dataclass(frozen=True)
class _Section:
    """A top-level key: the text behind the colon, and the (line number, text) that belong to it."""

    value: str
    block: tuple[tuple[int, str], ...]
    where: str


def _sections(lines: list[str], path: Path) -> dict[str, _Section]:
    found: dict[str, tuple[str, list[tuple[int, str]], str]] = {}
    current: list[tuple[int, str]] | None = None
    for number, raw in enumerate(lines, 1):
        text = _without_comment(raw)
        if not text.strip() or text.strip() == "---":
            continue
        match = _KEY.match(text)
        if match:
            current = []
            found[match[1]] = ((match[2] or "").strip(), current, f"{path}:{number}")
        elif current is None:
            raise InputError(
                f"{path}:{number}: expected `key: value`, got {text.strip()!r}; is this a data.yaml?"
            )
        else:
            current.append((number, text.strip()))
    return {key: _Section(value, tuple(block), where) for key, (value, block, where) in found.items()}


def _names(section: _Section) -> tuple[str, ...]:
    flow = " ".join((section.value, *(text for _, text in section.block))).strip()
    if flow.startswith("[") and flow.endswith("]"):
        return tuple(_unquoted(item) for item in _split_flow(flow[1:-1]))
    if section.value or not section.block:
        raise InputError(f"{section.where}: names: expected [a, b] or one name a line, got {section.value!r}")
    names: list[str] = []
    for number, text in section.block:
        item = re.match(r"(?:-|([0-9]{1,9})\s*:)\s+(.+)$", text)
        place = section.where.rpartition(":")[0] + f":{number}"
        if not item:
            raise InputError(f"{place}: names: expected `- name` or `{len(names)}: name`, got {text!r}")
        if item[1] is not None and int(item[1]) != len(names):
            raise InputError(f"{place}: names: expected number {len(names)} next, got {item[1]}")
        names.append(_unquoted(item[2]))
    return tuple(names)


def _place(section: _Section) -> str:
    """A split: one value, or a list of one in brackets or behind a dash."""
    flow = " ".join((section.value, *(text for _, text in section.block))).strip()
    items = _split_flow(flow[1:-1]) if flow.startswith("[") and flow.endswith("]") else []
    if not section.value and len(section.block) == 1:
        items = re.findall(r"^-\s+(.+)$", section.block[0][1])
    return _unquoted(items[0]) if len(items) == 1 else _scalar(section)


def _scalar(section: _Section) -> str:
    if section.block or section.value[:1] in ("[", "{", "|", ">", "&", "*"):
        raise InputError(f"{section.where}: expected one value on the line, got a list or a block")
    return _unquoted(section.value)


def _split_flow(text: str) -> list[str]:
    items = re.findall(r"""\s*('[^']*'|"[^"]*"|[^,'"]+)\s*(?:,|$)""", text)
    return [item for item in items if item.strip()]


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _without_comment(line: str) -> str:
    """The line up to a `#` that starts it or follows a space, quotes respected."""
    quote = ""
    for index, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"" and (index == 0 or line[index - 1] in " [,:"):
            quote = sign
        elif sign == "#" and (index == 0 or line[index - 1].isspace()):
            return line[:index].rstrip()
    return line.rstrip()
