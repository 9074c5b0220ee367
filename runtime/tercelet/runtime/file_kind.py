"""What a single file is, whether it is whole, and what to do with it. Nothing in it is run."""

from __future__ import annotations

import json
import math
import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tercelet.contract import file_kind
from tercelet.runtime.onnx_header import read_onnx_header

_MAX_SAFETENSORS_HEADER = 100_000_000
_MAX_DIMENSIONS = 16
_MAX_COUNT = 1 << 48
_MAX_SHOWN = 200
_IMPORT = "tercelet import {path} --detector DETECTOR -o CHECKPOINT"
_FOREIGN = "tercelet imports PyTorch, safetensors and HDF5 weights: get the weights in one of these forms"
_RUN = "tercelet run BUNDLE {path}"
_UNPACK = "unpack it and inspect what was inside"
_UNKNOWN = "expected weights, a picture, a video or the folder of an artefact"
_NEXT_STEPS = {
    "empty": "download or copy it again",
    "html": "download it again: the server answered with a page (a login, an error) instead of the file",
    "git-lfs-pointer": "git lfs pull",
    "torch-legacy": _IMPORT,
    "pickle": _IMPORT,
    "hdf5": _IMPORT,
    "tflite": _FOREIGN,
    "gguf": _FOREIGN,
    "tensorrt-engine": "start from the weights it was built from: tercelet import",
    "ort": "start from the weights: tercelet import",
    "image": _RUN,
    "video": _RUN,
    "npy": "nothing: tercelet does not read single arrays",
    "gzip": _UNPACK,
    "tar": _UNPACK,
    "7z": _UNPACK,
    "rar": _UNPACK,
}
_REMARKS = {
    "html": ", a download that failed",
    "pickle": ", which can run code when it is loaded",
    "tensorrt-engine": ", good only for the GPU and version it was built with",
}
_FAILED_DOWNLOADS = ("empty", "html", "git-lfs-pointer")


@dataclass(frozen=True)
class FileFinding:
    """name: a stable word. description: one line. whole: False for a cut-off or failed download."""

    name: str
    description: str
    next_step: str
    whole: bool = True


def kind_of_file(path: Path) -> FileFinding:
    """Recognise a file. path: an existing, readable file. The next step may hold it, quoted for a shell."""
    with path.open("rb") as file:
        head = file.read(file_kind.HEAD_BYTES)
    kind = file_kind.kind_by_first_bytes(head, path.stat().st_size)
    found = _finding(path, head, kind) or FileFinding("unknown", "nothing that tercelet knows", _UNKNOWN)
    step = found.next_step.replace("{path}", shlex.quote(str(path)))
    return FileFinding(found.name, found.description, step, found.whole)


def _finding(path: Path, head: bytes, kind: file_kind.FileKind | None) -> FileFinding | None:
    if kind is None:
        return _manifest(head) or _onnx(path)
    if kind == file_kind.ZIP:
        return _zip(path)
    if kind == file_kind.SAFETENSORS:
        return _safetensors(path) or _onnx(path)
    description = kind.description + _REMARKS.get(kind.name, "")
    step = _NEXT_STEPS.get(kind.name, _UNKNOWN)
    return FileFinding(kind.name, description, step, whole=kind.name not in _FAILED_DOWNLOADS)


def _manifest(head: bytes) -> FileFinding | None:
    text = head.lstrip().lower()
    if text.startswith(b"{") and b'"kind"' in text and b'"detector"' in text:
        return FileFinding("manifest", "manifest of an artefact", "inspect the folder that it lies in")
    return None


def _onnx(path: Path) -> FileFinding | None:
    header = read_onnx_header(path)
    if header is None:
        return None
    opsets = ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in header.opsets.items())
    opsets = _shown(opsets)
    text = f"{file_kind.ONNX.description}, IR {header.ir_version}, opset {opsets}"
    text += f", made by {_shown(header.producer)}" if header.producer else ""
    return FileFinding(
        file_kind.ONNX.name, text, "a bundle needs its weights: tercelet import, then tercelet export"
    )


def _zip(path: Path) -> FileFinding:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return FileFinding("zip", f"damaged or cut-off zip: {error}", _NEXT_STEPS["empty"], whole=False)
    leaves = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in leaves and "constants.pkl" in leaves:
        step = "get the weights that it was made from: tercelet import reads state dicts and checkpoints"
        return FileFinding("torchscript", "TorchScript program (PyTorch zip)", step)
    if "data.pkl" in leaves:
        return FileFinding("torch-zip", f"PyTorch weights (zip of {len(names)} entries)", _IMPORT)
    if names and all(name.endswith(".npy") for name in names):
        return FileFinding("npz", f"numpy archive of {len(names)} arrays", _FOREIGN)
    return FileFinding("zip", f"zip archive of {len(names)} entries", _UNPACK)


def _safetensors(path: Path) -> FileFinding | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _MAX_SAFETENSORS_HEADER):
            return None
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = max((_count(entry["data_offsets"][1]) for entry in header.values()), default=0)
            numbers = sum(_product(entry["shape"]) for entry in header.values())
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return None
    if size != 8 + length + end:
        found = f"safetensors of {8 + length + end} bytes, of which {size} are here"
        return FileFinding("safetensors", found, _NEXT_STEPS["empty"], whole=False)
    return FileFinding("safetensors", f"safetensors, {len(header)} tensors, {numbers:,} numbers", _IMPORT)


def _product(shape: list[int]) -> int:
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError
    return math.prod(_count(side) for side in shape)


def _count(value: object) -> int:
    """The value, if it is a whole number that a file can have of anything; ValueError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_COUNT:
        raise ValueError
    return value


def _shown(text: str) -> str:
    """Text from a file, made fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_SHOWN])
