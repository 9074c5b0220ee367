"""What a file is, by its first bytes, so that a wrong one is refused by its name and not as "corrupt"."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tercelet.contract.errors import InputError

FileKind = Literal["zip", "pickle", "safetensors"]

_AGAIN = "download it again"
_HTML = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml")
_LFS = b"version https://git-lfs"
_TAR_MAGIC = (257, b"ustar")

# (offset, bytes there, what it is and what to do)
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "a TensorFlow Lite model; import the .pt it was made from"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5); no detector of the list is imported from one"),
    (0, b"GGUF", "a GGUF file; import the .pt it was made from"),
    (0, b"\x93NUMPY", "a numpy array; expected the whole checkpoint"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program or library"),
    (*_TAR_MAGIC, "a tar archive; unpack it first (torch files older than 0.1.10 are not read)"),
)


def file_kind(data: bytes, path: Path) -> FileKind:
    """Which reader takes the file; InputError with what it is instead, and what to do."""
    if not data:
        raise InputError(f"{path}: the file is empty (0 bytes); {_AGAIN}")
    head = data[:512]
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_HTML):
        raise InputError(
            f"{path}: expected weights, got a web page; the download saved the page of the link, "
            "use the link to the file itself"
        )
    if text.startswith(_LFS):
        raise InputError(
            f"{path}: expected weights, got a git-LFS pointer of {len(data)} bytes; "
            "run git lfs pull in its repository, or download the file itself"
        )
    for offset, magic, what in _OTHERS:
        if head[offset:].startswith(magic):
            raise InputError(f"{path}: expected weights of torch or safetensors, got {what}")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x80") or path.suffix.lower() in (".pkl", ".pickle"):
        return "pickle"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < len(data):
        return "safetensors"
    return _by_contents(data, path)


def _by_contents(data: bytes, path: Path) -> FileKind:
    head = data[:512]
    if path.suffix.lower() == ".onnx" or (
        head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b":", b"B")
    ):
        raise InputError(
            f"{path}: expected weights of torch or safetensors, got an ONNX model; "
            "import the .pt it was made from"
        )
    if path.suffix.lower() == ".safetensors":
        raise InputError(f"{path}: expected a safetensors header, got none or a cut-off one; {_AGAIN}")
    # Pickles of protocol 0 and 1 have no magic number, and the former are text; the machine reads them.
    looks_pickled = head[:1] in (b"(", b"c", b"}", b"]", b"i") and data[-16:].rstrip().endswith(b".")
    if looks_pickled or (path.suffix.lower() in (".pt", ".pth") and not _is_text(head)):
        return "pickle"
    what = "text" if _is_text(head) else "something else"
    raise InputError(
        f"{path}: expected weights of torch (.pt, .pth) or safetensors, got {what}; "
        "give the checkpoint as its publisher offers it"
    )


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character may be cut at the end of the head
            return False
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head)
