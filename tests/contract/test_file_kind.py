"""The first bytes of a file say what it is."""

from __future__ import annotations

import pickle
import struct

import pytest

from tercelet.contract.file_kind import TORCH_LEGACY_MAGIC, kind_by_first_bytes

HEADS = [
    (b"", "empty"),
    (b"\n<!DOCTYPE html><html>", "html"),
    (b"<?xml version='1.0'?><Error>", "html"),
    (b"<?xml version='1.0'?><net>", None),
    (b"version https://git-lfs.github.com/spec/v1", "git-lfs-pointer"),
    (b"PK\x03\x04", "zip"),
    (pickle.dumps(TORCH_LEGACY_MAGIC, protocol=2), "torch-legacy"),
    (pickle.dumps({}), "pickle"),
    (b"\x80", None),
    (b"\x80\x09", None),
    (struct.pack("<Q", 2) + b"{}", "safetensors"),
    (struct.pack("<Q", 3) + b"{}", None),
    (b"\x1c\0\0\0TFL3{", "tflite"),
    (b"GGUF", "gguf"),
    (bytes(257) + b"ustar", "tar"),
    (b"hello", None),
]


@pytest.mark.parametrize(("head", "name"), HEADS)
def test_a_file_is_known_by_its_first_bytes(head: bytes, name: str | None) -> None:
    kind = kind_by_first_bytes(head, len(head))
    assert (kind.name if kind else None) == name
