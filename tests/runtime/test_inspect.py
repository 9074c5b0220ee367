"""inspect: what it is, whether it is whole, and what to do with it."""

from __future__ import annotations

import io
import json
import os
import pickle
import shlex
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save as safetensors_bytes

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import Parity
from tercelet.contract.manifest_json import json_from_manifest
from tercelet.runtime import inspect
from tercelet.runtime.command_line import main
from tercelet.runtime.inspection_table import table_from_inspection
from tercelet.runtime.onnx_header import read_onnx_header


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def zipped(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return file.getvalue()


def saved(value: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def array_bytes() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def tar_bytes() -> bytes:
    return b"name".ljust(257, b"\0") + b"ustar" + b"\0" * 250


def tiny_onnx(**options: object) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("tercelet", 1)]
    model: onnx.ModelProto = helper.make_model(graph, ir_version=10, opset_imports=opsets, **options)
    return model.SerializeToString()


class Explosive:
    """A pickle of this makes a folder when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("it-has-run",)


TENSORS = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float32)}
LEGACY = saved({"w": torch.zeros(2)}, _use_new_zipfile_serialization=False)
FILES = [
    ("empty.pt", b"", "empty", False, "again"),
    ("page.pt", b"\n<!DOCTYPE html><html>sign in</html>", "html", False, "download it again"),
    ("pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs-pointer", False, "pull"),
    ("new.pt", saved({"w": torch.zeros(2)}), "torch-zip", True, "tercelet import"),
    ("cut.pt", saved({"w": torch.zeros(2)})[:-100], "zip", False, "again"),
    ("old.pt", LEGACY, "torch-legacy", True, "import"),
    ("program.pt", zipped(m__data_dot_pkl=b"", m__constants_dot_pkl=b""), "torchscript", True, "weights"),
    ("plain.zip", zipped(a=b"1"), "zip", True, "unpack"),
    ("arrays.npz", zipped(a_dot_npy=b"1"), "npz", True, "PyTorch, safetensors"),
    ("any.pkl", pickle.dumps({"a": 1}), "pickle", True, "tercelet import"),
    ("w.safetensors", safetensors_bytes(TENSORS), "safetensors", True, "tercelet import"),
    ("cut.safetensors", safetensors_bytes(TENSORS)[:-5], "safetensors", False, "again"),
    ("m.onnx", tiny_onnx(producer_name="maker", producer_version="2"), "onnx", True, "tercelet export"),
    ("cut.onnx", tiny_onnx()[:-30], "unknown", True, "expected weights"),
    ("keras.h5", b"\x89HDF\r\n\x1a\n123", "hdf5", True, "tercelet import"),
    ("m.tflite", b"\x1c\0\0\0TFL3....", "tflite", True, "safetensors"),
    ("m.engine", b"ftrt\0\0\0\0", "tensorrt-engine", True, "weights"),
    ("m.ort", b"\x30\0\0\0ORTM", "ort", True, "weights"),
    ("a.jpg", b"\xff\xd8\xff\xe0", "image", True, "tercelet run"),
    ("a.png", b"\x89PNG\r\n\x1a\n", "image", True, "tercelet run"),
    ("a.mp4", b"\0\0\0\x20ftypisom", "video", True, "tercelet run"),
    ("a.npy", array_bytes(), "npy", True, ""),
    ("a.gz", b"\x1f\x8b\x08", "gzip", True, "unpack"),
    ("a.tar", tar_bytes(), "tar", True, "unpack"),
    ("text.txt", b"hello", "unknown", True, "expected weights"),
    ("short.bin", b"\x80", "unknown", True, "expected weights"),
    ("header.bin", struct.pack("<Q", 2) + b"{!", "unknown", True, "expected weights"),
    ("list.bin", struct.pack("<Q", 8) + b'{"a": 1}', "unknown", True, "expected weights"),
    ("long.bin", struct.pack("<Q", 1 << 60) + b"{}", "unknown", True, "expected weights"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "kind", "whole", "step"), FILES, ids=[row[0] for row in FILES])
def test_a_file_is_known_by_its_bytes(
    tmp_path: Path, name: str, data: bytes, kind: str, whole: bool, step: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    found = inspect(path)
    assert (found.kind, found.ok) == (kind, whole)
    assert step in found.next_step
    assert found.size_bytes == len(data)
    assert len(found.sha256 or "") == 64
    assert found.description


def test_an_onnx_file_tells_its_versions_and_maker(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_onnx(producer_name="maker", producer_version="2", doc_string="x" * 100_000))
    header = read_onnx_header(path)
    assert header is not None
    assert (header.ir_version, header.producer) == (10, "maker 2")
    assert header.opsets == {"": 18, "tercelet": 1}
    assert "IR 10, opset ai.onnx 18, tercelet 1, made by maker 2" in inspect(path).description


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x0a",
        b"\x08",
        b"\x08" + b"\xff" * 12,
        b"\x3a\x00",
        b"\x08\x0a\x3a\x00\x42\x02\x18\x01",
        b"\x08\x0a\x3a\x00\x12\x01\xff",
        b"\x0a\x00",
    ],
    ids=["empty", "no graph", "cut", "endless number", "no IR", "odd opset", "no UTF-8", "wrong type"],
)
def test_bytes_that_no_onnx_file_has_are_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m").write_bytes(data)
    assert read_onnx_header(tmp_path / "m") is None


def test_a_pickle_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in (("a.pkl", pickle.dumps(Explosive())), ("a.pt", saved({"a": Explosive()}))):
        Path(name).write_bytes(data)
        assert inspect(name).next_step.startswith(f"tercelet import {name}")
    assert not Path("it-has-run").exists()


def test_a_bundle_that_is_whole_is_told_in_full(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspect(bundle)
    assert (found.kind, found.ok) == ("bundle", True)
    assert found.manifest == read_manifest(bundle)
    assert {file.name for file in found.files} == {"golden.npy", "model.onnx"}
    assert {file.state for file in found.files} == {"ok"}
    assert found.size_bytes == sum(path.stat().st_size for path in bundle.iterdir())
    assert found.next_step == f"tercelet run {bundle} PICTURE"
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    for word in (
        "yolov5n",
        "cat, dog, owl",
        "64x64",
        "Apache-2.0",
        "canvases uint8",
        "parity",
        "golden",
        "opset",
    ):
        assert word in out


def test_a_checkpoint_is_to_be_exported(tiny_checkpoint: Path) -> None:
    found = inspect(tiny_checkpoint)
    assert (found.kind, found.ok) == ("checkpoint", True)
    assert found.next_step == f"tercelet export {tiny_checkpoint} -o BUNDLE"
    assert "graph " not in table_from_inspection(found)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("damage", "state"), [(flip_a_byte, "changed"), (Path.unlink, "missing")])
def test_a_damaged_file_ends_with_code_1(bundle: Path, damage: object, state: str, tmp_path: Path) -> None:
    damage(bundle / "model.onnx")  # type: ignore[operator]
    target = tmp_path / "found.json"
    assert main(["inspect", str(bundle), "--json", str(target)]) == 1
    found = json.loads(target.read_text())
    assert not found["ok"]
    assert {file["name"]: file["state"] for file in found["files"]} == {
        "golden.npy": "ok",
        "model.onnx": state,
    }
    assert "copy the folder again" in found["next_step"]


def test_a_file_that_the_manifest_does_not_list_is_shown_and_does_no_harm(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    found = inspect(bundle)
    assert found.ok
    assert [file.name for file in found.files if file.state == "unlisted"] == ["notes.txt"]


def test_json_holds_the_manifest_and_stdout_nothing_else(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(bundle), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "path", "kind", "description", "ok", "size_bytes", "next_step", "sha256", "manifest", "files",
    }  # fmt: skip
    assert found["manifest"]["provenance"]["licence"] == "Apache-2.0"
    assert found["manifest"]["parity"]["frames"] >= 3


def test_what_a_manifest_leaves_open_is_said(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.network is not None
    assert manifest.postprocess is not None
    bare = replace(
        manifest,
        detector=replace(manifest.detector, options={}),
        labels=tuple(f"class_{i}" for i in range(12)),
        provenance=replace(manifest.provenance, licence=None, parameters=None, producer=None, date=None),
        network=replace(manifest.network, ops=("tercelet::AKConvSample",)),
        postprocess=replace(manifest.postprocess, class_agnostic=True),
        parity=Parity("torch 2.13", 3, 100, 0.1, 0.01, 0.001, 0.0001, 0, 1.0, 0.1),
    )
    (bundle / "manifest.json").write_text(json_from_manifest(bare))
    text = table_from_inspection(inspect(bundle))
    for words in (
        "not stated: find out before you ship it", "class_7, ...", "tercelet::AKConvSample",
        "all classes together", "99.9 % within 0.01 px and 0.0001 of score, largest 0.1 px and 0.001",
    ):  # fmt: skip
        assert words in text


def test_a_manifest_alone_points_to_its_folder(bundle: Path) -> None:
    found = inspect(bundle / "manifest.json")
    assert (found.kind, found.next_step) == ("manifest", "inspect the folder that it lies in")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "nothing is there"),
        (Path.mkdir, "expected manifest.json in it"),
        (os.mkfifo, "got a device or a pipe"),
    ],
)
def test_what_cannot_be_inspected_ends_with_code_2(
    tmp_path: Path, make: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "thing")  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        inspect(tmp_path / "thing")
    assert main(["inspect", str(tmp_path / "thing")]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        path = Path("/proc/self/mem")  # opens for everybody, and fails on the first read
        if not path.exists():
            pytest.skip("the superuser can read every file")
    else:
        path = tmp_path / "locked"
        path.touch(mode=0o000)
    with pytest.raises(InputError, match="cannot be read"):
        inspect(path)


@pytest.mark.parametrize("name", ["yolov5n_truncated.pt", "yolov8s-worldv2_lfs-pointer.pt"])
def test_real_broken_downloads_are_found_out(
    shared: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(shared / "data" / "weights" / "broken" / name)]) == 1
    assert "DAMAGED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("yolov5n_v6.1-v7.0_official.pt", "torch-zip"),
        ("votenet_sunrgbd_v2_torchnames.safetensors", "safetensors"),
        ("mcnn_shanghaitechA_660.h5", "hdf5"),
        ("yolo11n_coco_int8.tflite", "tflite"),
    ],
)
def test_real_weights_are_known(shared: Path, name: str, kind: str) -> None:
    found = inspect(shared / "data" / "weights" / name)
    assert (found.kind, found.ok) == (kind, True)


def test_the_next_step_can_be_pasted_into_a_shell(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bundle, tmp_path / "my model; rm $HOME")
    assert shlex.split(inspect(folder).next_step) == ["tercelet", "run", str(folder), "PICTURE"]


def test_a_manifest_cannot_speak_to_the_terminal(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    provenance = replace(manifest.provenance, source="\x1b]0;owned\x07", licence="MIT\x1b[31m")
    hostile = replace(manifest, provenance=provenance)
    (bundle / "manifest.json").write_text(json_from_manifest(hostile))
    text = table_from_inspection(inspect(bundle))
    assert "MIT\\x1b[31m" in text
    assert "\x1b" not in text


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(InputError, match="path: expected a path, got an empty name"):
        inspect("")
