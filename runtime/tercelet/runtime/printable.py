"""Text from files, manifests and devices, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text in one line, with control characters and bytes that are no text as their escapes.

    A terminal would obey them: names of files and labels of a manifest are somebody else's.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
