"""What a file is by its first bytes, and what to do with it. Nothing is unpickled and nothing is run."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tercelet.runtime.onnx_header import read_onnx_header

_HEAD = 1024
_MAX_SAFETENSORS_HEADER = 100_000_000
# The number with which torch's files began before they were zips, as its pickle.
_TORCH_LEGACY = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_IMPORT = "tercelet import {path} --detector DETECTOR -o CHECKPOINT"
_FOREIGN = "tercelet imports PyTorch and safetensors weights: get the weights in one of these forms"


@dataclass(frozen=True)
class FileKind:
    """name: a stable word. description: one line. whole: False for a cut-off or failed download."""

    name: str
    description: str
    next_step: str
    whole: bool = True


_MAGIC: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", FileKind("hdf5", "HDF5 (Keras weights)", _FOREIGN)),
    (4, b"TFL3", FileKind("tflite", "TensorFlow Lite model", _FOREIGN)),
    (
        0,
        b"ftrt",
        FileKind(
            "tensorrt-engine",
            "TensorRT engine, good only for the GPU and version it was built with",
            "start from the weights it was built from: tercelet import",
        ),
    ),
    (
        4,
        b"ORTM",
        FileKind("ort", "model in ONNX Runtime's own format", "start from the weights: tercelet import"),
    ),
    (0, b"\xff\xd8\xff", FileKind("image", "JPEG picture", "tercelet run BUNDLE {path}")),
    (0, b"\x89PNG\r\n\x1a\n", FileKind("image", "PNG picture", "tercelet run BUNDLE {path}")),
    (4, b"ftyp", FileKind("video", "MP4 or MOV video", "tercelet run BUNDLE {path}")),
    (0, b"\x93NUMPY", FileKind("npy", "numpy array", "nothing: tercelet does not read single arrays")),
    (0, b"\x1f\x8b", FileKind("gzip", "gzip archive", "unpack it and inspect what was inside")),
    (257, b"ustar", FileKind("tar", "tar archive", "unpack it and inspect what was inside")),
)


def kind_of_file(path: Path) -> FileKind:
    """Recognise a file. path: an existing, readable file. The next step holds its path."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    kind = _by_text(head) or _by_structure(path, head) or _by_magic(head)
    if kind is None:
        kind = FileKind(
            "unknown",
            "nothing that tercelet knows",
            "expected weights, a picture, a video or the folder of an artefact",
        )
    step = kind.next_step.replace("{path}", str(path))
    return FileKind(kind.name, kind.description, step, kind.whole)


def _by_text(head: bytes) -> FileKind | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return FileKind("empty", "empty file", "download or copy it again", whole=False)
    if text.startswith((b"<!doctype html", b"<html")):
        step = "download it again: the server answered with a page (a login, an error) instead of the file"
        return FileKind("html", "HTML page, a download that failed", step, whole=False)
    if head.startswith(b"version https://git-lfs"):
        return FileKind("git-lfs-pointer", "pointer of Git LFS, not the file", "git lfs pull", whole=False)
    if text.startswith(b"{") and b'"kind"' in text and b'"detector"' in text:
        return FileKind("manifest", "manifest of an artefact", "inspect the folder that it lies in")
    return None


def _by_structure(path: Path, head: bytes) -> FileKind | None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path)
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        if _TORCH_LEGACY in head[:32]:
            return FileKind("torch-legacy", "PyTorch weights (pickle, before torch 1.6)", _IMPORT)
        return FileKind("pickle", "Python pickle, which can run code when it is loaded", _IMPORT)
    if head[8:9] == b"{":
        return _safetensors(path)
    header = read_onnx_header(path)
    if header:
        opsets = ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in header.opsets.items())
        text = f"ONNX model, IR {header.ir_version}, opset {opsets}"
        text += f", made by {header.producer}" if header.producer else ""
        return FileKind("onnx", text, "a bundle needs its weights: tercelet import, then tercelet export")
    return None


def _zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return FileKind("zip", f"damaged or cut-off zip: {error}", "download or copy it again", whole=False)
    leaves = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in leaves and "constants.pkl" in leaves:
        step = "get the weights that it was made from: tercelet import reads state dicts and checkpoints"
        return FileKind("torchscript", "TorchScript program (PyTorch zip)", step)
    if "data.pkl" in leaves:
        return FileKind("torch-zip", f"PyTorch weights (zip of {len(names)} entries)", _IMPORT)
    if names and all(name.endswith(".npy") for name in names):
        return FileKind("npz", f"numpy archive of {len(names)} arrays", _FOREIGN)
    return FileKind("zip", f"zip archive of {len(names)} entries", "unpack it and inspect what was inside")


def _safetensors(path: Path) -> FileKind | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _MAX_SAFETENSORS_HEADER):
            return None
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            numbers = sum(_product(entry["shape"]) for entry in header.values())
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return None
    if size != 8 + length + end:
        found = f"safetensors of {8 + length + end} bytes, of which {size} are here"
        return FileKind("safetensors", found, "download or copy it again", whole=False)
    return FileKind("safetensors", f"safetensors, {len(header)} tensors, {numbers:,} numbers", _IMPORT)


def _product(shape: list[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _by_magic(head: bytes) -> FileKind | None:
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return None
