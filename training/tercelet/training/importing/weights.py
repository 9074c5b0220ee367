"""The reader of upstream weight files: what it gives, and which format goes to which reader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.training.importing.description import class_names_of, image_size_of, producer_of, text_of
from tercelet.training.importing.file_kind import weights_kind
from tercelet.training.importing.hdf5_file import read_hdf5
from tercelet.training.importing.safetensors_file import read_safetensors
from tercelet.training.importing.state import model_of, state_of
from tercelet.training.importing.torch_legacy import read_torch_legacy
from tercelet.training.importing.torch_zip import read_torch_zip

WeightsFormat = Literal["torch zip", "torch legacy", "safetensors", "hdf5"]
MAX_FILE_BYTES = 8 << 30


@dataclass(frozen=True)
class UpstreamWeights:
    """The contents of an upstream weight file.

    state: arrays by upstream name; floats as float32 whatever their width in the file, integers as they
    are. class_names, image_size (pixels), date, licence, producer: as the file states them, else None.
    sha256: of the file, hex.
    """

    state: Mapping[str, NDArray[Any]]
    class_names: tuple[str, ...] | None
    image_size: int | None
    date: str | None
    licence: str | None
    sha256: str
    format: WeightsFormat
    producer: str | None


def read_weights(path: str | Path, *, names: bool = True) -> UpstreamWeights:
    """Read torch (.pt, .pth; zip and legacy), safetensors or HDF5 weights without torch and upstream code.

    Nothing in the file is run: a file that asks to run something is refused. Of several models in a
    checkpoint the averaged one ("ema") is taken. names=False leaves the class names unread, for files whose
    names are unusable. Raises InputError that says what the file is instead, or what is wrong with it,
    MissingDependencyError for HDF5 without h5py.
    """
    path = Path(path)
    data = _bytes_of(path)
    kind = weights_kind(data, path)
    sha256 = hashlib.sha256(data).hexdigest()
    where = str(path)
    if kind == "safetensors":
        state, metadata = read_safetensors(data, where=where)
        checkpoint: Any = dict(metadata)
        model: Any = None
    elif kind == "hdf5":
        checkpoint, model = {}, None
        state = read_hdf5(data, where=where)
    else:
        checkpoint, blocks = (read_torch_zip if kind == "zip" else read_torch_legacy)(data, path)
        model = model_of(checkpoint, where=where)
        state = state_of(model, blocks, file_bytes=len(data), where=where)
    if not state:
        raise InputError(f"{where}: the file has no tensors")
    formats: dict[str, WeightsFormat] = {
        "zip": "torch zip",
        "pickle": "torch legacy",
        "safetensors": "safetensors",
        "hdf5": "hdf5",
    }
    return UpstreamWeights(
        state=state,
        class_names=class_names_of(checkpoint, model, where=where) if names and model is not None else None,
        image_size=image_size_of(checkpoint, model),
        date=text_of(checkpoint, "date"),
        licence=text_of(checkpoint, "license", "licence"),
        sha256=sha256,
        format=formats[kind],
        producer=producer_of(checkpoint, model),
    )


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path}: expected a weight file, got a folder; name the file in it")
    if not path.is_file():
        raise InputError(
            f"{path}: expected a weight file, got {'no regular file' if path.exists() else 'nothing'}; "
            "check the path"
        )
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {size}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
