"""Reading weight files: every format, every number type, and what a file says about itself."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hostile_files import (
    call,
    dict_of,
    legacy_bytes,
    list_of,
    module_of,
    name,
    number,
    object_of,
    tensor,
    text,
    tuple_of,
    write_torch_zip,
)
from safetensors.torch import save_file
from torch import nn

from tercelet.contract.errors import InputError
from tercelet.training import read_weights

# Every format in which torch can save, as keyword arguments of torch.save.
FORMATS = {
    "zip": {},
    "zip, protocol 4": {"pickle_protocol": 4},
    "legacy": {"_use_new_zipfile_serialization": False},
    "legacy, protocol 4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
}


class Net(nn.Module):
    """A module with everything that a state dict must get right."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU())
        self.levels = nn.ModuleList([nn.Linear(4, 2, bias=False), nn.Identity()])
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("anchors", torch.arange(6.0).view(3, 2))
        self.register_buffer("scratch", torch.zeros(7), persistent=False)
        self.register_buffer("absent", None)
        self.names = ["cat", "dog"]


def saved(value: Any, path: Path, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def assert_same(state: Any, expected: dict[str, torch.Tensor]) -> None:
    assert list(state) == list(expected)
    for key, value in expected.items():
        wanted = value.detach().float() if value.is_floating_point() else value.detach()
        assert state[key].shape == tuple(wanted.shape)
        assert state[key].dtype == wanted.numpy().dtype
        assert np.array_equal(state[key], wanted.numpy())


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wrap", ["module", "state dict", "model", "model in half", "state_dict", "ema"])
def test_what_torch_saves_is_read_back_exactly(form: str, wrap: str, net: Net, tmp_path: Path) -> None:
    half = Net().half()
    values: dict[str, tuple[Any, Any]] = {
        "module": (net, net),
        "state dict": (net.state_dict(), net),
        "model": ({"epoch": 3, "model": net, "ema": None, "optimizer": None}, net),
        "model in half": ({"model": half}, half),
        "state_dict": ({"state_dict": net.state_dict(), "meta": {}}, net),
        "ema": ({"model": half, "ema": net, "updates": 10}, net),
    }
    value, expected = values[wrap]
    weights = read_weights(saved(value, tmp_path / "w.pt", **FORMATS[form]))
    assert_same(weights.state, expected.state_dict())
    assert weights.format == ("torch legacy" if "legacy" in form else "torch zip")
    named = wrap not in ("state dict", "state_dict")
    assert weights.class_names == (("cat", "dog") if named else None)
    assert (weights.producer or "").endswith(".Net" if named else "")
    assert (weights.producer is not None) == named


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool),
    ],
    ids=str,
)
def test_every_number_type_is_read(form: str, dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.tensor([[0.0, 1.0, -2.5], [3.14159, 100.0, -0.001]])
    values = values if dtype.is_floating_point else values.abs()
    state = {
        "w": values.to(dtype),
        "scalar": values[1, 1].to(dtype).clone(),
        "none": torch.zeros(0, 3, dtype=dtype),
    }
    assert_same(read_weights(saved(state, tmp_path / "w.pt", **FORMATS[form])).state, state)


def test_views_of_one_storage_are_read_as_they_lie(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    state = {
        "whole": base.view(2, 3, 4),
        "part": base[5:9],
        "transposed": base.view(4, 6).t(),
        "every second": base[::2],
        "tied": base.view(2, 3, 4),
    }
    weights = read_weights(saved(state, tmp_path / "w.pt"))
    assert_same(weights.state, state)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in weights.state.values())


def test_a_number_too_large_for_float32_becomes_infinite_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    weights = read_weights(saved({"w": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "w.pt"))
    assert weights.state["w"].tolist() == [float("inf")]
    assert not recwarn.list


def test_big_endian_storages_are_read(tmp_path: Path) -> None:
    path = write_torch_zip(
        tmp_path / "w.pt",
        dict_of({"w": tensor()}),
        {"0": struct.pack(">4f", 1, 2, 3, 4)},
        extra={"archive/byteorder": b"big"},
    )
    assert read_weights(path).state["w"].tolist() == [1, 2, 3, 4]


def test_a_legacy_file_of_a_big_endian_machine_is_read(tmp_path: Path) -> None:
    data = legacy_bytes(
        dict_of({"w": tensor()}), keys=["0"], storages=struct.pack("<q", 4) + struct.pack(">4f", 1, 2, 3, 4)
    )
    path = tmp_path / "w.pt"
    path.write_bytes(data.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    assert data != path.read_bytes()
    assert read_weights(path).state["w"].tolist() == [1, 2, 3, 4]


def test_values_that_checkpoints_carry_beside_the_weights_are_tolerated(tmp_path: Path) -> None:
    counted: defaultdict[str, list[int]] = defaultdict(list, {"a": [1]})
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)
    value = {
        "state_dict": {"w": torch.ones(2)},
        "optimizer": optimizer.state_dict(),
        "best_fitness": np.float64(0.5),
        "results": np.arange(3.0),
        "path": PurePosixPath("runs/exp"),
        "here": Path("runs"),
        "date": "2024-01-01",
        "when": datetime(2024, 1, 1, tzinfo=timezone.utc).replace(tzinfo=None),
        "counts": (
            counted,
            Counter("aab"),
            deque([1, 2]),
            OrderedDict(a=1),
            {1, 2},
            frozenset({3}),
            slice(1, 2),
        ),
        "space": SimpleNamespace(a=1),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "bytes": b"abc",
        "parameter": nn.Parameter(torch.ones(1)),
    }
    weights = read_weights(saved(value, tmp_path / "w.pt"))
    assert list(weights.state) == ["w"]
    assert weights.date == "2024-01-01"


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]
)
def test_safetensors_of_every_number_type_are_read(dtype: str, tmp_path: Path) -> None:
    values = torch.tensor([[0.0, 1.0, 2.5], [3.14159, 100.0, 0.001]]).to(getattr(torch, dtype))
    state = {"a.scalar": values[1, 1].clone(), "b.w": values, "c.none": torch.zeros(0, 3, dtype=values.dtype)}
    save_file(state, tmp_path / "w.safetensors", metadata={"license": "MIT", "date": "2024-01-01"})
    weights = read_weights(tmp_path / "w.safetensors")
    assert_same(weights.state, state)
    assert (weights.format, weights.licence, weights.date) == ("safetensors", "MIT", "2024-01-01")
    assert (weights.class_names, weights.producer) == (None, None)


