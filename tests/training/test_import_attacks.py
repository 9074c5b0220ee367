"""Files that want something run, or want to exhaust the machine: refused, and nothing of them happens."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_files import (
    REFUSED_FUNCTIONS,
    WORKING_ATTACKS,
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
    unpickled_in_its_own_process,
    write_torch_zip,
)

from tercelet.contract.errors import InputError
from tercelet.runtime.command_line import main
from tercelet.training import read_weights

# A bomb that worked would take gigabytes and minutes; a refusal takes the file's own size and a moment.
MOST_BYTES = 200 << 20
MOST_SECONDS = 20.0

# Needs a tensor of torch to come to its call, which a bare unpickler has not.
_NEEDS_TORCH = "behind a valid tensor"


def refused(path: Path, match: str) -> None:
    """Reading must end in an InputError, of one or two lines, without printing control characters."""
    with pytest.raises(InputError, match=match) as caught:
        read_weights(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300


@pytest.mark.parametrize("attack", WORKING_ATTACKS)
def test_an_attack_is_refused_and_leaves_no_trace(attack: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    path = write_torch_zip(tmp_path / "weights.pt", WORKING_ATTACKS[attack](sentinel))
    loaded = set(sys.modules)
    refused(path, "asks to (run|change) .*nothing was run|torch's own functions")
    assert not sentinel.exists()
    assert {"pty", "webbrowser", "code"} & (set(sys.modules) - loaded) == set()


@pytest.mark.parametrize("attack", [a for a in WORKING_ATTACKS if a != _NEEDS_TORCH])
def test_the_attack_would_work_on_an_ordinary_unpickler(attack: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    path = write_torch_zip(tmp_path / "weights.pt", WORKING_ATTACKS[attack](sentinel))
    subprocess.run(unpickled_in_its_own_process(path), check=False, capture_output=True)
    deadline = time.monotonic() + 5
    while not sentinel.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sentinel.exists()


@pytest.mark.parametrize("position", range(4))
def test_an_attack_is_refused_at_every_place_of_a_legacy_file(position: int, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    attack = pickle.PROTO + b"\x02" + WORKING_ATTACKS["os.system, protocol 0"](sentinel) + pickle.STOP
    parts = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}, {})]
    parts[position] = attack
    path = tmp_path / "weights.pt"
    path.write_bytes(b"".join(parts))
    refused(path, r"asks to run (os|posix)\.system; refused, nothing was run")
    assert not sentinel.exists()


def test_an_attack_as_text_pickle_is_refused(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    path = tmp_path / "weights.pt"
    path.write_bytes(f"cos\nsystem\n(S'touch {sentinel}'\ntR.".encode())
    refused(path, r"asks to run os\.system")
    assert not sentinel.exists()


@pytest.mark.parametrize("function", REFUSED_FUNCTIONS)
def test_a_function_off_the_list_is_refused_by_name(function: str, tmp_path: Path) -> None:
    module, _, attribute = function.rpartition(".")
    path = write_torch_zip(tmp_path / "weights.pt", call(name(module, attribute), text("x")))
    refused(path, f"asks to run {function.replace('.', '[.]')}; refused")


def test_a_call_of_something_that_is_no_function_is_refused(tmp_path: Path) -> None:
    smuggled = object_of("models.yolo", "Model", {"__call__": name("os", "system")})
    refused(
        write_torch_zip(tmp_path / "weights.pt", call(smuggled, text("x"))),
        "asks to run an object of its own",
    )


def test_a_name_that_is_made_for_terminals_is_shown_without_its_control_characters(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "weights.pt", call(name("os\x1b[2J", "system" * 99), text("x")))
    refused(path, r"asks to run os\?\[2J")


def test_naming_a_dangerous_function_without_calling_it_is_harmless(tmp_path: Path) -> None:
    path = write_torch_zip(
        tmp_path / "weights.pt",
        dict_of({"hook": name("os", "system"), "state_dict": dict_of({"w": tensor()})}),
    )
    assert list(read_weights(path).state["w"]) == [1, 2, 3, 4]


def _laughs(levels: int) -> bytes:
    """A module whose two children are one and the same, which has two children that are one, and so on."""
    pickled = module_of({"w": tensor()})
    for level in range(levels):
        pickled += pickle.BINPUT + bytes([level]) + pickle.POP
        again = pickle.BINGET + bytes([level])
        pickled += module_of({}, {"a": again, "b": again})
    return pickled


def _deep(levels: int) -> bytes:
    pickled = module_of({"w": tensor()})
    for level in range(levels):
        put = pickle.LONG_BINPUT + struct.pack("<I", level)
        get = pickle.LONG_BINGET + struct.pack("<I", level)
        pickled += put + pickle.POP + module_of({}, {"m": get})
    return pickled


def _circle() -> bytes:
    """A module that is its own child."""
    own = (
        pickle.BINPUT
        + b"\x01"
        + dict_of({"_parameters": dict_of({}), "_modules": dict_of({"m": pickle.BINGET + b"\x01"})})
    )
    return name("models.yolo", "Model") + pickle.EMPTY_TUPLE + pickle.NEWOBJ + own + pickle.BUILD


def _copied_sets() -> bytes:
    many = pickle.MARK + b"".join(number(i) for i in range(5_000)) + pickle.LIST + pickle.BINPUT + b"\x01"
    again = call(name("builtins", "set"), pickle.BINGET + b"\x01")
    return many + again * 5_000


def _copied_text() -> bytes:
    long = text("x" * 100_000) + pickle.BINPUT + b"\x01"
    return long + call(name("pathlib", "PosixPath"), *[pickle.BINGET + b"\x01"] * 5_000) * 20


def _copied_attributes() -> bytes:
    state = dict_of({str(i): pickle.NONE for i in range(20_000)}) + pickle.BINPUT + b"\x01" + pickle.POP
    fresh = name("a", "B") + pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.BINGET + b"\x01" + pickle.BUILD
    return state + fresh * 5_000


def _many_views() -> bytes:
    """A small storage, read again and again under other names."""
    return dict_of({f"w{i}": tensor(numel=1 << 18, shape=(1 << 18,)) for i in range(200)})


# name -> (opcodes, storages, what the refusal says)
BOMBS: dict[str, tuple[Callable[[], bytes], dict[str, bytes] | None, str]] = {
    "billion laughs": (lambda: _laughs(60), None, "module tree has more than"),
    "a chain of modules": (lambda: _deep(2_000), None, "module tree has more than"),
    "a module inside itself": (_circle, None, "module tree has more than|no weights"),
    "a memo index of two billion": (
        lambda: text("x") + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f",
        None,
        "expected a checkpoint",
    ),
    "a string of 2^62 bytes": (lambda: b"\x8d" + struct.pack("<Q", 1 << 62), None, "cut off or damaged"),
    "bytes of 2^64 - 1": (lambda: b"\x8e" + struct.pack("<Q", (1 << 64) - 1), None, "cut off or damaged"),
    "an integer of a million bits": (lambda: number(1 << 1_000_000), None, "integer of more than 128 bits"),
    "an integer of a million digits": (lambda: b"L" + b"9" * 1_000_000 + b"L\n", None, "cut off or damaged"),
    "a list in lists": (lambda: b"]" * 100_000 + b"a" * 99_999, None, "expected a checkpoint"),
    "a tuple in tuples as key": (
        lambda: b"}" + b")" + b"\x85" * 50_000 + b"Ns",
        None,
        "expected plain dictionary keys",
    ),
    "a list as key": (lambda: b"}" + b"]" + b"Ns", None, "expected plain dictionary keys"),
    "a list that is copied over and over": (_copied_sets, None, "copies its contents over and over"),
    "a text that is copied over and over": (_copied_text, None, "copies its contents over and over"),
    "attributes that are copied over and over": (
        _copied_attributes,
        None,
        "copies its contents over and over",
    ),
    "three million opcodes": (lambda: b"N0" * 1_500_000, None, "more than 2000000 opcodes"),
    "one storage under 200 names": (_many_views, {"0": bytes(1 << 20)}, "unpack to many times"),
    "an empty tensor with endless sides": (
        lambda: dict_of({"w": tensor(shape=(0, 1 << 40, 1 << 40), strides=(1, 1, 1))}),
        None,
        "reaches outside its storage",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_within_bounded_memory_and_time(bomb: str, tmp_path: Path) -> None:
    make, storages, match = BOMBS[bomb]
    path = write_torch_zip(tmp_path / "weights.pt", make(), storages)
    start = time.monotonic()
    refused(path, match)
    assert time.monotonic() - start < MOST_SECONDS
    tracemalloc.start()
    try:
        if path.stat().st_size < 1 << 20:  # tracing makes the large ones slow
            refused(path, match)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_a_compressed_archive_is_refused_unopened(tmp_path: Path) -> None:
    path = write_torch_zip(
        tmp_path / "bomb.pt",
        dict_of({"w": tensor()}),
        {"0": bytes(100 << 20)},
        compression=zipfile.ZIP_DEFLATED,
    )
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        refused(path, "is compressed, which torch never writes; refused")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_with_a_huge_pickle_is_refused(tmp_path: Path) -> None:
    path = write_torch_zip(tmp_path / "weights.pt", bytes(33 << 20))
    refused(path, "data.pkl has .* bytes, expected at most")


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


@pytest.mark.parametrize("attack", ["os.system", "nested reduce"])
def test_the_command_refuses_an_attack_with_exit_code_2_and_leaves_nothing(
    attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentinel = tmp_path / "sentinel"
    write_torch_zip(tmp_path / "weights.pt", WORKING_ATTACKS[attack](sentinel))
    monkeypatch.chdir(tmp_path)
    assert main(["import", "weights.pt", "--detector", "yolov5n"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "weights.pt: the file asks to run" in err
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pt"]
