"""Which reader takes a weight file; a wrong file is refused by its name and not as "corrupt"."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tercelet.contract.errors import InputError
from tercelet.contract.file_kind import (
    EMPTY,
    HEAD_BYTES,
    LFS_POINTER,
    ONNX,
    PAGE,
    PICKLE,
    SAFETENSORS,
    TORCH_LEGACY,
    ZIP,
    FileKind,
    kind_by_first_bytes,
)

WeightsKind = Literal["zip", "pickle", "safetensors", "hdf5"]

_AGAIN = "download it again"
_READERS: dict[FileKind, WeightsKind] = {
    ZIP: "zip",
    PICKLE: "pickle",
    TORCH_LEGACY: "pickle",
    SAFETENSORS: "safetensors",
}
_FROM_ITS_SOURCE = "import the .pt it was made from"
_UNPACK = "unpack it first"
# What to do with a file that holds no weights, by the name of its kind.
_ADVICE = {
    "onnx": _FROM_ITS_SOURCE,
    "tflite": _FROM_ITS_SOURCE,
    "tensorrt-engine": _FROM_ITS_SOURCE,
    "ort": _FROM_ITS_SOURCE,
    "gguf": _FROM_ITS_SOURCE,
    "npy": "expected the whole checkpoint",
    "gzip": _UNPACK,
    "7z": _UNPACK,
    "rar": _UNPACK,
    "tar": f"{_UNPACK} (torch files older than 0.1.10 are not read)",
}


def weights_kind(data: bytes, path: Path) -> WeightsKind:
    """Which reader takes the file; InputError with what it is instead, and what to do."""
    kind = kind_by_first_bytes(data[:HEAD_BYTES], len(data))
    if kind is not None and kind.name == "hdf5":
        return "hdf5"
    if kind is not None and kind in _READERS:
        return _READERS[kind]
    if kind == EMPTY:
        raise InputError(f"{path}: the file is empty (0 bytes); {_AGAIN}")
    if kind == PAGE:
        raise InputError(
            f"{path}: expected weights, got a web page; the download saved the page of the link, "
            "use the link to the file itself"
        )
    if kind == LFS_POINTER:
        raise InputError(
            f"{path}: expected weights, got a git-LFS pointer of {len(data)} bytes; "
            "run git lfs pull in its repository, or download the file itself"
        )
    if kind is not None:
        raise _no_weights(path, kind)
    if path.suffix.lower() in (".pkl", ".pickle"):
        return "pickle"
    return _by_contents(data, path)


def _no_weights(path: Path, kind: FileKind) -> InputError:
    advice = f"; {_ADVICE[kind.name]}" if kind.name in _ADVICE else ""
    return InputError(f"{path}: expected weights of torch, safetensors or HDF5, got {kind}{advice}")


def _by_contents(data: bytes, path: Path) -> WeightsKind:
    head = data[:HEAD_BYTES]
    if path.suffix.lower() == ".onnx" or (
        head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b":", b"B")
    ):
        raise _no_weights(path, ONNX)
    if path.suffix.lower() == ".safetensors":
        raise InputError(f"{path}: expected a safetensors header, got none or a cut-off one; {_AGAIN}")
    # Pickles of protocol 0 and 1 have no magic number, and the former are text; the machine reads them.
    looks_pickled = head[:1] in (b"(", b"c", b"}", b"]", b"i") and data[-16:].rstrip().endswith(b".")
    if looks_pickled or (path.suffix.lower() in (".pt", ".pth") and not _is_text(head)):
        return "pickle"
    what = "text" if _is_text(head) else "something else"
    raise InputError(
        f"{path}: expected weights of torch (.pt, .pth), safetensors or HDF5 (.h5), got {what}; "
        "give the checkpoint as its publisher offers it"
    )


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character may be cut at the end of the head
            return False
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head)
