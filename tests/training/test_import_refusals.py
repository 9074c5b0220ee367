"""Files that hold no weights, or damaged ones: named for what they are, with what to do next."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_files import dict_of, list_of, module_of, number, object_of, tensor, write_torch_zip
from torch import nn

from tercelet.contract.errors import InputError
from tercelet.training import read_weights


def _safetensors(header: Any, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def _record(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (_safetensors({}), "no tensors"),
        (_safetensors(b"{"), "header is damaged"),
        (_safetensors(b"{" + b'"a":{' * 50_000), "header is damaged"),
        (_safetensors(b'{"a":1,"a":2}'), "a name occurs twice"),
        (_safetensors({"__metadata__": {"a": 1}}), "__metadata__: expected text"),
        (_safetensors({"w": 3}), "w: expected dtype, shape and data_offsets"),
        (_safetensors({"w": {**_record(), "more": 1}}, bytes(8)), "w: expected dtype"),
        (_safetensors({"w": _record("F8_E4M3")}, bytes(8)), "w: expected one of F64"),
        (_safetensors({"w": _record([1])}, bytes(8)), "w: expected one of F64"),
        (_safetensors({"w": _record(shape=(2.0,))}, bytes(8)), "w: expected whole numbers"),
        (_safetensors({"w": _record(shape=(-2,))}, bytes(8)), "w: expected whole numbers"),
        (_safetensors({"w": _record(shape=(True,))}, bytes(8)), "w: expected whole numbers"),
        (_safetensors({"w": _record(offsets=(0, 8, 9))}, bytes(8)), "w: expected whole numbers"),
        (_safetensors({"w": _record(shape=(3,))}, bytes(8)), "w: expected 12 bytes"),
        (_safetensors({"w": _record(shape=(1 << 40, 1 << 40))}, bytes(8)), "w: expected .* bytes for shape"),
        (_safetensors({"w": _record(shape=(0, 1 << 40, 1 << 40), offsets=(0, 0))}), "w: expected 0 bytes"),
        (_safetensors({"w": _record(shape=(1 << 47,) * 400)}, bytes(8)), "w: expected at most 16 dimensions"),
        (_safetensors({"w": _record(shape=(1 << 47,) * 300_000)}, bytes(8)), "at most 16 dimensions"),
        (_safetensors({"w": _record()}, bytes(7)), "w: expected bytes from 0 on and within 7"),
        (_safetensors({"w": _record(offsets=(4, 12))}, bytes(12)), "w: expected bytes from 0 on"),
        (_safetensors({"v": _record(), "w": _record()}, bytes(8)), "expected bytes from 8 on"),
        (_safetensors({"w": _record()}, bytes(9)), "expected 8 bytes of numbers, got 9"),
        (struct.pack("<Q", 1 << 62) + b"{}", "expected a safetensors header"),
    ],
)
def test_damaged_safetensors_are_refused(data: bytes, match: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=match):
        read_weights(path)


def _zip(contents: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for entry, data in contents.items():
            archive.writestr(entry, data)
    return stream.getvalue()


_VALID = _zip({"a/data.pkl": pickle.PROTO + b"\x02}.", "a/version": b"3\n"})

# (what it is, file name, contents, what the refusal says)
NO_WEIGHTS = [
    ("an empty file", "w.pt", b"", r"empty \(0 bytes\); download it again"),
    ("a web page", "w.pt", b"\n<!DOCTYPE html><html>", "got a web page"),
    ("a git-LFS pointer", "w.pt", b"version https://git-lfs.github.com/spec/v1\n", "got a git-LFS pointer"),
    ("a JPEG", "w.pt", b"\xff\xd8\xff\xe0" + bytes(99), "got a JPEG picture"),
    (
        "a TensorFlow Lite model",
        "w.pt",
        b"\x1c\0\0\0TFL3" + bytes(99),
        "TensorFlow Lite model; import the .pt",
    ),
    ("an ONNX model", "w.pt", b"\x08\x0a\x12\x07pytorch", "got an ONNX model; import the .pt"),
    ("an ONNX file by name", "w.onnx", b"\x08\x0a\x3a\x07pytorch", "got an ONNX model"),
    ("no HDF5 file but its magic", "w.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "cut off or damaged"),
    ("a tar archive", "w.tar", bytes(257) + b"ustar" + bytes(99), "got a tar archive; unpack it first"),
    ("a video", "w.pt", b"\0\0\0\x20ftypisom", "got an MP4 or MOV video"),
    ("a TensorRT engine", "w.engine", b"ftrt\0\0\0\0", "got a TensorRT engine; import the .pt"),
    ("an ONNX Runtime model", "w.ort", b"\x30\0\0\0ORTM", "ONNX Runtime's own format; import the .pt"),
    ("a dead link", "w.pt", b"<?xml version='1.0'?><Error><Code>NoSuchKey", "got a web page"),
    ("gzip", "w.pt.gz", b"\x1f\x8b" + bytes(99), "gzip archive; unpack it first"),
    ("numpy", "w.npy", b"\x93NUMPY" + bytes(99), "got a numpy array"),
    ("text", "w.pt", b"Not Found", "got text"),
    ("JSON", "w.json", b'{"a": 1}', "got text"),
    ("noise", "w.bin", bytes(range(200, 256)), "got something else"),
    ("noise named .pt", "w.pt", bytes(range(200, 256)), "cut off or damaged"),
    ("a short safetensors file", "w.safetensors", b"\x10\0", "expected a safetensors header"),
    ("a plain pickle", "w.pkl", pickle.dumps({"a": 1}), "a pickle, but not one that torch.save wrote"),
    (
        "a zip of something else",
        "w.pt",
        _zip({"readme.txt": b"hi"}),
        "a zip archive, but no torch checkpoint",
    ),
    ("a zip with weights in it", "w.zip", _zip({"best.pt": _VALID}), "unpack them first"),
    ("a zip with two checkpoints", "w.pt", _zip({"a/data.pkl": b"N.", "b/data.pkl": b"N."}), "got 2"),
    ("TorchScript", "w.pt", _zip({"a/data.pkl": b"N.", "a/code/__torch__.py": b""}), "a TorchScript archive"),
    (
        "TorchScript, old",
        "w.pt",
        _zip({"a/data.pkl": b"N.", "a/constants.pkl": b"N."}),
        "TorchScript archive",
    ),
    ("a zip cut off", "w.pt", _VALID[:-30], "cut off or damaged .* download it again"),
    ("a zip that is only its magic", "w.pt", b"PK\x03\x04", "cut off or damaged"),
    (
        "a zip with a damaged entry",
        "w.pt",
        _VALID.replace(b"\x02}.", b"\x02].", 1),
        "cut off or damaged .checksum",
    ),
    (
        "a path out of the archive",
        "w.pt",
        _zip({"a/data.pkl": b"N.", "../b": b""}),
        r"the path \.\./b; refused",
    ),
    ("an absolute path", "w.pt", _zip({"a/data.pkl": b"N.", "/etc/b": b""}), "the path /etc/b; refused"),
    ("an empty checkpoint", "w.pt", _VALID, "expected one of ema, .* got nothing"),
]


@pytest.mark.parametrize(("what", "file", "data", "match"), NO_WEIGHTS, ids=[row[0] for row in NO_WEIGHTS])
def test_a_file_that_holds_no_weights_is_named_for_what_it_is(
    what: str, file: str, data: bytes, match: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.write_bytes(data)
    with pytest.raises(InputError, match=match):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_one_entry_twice_is_refused(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "w.pt", dict_of({"w": tensor()}), extra={"archive/data.pkl": b"N."})
    with pytest.raises(InputError, match=r"archive/data\.pkl twice; refused"):
        read_weights(path)


def test_an_unknown_byte_order_is_refused(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "w.pt", dict_of({"w": tensor()}), extra={"archive/byteorder": b"pdp"})
    with pytest.raises(InputError, match="byteorder: expected little or big, got pdp"):
        read_weights(path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "w.pt", dict_of({"w": tensor()}))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="encrypted; refused"):
        read_weights(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt: expected a weight file, got nothing"):
        read_weights(tmp_path / "none.pt")
    with pytest.raises(InputError, match="expected a weight file, got a folder"):
        read_weights(tmp_path)
    with pytest.raises(InputError, match="got no regular file"):
        read_weights("/dev/zero")


def test_legacy_files_cut_at_any_place_are_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    stream = io.BytesIO()
    torch.save({"model": net}, stream, _use_new_zipfile_serialization=False)
    whole = stream.getvalue()
    path = tmp_path / "cut.pt"
    for length in [1, 5, 20, *range(100, len(whole), 173), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cut off or damaged|missing|expected"):
            read_weights(path)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (pickle.NONE, "expected a checkpoint with a model or a state dict, got a NoneType"),
        (list_of(tensor()), "got a list"),
        (object_of("a", "B", {"w": tensor()}), r"got an object of a\.B without modules"),
        (dict_of({"epoch": number(1)}), "expected one of ema, .* got epoch"),
        (dict_of({"model": number(1)}), "model: expected a module or a state dict, got a int"),
        (dict_of({"model": dict_of({})}), "model: expected .* got an empty dictionary"),
        (dict_of({"model": dict_of({"w": tensor(), "x": number(1)})}), "a dictionary whose x is no tensor"),
        (dict_of({"ema": number(1), "model": module_of({"w": tensor()})}), "ema: expected a module"),
        (module_of(), "has no weights"),
        (module_of({"w": number(3)}), "w: expected a tensor"),
        (module_of({}, {"child": number(3)}), "child.: expected a module, got a int"),
        (
            object_of("a", "B", {"_modules": dict_of({}), "_buffers": number(1)}),
            "_buffers: expected a dictionary",
        ),
        (dict_of({"w\x1b": tensor()}), "expected printable tensor names"),
        (module_of({"a.w": tensor()}, {"a": module_of({"w": tensor()})}), r"a\.w occurs twice"),
    ],
)
def test_a_checkpoint_without_a_usable_model_is_refused(value: bytes, match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        read_weights(write_torch_zip(tmp_path / "w.pt", value))


@pytest.mark.parametrize(
    ("file", "match"),
    [
        ("broken/yolov5n_truncated.pt", r"cut off or damaged \(915353 bytes"),
        ("broken/yolov8s-worldv2_lfs-pointer.pt", "git-LFS pointer of 132 bytes"),
        ("yolo11n_coco_int8.tflite", "TensorFlow Lite model"),
        ("votenet_sunrgbd_v2_variant.json", "got text"),
    ],
)
def test_real_files_that_cannot_be_imported_are_named_for_what_they_are(
    file: str, match: str, shared: Path
) -> None:
    with pytest.raises(InputError, match=match):
        read_weights(shared / "data" / "weights" / file)