def _named(names: bytes, **more: bytes) -> bytes:
    return dict_of({"model": module_of({"w": tensor()}, names=names), **more})


def _numbered(*pairs: tuple[int, str]) -> bytes:
    return pickle.MARK + b"".join(number(index) + text(value) for index, value in pairs) + pickle.DICT


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (pickle.NONE, None),
        (list_of(text("cat"), text("dog")), ("cat", "dog")),
        (tuple_of(text("cat"), text("dog")), ("cat", "dog")),
        (_numbered((1, "dog"), (0, "cat")), ("cat", "dog")),
        (list_of(number(7), text("größe 船")), ("7", "größe 船")),
    ],
)
def test_class_names_are_read_in_the_order_of_their_index(
    names: bytes, expected: tuple[str, ...] | None, tmp_path: Path
) -> None:
    assert read_weights(write_torch_zip(tmp_path / "w.pt", _named(names))).class_names == expected


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (list_of(), "expected a list or dictionary"),
        (text("cat"), "expected a list or dictionary"),
        (_numbered((0, "cat"), (2, "dog")), "without gaps"),
        (dict_of({"cat": number(0)}), "without gaps"),
        (list_of(text("cat"), text(" ")), "printable name at index 1"),
        (list_of(text("cat"), text("\x1b[31mdog")), "printable name at index 1"),
        (list_of(text("cat"), pickle.NONE), "printable name at index 1"),
    ],
)
def test_unusable_class_names_are_refused_unless_others_are_given(
    names: bytes, match: str, tmp_path: Path
) -> None:
    path = write_torch_zip(tmp_path / "w.pt", _named(names))
    with pytest.raises(InputError, match=f"class names: .*{match}.*--labels FILE"):
        read_weights(path)
    assert read_weights(path, names=False).class_names is None


