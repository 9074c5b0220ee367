"""Writes weight files for the tests of the import: valid ones by hand, and attacks that would run if let.

Attacks are only written here, never read with anything but the reader under test, apart from the one test
that proves in a process of its own that they do work.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tercelet.contract.errors import InputError
from tercelet.training import read_weights

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STOP = pickle.STOP


def text(value: str) -> bytes:
    """Opcodes that push a string."""
    raw = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """Opcodes that push an integer of any size."""
    raw = pickle.encode_long(value)
    return pickle.LONG4 + struct.pack("<i", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """Opcodes that push a class or function by name."""
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def tuple_of(*parts: bytes) -> bytes:
    """Opcodes that push a tuple."""
    return pickle.MARK + b"".join(parts) + pickle.TUPLE


def list_of(*parts: bytes) -> bytes:
    """Opcodes that push a list."""
    return pickle.MARK + b"".join(parts) + pickle.LIST


def dict_of(parts: Mapping[str, bytes]) -> bytes:
    """Opcodes that push a dictionary with text keys."""
    return pickle.MARK + b"".join(text(key) + value for key, value in parts.items()) + pickle.DICT


def call(function: bytes, *arguments: bytes) -> bytes:
    """Opcodes that call a function."""
    return function + tuple_of(*arguments) + pickle.REDUCE


def object_of(module: str, attribute: str, state: Mapping[str, bytes]) -> bytes:
    """Opcodes that push an object of a class with these attributes."""
    return name(module, attribute) + pickle.EMPTY_TUPLE + pickle.NEWOBJ + dict_of(state) + pickle.BUILD


def module_of(
    parameters: Mapping[str, bytes] | None = None,
    modules: Mapping[str, bytes] | None = None,
    **attributes: bytes,
) -> bytes:
    """Opcodes that push a module as torch pickles one."""
    parts = {"_parameters": parameters or {}, "_buffers": {}, "_modules": modules or {}}
    state = {key: dict_of(value) for key, value in parts.items()}
    return object_of("models.yolo", "Model", {**state, **attributes})


def tensor(
    *,
    key: str = "0",
    kind: tuple[str, str] = ("torch", "FloatStorage"),
    numel: int = 4,
    offset: int = 0,
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
) -> bytes:
    """Opcodes that push a tensor over a storage, bounds unchecked."""
    identity = (
        tuple_of(text("storage"), name(*kind), text(key), text("cpu"), number(numel)) + pickle.BINPERSID
    )
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        identity,
        number(offset),
        tuple_of(*map(number, shape)),
        tuple_of(*map(number, strides)),
        pickle.NEWFALSE,
        call(name("collections", "OrderedDict")),
    )


def write_torch_zip(
    path: Path,
    pickled: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """A zip archive as torch writes it, around the opcodes `pickled` (without their STOP)."""
    blocks = {"0": struct.pack("<4f", 1, 2, 3, 4)} if storages is None else storages
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle.PROTO + b"\x02" + pickled + STOP)
        for key, block in blocks.items():
            archive.writestr(f"archive/data/{key}", block)
        for entry, contents in (extra or {}).items():
            archive.writestr(entry, contents)
    return path


def legacy_head(protocol: bytes) -> bytes:
    """A legacy file up to its protocol number, in whose place are the opcodes `protocol` (without STOP)."""
    return pickle.dumps(LEGACY_MAGIC, protocol=2) + pickle.PROTO + b"\x02" + protocol + STOP


def legacy_bytes(pickled: bytes, *, keys: list[str], storages: bytes) -> bytes:
    """A file as torch wrote it before the zip format, around the opcodes `pickled` (without their STOP)."""
    head = [LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True}]
    parts = [pickle.dumps(part, protocol=2) for part in head]
    return b"".join(
        [*parts, pickle.PROTO + b"\x02" + pickled + STOP, pickle.dumps(keys, protocol=2), storages]
    )


class _Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> Any:
        return self.parts


def _dumped(value: Any, protocol: int = 2) -> bytes:
    """The opcodes of a value, without their STOP."""
    return pickle.dumps(value, protocol=protocol)[:-1]


def _touch(sentinel: Path) -> str:
    return f"touch {sentinel}"


def _python(sentinel: Path) -> str:
    return f"open({str(sentinel)!r}, 'w').close()"


# What each does when it is unpickled: it makes the file `sentinel`.
WORKING_ATTACKS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda s: _dumped(_Calls(os.system, _touch(s))),
    "os.system, protocol 0": lambda s: _dumped(_Calls(os.system, _touch(s)), 0),
    "os.system, protocol 4": lambda s: _dumped(_Calls(os.system, _touch(s)), 4),
    "builtins.eval": lambda s: _dumped(_Calls(eval, _python(s))),
    "builtins.exec": lambda s: _dumped(_Calls(exec, _python(s))),
    "subprocess.Popen": lambda s: _dumped(_Calls(subprocess.check_call, ["touch", str(s)])),
    "importlib and getattr": lambda s: call(
        call(
            name("builtins", "getattr"), call(name("importlib", "import_module"), text("os")), text("system")
        ),
        text(_touch(s)),
    ),
    "__import__": lambda s: call(
        call(name("builtins", "getattr"), call(name("builtins", "__import__"), text("os")), text("system")),
        text(_touch(s)),
    ),
    "nested reduce": lambda s: _dumped({"epoch": 1, "model": [{"deep": (_Calls(eval, _python(s)),)}]}),
    "a pickle in a pickle": lambda s: _dumped(
        _Calls(pickle.loads, pickle.dumps(_Calls(os.system, _touch(s))))
    ),
    "functools.partial": lambda s: call(
        call(name("functools", "partial"), name("os", "system"), text(_touch(s)))
    ),
    "INST": lambda s: b"(" + text(_touch(s)) + b"ios\nsystem\n",
    "OBJ": lambda s: b"(" + name("subprocess", "Popen") + list_of(text("touch"), text(str(s))) + b"o",
    "behind a valid tensor": lambda s: dict_of(
        {"state_dict": dict_of({"w": tensor()}), "date": _dumped(_Calls(os.system, _touch(s)))[2:]}
    ),
    "torch's own rebuilding": lambda s: call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("os", "system"),
        name("torch", "Tensor"),
        tuple_of(text(_touch(s))),
        pickle.NONE,
    ),
    "a class patched by BUILD": lambda s: (
        name("argparse", "Namespace")
        + tuple_of(pickle.NONE, dict_of({"__setstate__": name("os", "system")}))
        + pickle.BUILD
        + pickle.POP
        + name("argparse", "Namespace")
        + pickle.EMPTY_TUPLE
        + pickle.NEWOBJ
        + text(_touch(s))
        + pickle.BUILD
    ),
}

# Functions an attack may name instead; all must be refused by name before anything is looked up.
REFUSED_FUNCTIONS = (
    *("os.popen", "posix.system", "nt.system", "os.execv", "os.remove", "shutil.rmtree", "socket.socket"),
    *("builtins.compile", "builtins.open", "builtins.getattr", "builtins.setattr", "builtins.__import__"),
    *("__builtin__.eval", "runpy.run_path", "code.interact", "pty.spawn", "webbrowser.open", "ctypes.CDLL"),
    *("operator.attrgetter", "operator.methodcaller", "functools.reduce", "types.FunctionType"),
    *("torch.load", "torch.hub.load", "torch.jit.load", "torch.ops.load_library", "numpy.load"),
    *("torch.storage._load_from_bytes", "torch._utils._rebuild_tensor_v2.__globals__", "pickle.loads"),
    *("collections.OrderedDict.__init__", "collections._OrderedDict", "Torch.Size", "pathlib.Path.unlink"),
)


def unpickled_in_its_own_process(path: Path) -> list[str]:
    """The command that unpickles data.pkl of an archive, for the proof that an attack works."""
    code = (
        "import pickle, sys, zipfile\n"
        "class U(pickle.Unpickler):\n"
        "    def persistent_load(self, i): return None\n"
        "U(zipfile.ZipFile(sys.argv[1]).open('archive/data.pkl')).load()\n"
    )
    return [sys.executable, "-c", code, str(path)]


def refused(path: Path, match: str) -> None:
    """Reading must end in an InputError, of one or two lines, without printing control characters."""
    with pytest.raises(InputError, match=match) as caught:
        read_weights(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300
