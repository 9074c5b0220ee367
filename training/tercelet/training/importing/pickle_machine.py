"""Reads a pickle as data: a small stack machine of its own, which has no way to import or call anything.

Python's unpickler runs what a file tells it to, and even a restricted one can be made to allocate gigabytes
or to overflow the stack. This machine knows the opcodes and builds plain data and inert records of them;
a call is looked up in `CALLS` and refused otherwise. Work is bounded: by the number of opcodes, and by the
number of elements that calls copy, because one opcode can copy a list again and again.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any, NoReturn

from tercelet.contract.errors import InputError
from tercelet.training.importing.inert import Global, InertObject, StridedTensor, quoted
from tercelet.training.importing.pickle_calls import (
    CALLS,
    UnexpectedArgumentsError,
    dictionary_key,
    make_inert,
)

# A checkpoint of the largest supported detector with its optimizer needs well under a tenth of this.
MAX_OPCODES = 2_000_000
MAX_COPIED = 1_000_000
_CHARACTERS_AN_ELEMENT = 64
_MAX_INTEGER_BITS = 128

PersistentLoad = Callable[[Any], Any]


def read_pickle(stream: io.BytesIO, *, where: str, persistent_load: PersistentLoad | None = None) -> Any:
    """The value of the pickle at the stream's position; the stream is left behind it.

    persistent_load(identity) makes the value of a persistent id (a storage); without it there may be none.
    Raises InputError, which names `where`, for a damaged pickle and for one that asks to run something.
    """
    return _Machine(where, persistent_load).run(stream)


class _Machine:
    def __init__(self, where: str, persistent_load: PersistentLoad | None) -> None:
        self.where = where
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self, stream: io.BytesIO) -> Any:
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if count >= MAX_OPCODES:
                    raise InputError(f"{self.where}: the pickle has more than {MAX_OPCODES} opcodes; refused")
                if opcode.name == "STOP":
                    break
                step = _STEPS.get(opcode.name)
                if step is None:
                    raise InputError(f"{self.where}: the pickle uses the opcode {opcode.name}; refused")
                step(self, argument)
            return self.pop()
        except UnexpectedArgumentsError as error:
            raise InputError(f"{self.where}: the pickle is damaged or made by hand: {error}") from error
        except (ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            self.damaged(error)

    def damaged(self, reason: object) -> NoReturn:
        raise InputError(
            f"{self.where}: the pickle inside is cut off or damaged ({quoted(str(reason))}); "
            "download it again"
        )

    def pop(self) -> Any:
        if not self.stack:
            self.damaged("a value is missing")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            self.damaged("a value is missing")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        if not self.below:
            self.damaged("a mark is missing")
        items, self.stack = self.stack, self.below.pop()
        return items

    def charge(self, *values: Any) -> None:
        """Count what is about to be copied; refuse a file that copies more than any real one."""
        self.copied += sum(len(v) for v in values if isinstance(v, (list, tuple, dict, set)))
        self.copied += sum(len(v) // _CHARACTERS_AN_ELEMENT for v in values if isinstance(v, (str, bytes)))
        if self.copied > MAX_COPIED:
            raise InputError(f"{self.where}: the pickle copies its contents over and over; refused")

    def call(self, function: Any, arguments: Any) -> Any:
        name = str(function) if isinstance(function, Global) else "an object of its own"
        imitation = CALLS.get(function) if isinstance(function, Global) else None
        if imitation is None:
            raise InputError(
                f"{self.where}: the file asks to run {name}; refused, nothing was run. "
                "Get the weights from their publisher, as a plain state dict or .safetensors"
            )
        if not isinstance(arguments, tuple):
            raise UnexpectedArgumentsError(f"expected the arguments of {name} as a tuple")
        self.charge(*arguments)
        try:
            return imitation(arguments)
        except UnexpectedArgumentsError as error:
            raise UnexpectedArgumentsError(f"{name}: {error}") from error


def _push_argument(machine: _Machine, argument: Any) -> None:
    if isinstance(argument, int) and argument.bit_length() > _MAX_INTEGER_BITS:
        machine.damaged("an integer of more than 128 bits")
    machine.stack.append(argument)


def _push(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.stack.append(make())


def _short_tuple(length: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, argument: Any) -> None:
        items = [machine.pop() for _ in range(length)]
        machine.stack.append(tuple(reversed(items)))

    return step


def _tuple(machine: _Machine, argument: Any) -> None:
    items = machine.pop_mark()
    machine.stack.append(tuple(items))


def _list(machine: _Machine, argument: Any) -> None:
    items = machine.pop_mark()
    machine.stack.append(items)


def _extend(machine: _Machine, items: list[Any]) -> None:
    target = machine.top()
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, InertObject):
        target.elements.extend(items)
    else:
        machine.damaged(f"elements for a {type(target).__name__}")


def _append(machine: _Machine, argument: Any) -> None:
    _extend(machine, [machine.pop()])


def _appends(machine: _Machine, argument: Any) -> None:
    _extend(machine, machine.pop_mark())


def _fill(machine: _Machine, items: list[Any]) -> None:
    target = machine.top()
    mapping = target.items if isinstance(target, InertObject) else target
    if not isinstance(mapping, dict) or len(items) % 2:
        machine.damaged(f"pairs for a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        mapping[dictionary_key(key)] = value


def _setitem(machine: _Machine, argument: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _fill(machine, [key, value])


def _setitems(machine: _Machine, argument: Any) -> None:
    _fill(machine, machine.pop_mark())


def _dict(machine: _Machine, argument: Any) -> None:
    items = machine.pop_mark()
    machine.stack.append({})
    _fill(machine, items)


def _additems(machine: _Machine, argument: Any) -> None:
    items = machine.pop_mark()
    target = machine.top()
    if not isinstance(target, set):
        machine.damaged(f"set elements for a {type(target).__name__}")
    target.update(dictionary_key(item) for item in items)


def _frozenset(machine: _Machine, argument: Any) -> None:
    items = machine.pop_mark()
    machine.stack.append({dictionary_key(item) for item in items})


def _mark(machine: _Machine, argument: Any) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine, argument: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _pop_mark(machine: _Machine, argument: Any) -> None:
    machine.pop_mark()


def _dup(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.top())


def _get(machine: _Machine, index: Any) -> None:
    if index not in machine.memo:
        machine.damaged("a reference to a value that was never stored")
    machine.stack.append(machine.memo[index])


def _put(machine: _Machine, index: Any) -> None:
    machine.memo[index] = machine.top()


def _memoize(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(Global(module, name))


def _stack_global(machine: _Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        machine.damaged("the name of a class that is no text")
    machine.stack.append(Global(module, name))


def _reduce(machine: _Machine, argument: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.stack.append(machine.call(function, arguments))


def _inst(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    arguments = tuple(machine.pop_mark())
    machine.stack.append(machine.call(Global(module, name), arguments))


def _obj(machine: _Machine, argument: Any) -> None:
    items = machine.pop_mark()
    if not items:
        machine.damaged("an object without a class")
    machine.stack.append(machine.call(items[0], tuple(items[1:])))


def _newobj(machine: _Machine, argument: Any) -> None:
    arguments, cls = machine.pop(), machine.pop()
    machine.stack.append(make_inert(cls, arguments))


def _newobj_ex(machine: _Machine, argument: Any) -> None:
    machine.pop()
    _newobj(machine, argument)


def _build(machine: _Machine, argument: Any) -> None:
    state, target = machine.pop(), machine.top()
    if isinstance(target, InertObject):
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if isinstance(part, dict):
                machine.charge(part)
                target.attributes.update({k: v for k, v in part.items() if isinstance(k, str)})
    elif isinstance(target, Global):
        raise InputError(f"{machine.where}: the file asks to change {target}; refused, nothing was run")
    elif not isinstance(target, (dict, StridedTensor)):
        # Attributes of a dictionary (_metadata) or a tensor are of no use here; other targets have none.
        machine.damaged(f"attributes for a {type(target).__name__}")


def _persistent(machine: _Machine, argument: Any) -> None:
    if machine.persistent_load is None:
        machine.damaged("a storage where none can be")
    machine.stack.append(machine.persistent_load(machine.pop()))


def _nothing(machine: _Machine, argument: Any) -> None:
    """Protocol number and frames: they only announce what follows."""


_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)

# Missing on purpose: PERSID, EXT1..4, BYTEARRAY8 and out-of-band buffers, which no weight file has.
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_LITERALS, _push_argument),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "EMPTY_SET": _push(set),
    "EMPTY_TUPLE": _short_tuple(0),
    "TUPLE1": _short_tuple(1),
    "TUPLE2": _short_tuple(2),
    "TUPLE3": _short_tuple(3),
    "TUPLE": _tuple,
    "LIST": _list,
    "DICT": _dict,
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "ADDITEMS": _additems,
    "FROZENSET": _frozenset,
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _dup,
    "MEMOIZE": _memoize,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "INST": _inst,
    "OBJ": _obj,
    "NEWOBJ": _newobj,
    "NEWOBJ_EX": _newobj_ex,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