@pytest.mark.parametrize(
    ("key", "holder", "expected"),
    [
        ("train_args", dict_of({"imgsz": number(416)}), 416),
        ("opt", dict_of({"img_size": list_of(number(320), number(640))}), 640),
        ("opt", object_of("argparse", "Namespace", {"imgsz": number(512)}), 512),
        ("imgsz", number(256), 256),
        ("imgsz", pickle.NEWTRUE, None),
        ("imgsz", number(10**9), None),
        ("imgsz", text("640"), None),
        ("imgsz", list_of(), None),
    ],
)
def test_the_image_size_is_read_where_upstream_keeps_it(
    key: str, holder: bytes, expected: int | None, tmp_path: Path
) -> None:
    path = write_torch_zip(tmp_path / "w.pt", _named(pickle.NONE, **{key: holder}))
    assert read_weights(path).image_size == expected


def test_texts_of_a_file_are_made_fit_for_a_terminal(tmp_path: Path) -> None:
    path = write_torch_zip(
        tmp_path / "w.pt",
        _named(pickle.NONE, license=text("MIT\n\x1b[2Jor so"), date=text("d" * 999), version=number(3)),
    )
    weights = read_weights(path)
    assert weights.licence == "MIT  [2Jor so"
    assert weights.date == "d" * 200
    assert weights.producer == "models.yolo.Model"


def test_the_official_yolov5n_file_is_read(shared: Path) -> None:
    weights = read_weights(shared / "data" / "weights" / "yolov5n_v6.1-v7.0_official.pt")
    keys = json.loads((shared / "reference" / "fixtures" / "yolov5n" / "keys.json").read_text())["keys"]
    assert list(weights.state) == list(keys)
    assert len(weights.state) == 349
    assert {array.dtype.name for array in weights.state.values()} == {"float32", "int64"}
    assert weights.class_names is not None
    assert (len(weights.class_names), weights.class_names[0], weights.class_names[79]) == (
        80,
        "person",
        "toothbrush",
    )
    assert weights.date == "2022-02-08T18:24:20.515893"
    assert weights.sha256 == "4f180cf23ba0717ada0badd6c685026d73d48f184d00fc159c2641284b2ac0a3"
    assert (weights.format, weights.producer) == ("torch zip", "models.yolo.Model")
    assert (weights.licence, weights.image_size) == (None, None)


def test_a_real_file_of_ultralytics_is_read(shared: Path) -> None:
    weights = read_weights(shared / "data" / "weights" / "yolov8n-sm_nameplate_ultralytics-8.3.38.pt")
    assert sum(array.size for key, array in weights.state.items() if not _is_buffer(key)) == 1_836_578
    assert weights.class_names == ("nameplate",)
    assert weights.image_size == 640
    assert weights.licence == "AGPL-3.0 (https://ultralytics.com/license)"
    assert weights.date == "2025-06-29T05:05:05.455828"
    assert weights.producer == "ultralytics 8.3.38 DetectionModel"


def _is_buffer(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")


def test_reading_needs_neither_torch_nor_safetensors(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "w.pt", dict_of({"w": tensor()}))
    code = (
        "import sys\nfrom tercelet.training import read_weights\n"
        "assert list(read_weights(sys.argv[1]).state) == ['w']\n"
        "assert not {'torch', 'safetensors'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_class_that_is_only_named_is_not_imported(tmp_path: Path) -> None:
    path = write_torch_zip(
        tmp_path / "w.pt", dict_of({"state_dict": dict_of({"w": tensor()}), "c": name("pty", "spawn")})
    )
    before = set(sys.modules)
    assert list(read_weights(path).state) == ["w"]
    assert set(sys.modules) == before


def test_a_call_of_a_listed_function_makes_data(tmp_path: Path) -> None:
    names = call(name("collections", "OrderedDict"), list_of(tuple_of(number(0), text("cat"))))
    assert read_weights(write_torch_zip(tmp_path / "w.pt", _named(names))).class_names == ("cat",)
