"""Files made by hand or damaged, whose tensors, storages or opcodes contradict each other: refused."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest
from hostile_files import (
    call,
    dict_of,
    legacy_bytes,
    list_of,
    name,
    number,
    refused,
    tensor,
    text,
    tuple_of,
    write_torch_zip,
)

from tercelet.training import read_weights

# name -> (tensor, storages, what the refusal says)
LYING_TENSORS: dict[str, tuple[bytes, dict[str, bytes] | None, str]] = {
    "past the end": (tensor(shape=(5,)), None, "reaches outside its storage"),
    "past the end by its offset": (tensor(offset=1), None, "reaches outside its storage"),
    "past the end by its strides": (tensor(shape=(2,), strides=(4,)), None, "reaches outside its storage"),
    "with 2^62 numbers": (
        tensor(shape=(1 << 31, 1 << 31), strides=(0, 0)),
        None,
        "reaches outside its storage",
    ),
    "with sides that overflow": (tensor(shape=(1 << 62, 4), strides=(1, 1 << 62)), None, "reaches outside"),
    "repeated by a zero stride": (tensor(shape=(100,), strides=(0,)), None, "reaches outside its storage"),
    "with a negative side": (tensor(shape=(-4,)), None, "not to be negative"),
    "with a negative stride": (tensor(offset=3, strides=(-1,)), None, "not to be negative"),
    "with a negative offset": (tensor(offset=-1), None, "not to be negative"),
    "with a stride of 101 bits": (
        tensor(numel=1, shape=(1,), strides=(1 << 100,)),
        {"0": bytes(4)},
        "expected the strides of a tensor within 63 bits",
    ),
    "with a side of 64 bits": (tensor(shape=(1 << 63, 0)), None, "expected the shape of a tensor within 63"),
    "of a storage of 2^64 numbers": (tensor(numel=1 << 64), None, "key and length of a storage"),
    "with more strides than sides": (tensor(strides=(1, 1)), None, "expected 1 strides, got 2"),
    "with 17 dimensions": (tensor(shape=(1,) * 17, strides=(1,) * 17), None, "at most 16"),
    "whose storage is missing": (tensor(key="7"), None, "numbers of storage 7 are missing"),
    "whose storage is elsewhere": (tensor(key="../data.pkl"), None, "storage ../data.pkl are missing"),
    "whose storage is short": (tensor(), {"0": b"1234"}, "expected 16 bytes .4 numbers., got 4"),
    "whose storage is long": (tensor(numel=2, shape=(2,)), None, "expected 8 bytes .2 numbers., got 16"),
    "of negative length": (tensor(numel=-1), None, "key and length of a storage"),
    "of another kind": (tensor(kind=("os", "system")), None, r"expected storages of .* got os\.system"),
    "of complex numbers": (tensor(kind=("torch", "ComplexFloatStorage")), None, "ComplexFloatStorage"),
    "of another module": (tensor(kind=("evil", "FloatStorage")), None, r"got evil\.FloatStorage"),
}


@pytest.mark.parametrize("lie", LYING_TENSORS)
def test_a_tensor_that_lies_about_its_bounds_is_refused(lie: str, tmp_path: Path) -> None:
    pickled, storages, match = LYING_TENSORS[lie]
    refused(write_torch_zip(tmp_path / "weights.pt", dict_of({"w": pickled}), storages), match)


def test_the_stride_of_a_side_of_length_one_says_nothing(tmp_path: Path) -> None:
    lone = tensor(shape=(1, 2, 1), strides=(1 << 62, 1, (1 << 63) - 1))
    path = write_torch_zip(tmp_path / "weights.pt", dict_of({"w": lone}))
    assert read_weights(path).state["w"].tolist() == [[[1], [2]]]


@pytest.mark.parametrize(
    ("identity", "match"),
    [
        (text("0"), "expected storages as external data"),
        (tuple_of(text("module"), name("a", "B"), text("a.py"), text("print()")), "expected storages"),
        (tuple_of(text("storage"), name("torch", "FloatStorage")), "expected storages"),
    ],
    ids=["text", "a class with its source", "too few parts"],
)
def test_an_external_id_that_is_no_storage_is_refused(identity: bytes, match: str, tmp_path: Path) -> None:
    refused(write_torch_zip(tmp_path / "weights.pt", identity + pickle.BINPERSID), match)


@pytest.mark.parametrize(
    ("opcodes", "match"),
    [
        (b"", "cut off or damaged"),
        (b"\xff", "cut off or damaged"),
        (b"0", "a mark is missing"),
        (b"t", "a mark is missing"),
        (b"R", "a value is missing"),
        (b"h\x07", "never stored"),
        (b"P7\n", "uses the opcode PERSID"),
        (b"\x82\x01", "uses the opcode EXT1"),
        (b"\x97", "uses the opcode NEXT_BUFFER"),
        (b"X\x04\x00\x00\x00\xff\xff\xff\xff", "cut off or damaged"),
        (b"NNb", "attributes for a NoneType"),
        (b"N]e", "a mark is missing"),
        (b"NNa", "elements for a NoneType"),
        (b"NNNs", "pairs for a NoneType"),
        (name("torch", "Size") + b"NR", "as a tuple"),
        (call(name("torch", "Size"), number(3)), "expected one list"),
        (call(name("torch._utils", "_rebuild_tensor_v2"), number(3)), "expected a storage"),
        (call(name("torch._utils", "_rebuild_parameter"), number(3)), "expected a tensor"),
        (call(name("collections", "OrderedDict"), list_of(number(3))), "expected a list of pairs"),
        (call(name("_codecs", "encode"), text("x"), text("rot13")), "latin1"),
        (call(name("collections", "OrderedDict"), number(3)), "expected a list of pairs"),
        (call(name("pathlib", "Path"), number(3)), "the parts of a path as text"),
        (call(name("copyreg", "_reconstructor"), name("a", "B")), "a class, its base and a state"),
        (call(name("torch._tensor", "_rebuild_from_type_v2"), number(3)), "a function, a type"),
        (b"}(" + b"(" + number(1) * 17 + b"tNu", "a nested tuple"),
        (b"}" + number(1 << 70) + b"Ns", "dictionary keys of at most 62 bits"),
        (number(3) + b")\x81", "expected a class and a tuple"),
        (text("os") + number(3) + b"\x93", "name of a class that is no text"),
        (b"(o", "an object without a class"),
        (b"](N\x90", "set elements for a list"),
        (b"(NN1", "a value is missing"),
    ],
)
def test_a_pickle_that_is_not_well_formed_is_refused(opcodes: bytes, match: str, tmp_path: Path) -> None:
    refused(write_torch_zip(tmp_path / "weights.pt", opcodes), match)


@pytest.mark.parametrize(
    ("keys", "storages", "match"),
    [
        (["0"], b"", "cut off or damaged at byte"),
        (["0"], struct.pack("<q4f", 4, 1, 2, 3, 4)[:-1], "cut off or damaged at byte"),
        (["0"], struct.pack("<q4f", 9, 1, 2, 3, 4), "cut off or damaged at byte"),
        ([], b"", "numbers of storage 0 are missing"),
        (["7"], b"", "storage 7 is listed but not described"),
        (["0", "0"], struct.pack("<q4fq4f", 4, 1, 2, 3, 4, 4, 1, 2, 3, 4), "listed but not described"),
    ],
)
def test_a_legacy_file_with_wrong_storages_is_refused(
    keys: list[str], storages: bytes, match: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(legacy_bytes(dict_of({"w": tensor()}), keys=keys, storages=storages))
    refused(path, match)


def _parts(**changed: bytes) -> bytes:
    """The pickles of a legacy file, some of them changed."""
    values = {"magic": 0x1950A86A20F9469CFC6C, "protocol": 1001, "system": {}, "value": {}, "keys": []}
    return b"".join(changed.get(part) or pickle.dumps(value, protocol=2) for part, value in values.items())


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (_parts(protocol=pickle.dumps(7)), "expected torch's file protocol 1001, got 7"),
        (_parts(keys=pickle.dumps(3)), "expected the list of storages"),
        (_parts(keys=pickle.dumps([3])), "expected the list of storages"),
        (
            _parts(value=tuple_of(text("module"), text("a"), text("a.py"), text("x")) + b"Q."),
            "expected the name of a class beside its source",
        ),
        (
            _parts(value=dict_of({"v": tensor(), "w": tensor(numel=5)}) + b"."),
            "storage 0 is described in two ways",
        ),
    ],
)
def test_a_legacy_file_that_contradicts_itself_is_refused(data: bytes, match: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(data)
    refused(path, match)
