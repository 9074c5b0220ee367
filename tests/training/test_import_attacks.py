"""Files that want something run, or want to exhaust the machine: refused, and nothing of them happens."""

from __future__ import annotations

import json
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
    legacy_head,
    list_of,
    module_of,
    name,
    number,
    object_of,
    refused,
    tensor,
    text,
    tuple_of,
    unpickled_in_its_own_process,
    write_torch_zip,
)

from tercelet.runtime.command_line import main
from tercelet.training import read_weights

# A bomb that worked would take gigabytes and minutes; a refusal takes the file's own size and a moment.
# Seconds are those of this process, whatever else the machine does.
MOST_BYTES = 200 << 20
MOST_SECONDS = 20.0

# Needs a tensor of torch to come to its call, which a bare unpickler has not.
_NEEDS_TORCH = "behind a valid tensor"


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


def test_a_safetensors_name_that_is_made_for_terminals_is_refused_without_its_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.safetensors"
    record = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for evil, shown in (("\x1b[31mEVIL\x07", r"\?\[31mEVIL\?"), ("w" * 301, "w{77}")):
        header = json.dumps({evil: record}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
        refused(path, f"expected printable tensor names, got {shown}")
        assert main(["import", str(path), "--detector", "yolov5n", "-o", str(tmp_path / "c")]) == 2
        assert capsys.readouterr().err.strip().isprintable()


def test_what_a_file_states_of_itself_is_made_printable(tmp_path: Path) -> None:
    evil = text("\x1b[31mEVIL\x07\u202e" + "x" * 999)
    parts = dict.fromkeys(("date", "license", "version"), evil)
    path = write_torch_zip(tmp_path / "w.pt", dict_of({"model": module_of({"w": tensor()}), **parts}))
    found = read_weights(path)
    for stated in (found.date, found.licence, found.producer):
        assert stated
        assert stated.isprintable()
        assert len(stated) <= 200
    path = write_torch_zip(tmp_path / "v.pt", dict_of({"state_dict": dict_of({"w": tensor()}), **parts}))
    assert "EVIL" in (read_weights(path).producer or "")
    assert (read_weights(path).producer or "\x1b").isprintable()
    refused(
        write_torch_zip(
            tmp_path / "n.pt", dict_of({"model": module_of({"w": tensor()}), "names": list_of(evil)})
        ),
        r"expected a printable name at index 0, got \?\[31mEVIL",
    )


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
    refused_cheaply(path, match)


def refused_cheaply(path: Path, match: str) -> None:
    """Refused as in `refused`, within bounded time and memory."""
    start = time.process_time()
    refused(path, match)
    assert time.process_time() - start < MOST_SECONDS
    tracemalloc.start()
    try:
        if path.stat().st_size < 1 << 20:  # tracing makes the large ones slow
            refused(path, match)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def _shared_pairs(levels: int) -> bytes:
    """A pair of twice the same pair, and so on; printed, it would have 2 ** levels parts."""
    return pickle.EMPTY_LIST + (pickle.DUP + pickle.TUPLE2) * levels


# name -> opcodes of a value that is to be shown in a message
UNPRINTABLE: dict[str, bytes] = {
    "26 pairs, each twice in the next": _shared_pairs(26),
    "50,000 lists in each other": b"]" * 50_000 + b"a" * 49_999,
    "a long text": text("\x1b[31m" * 100_000),
}


@pytest.mark.parametrize("value", UNPRINTABLE)
def test_a_value_that_is_hard_to_print_is_shown_as_its_type_or_its_start(value: str, tmp_path: Path) -> None:
    legacy = tmp_path / "legacy.pt"
    legacy.write_bytes(legacy_head(UNPRINTABLE[value]))
    refused_cheaply(legacy, r"expected torch's file protocol 1001, got (<list>|<tuple>|\?\[31m)")
    names = dict_of({"state_dict": dict_of({"w": tensor()}), "names": list_of(UNPRINTABLE[value])})
    refused_cheaply(write_torch_zip(tmp_path / "names.pt", names), r"name at index 0, got (<|\?\[31m)")


def test_keys_and_storages_that_share_one_hash_are_refused_or_told_apart(tmp_path: Path) -> None:
    # -1 and -2 have one hash in Python, and so have all tuples of the two.
    rows = [[number(-1 - (index >> bit & 1)) for bit in range(16)] for index in range(1 << 16)]
    keys = pickle.MARK + b"".join(tuple_of(*row) + pickle.NONE for row in rows) + pickle.DICT
    start = time.process_time()
    refused(write_torch_zip(tmp_path / "keys.pt", keys), "expected one of ema")
    assert time.process_time() - start < MOST_SECONDS
    storage = tuple_of(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(4))
    as_key = pickle.EMPTY_DICT + storage + pickle.BINPERSID + pickle.NONE + pickle.SETITEM
    refused(write_torch_zip(tmp_path / "storage.pt", as_key), "plain dictionary keys, got a Storage")


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
