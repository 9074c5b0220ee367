"""The calls that weight files rightly ask for, each imitated on inert data; every other call is refused.

The list is exact: module and name, both as the file states them. Nothing of torch, numpy or the standard
library is called in their place; a value that the import does not need becomes an `InertObject`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tercelet.training.importing.inert import Global, InertObject, Storage, StridedTensor, quoted

Arguments = tuple[Any, ...]
Call = Callable[[Arguments], Any]

MAX_DIMENSIONS = 16
_KEY_TUPLE = 16
_KEY_INTEGER = 1 << 62
# torch counts elements in 64 bits with a sign.
_SIZE_BITS = 63


class UnexpectedArgumentsError(ValueError):
    """An allowed call with arguments of another number or type than its definition."""


def dictionary_key(key: Any) -> Any:
    """The key if it is cheap and safe to hash; UnexpectedArgumentsError otherwise.

    A tuple is hashed by recursion in C without a limit, so that only flat, short ones may be keys. Numbers in
    one become text, because it is easy to make thousands of tuples of numbers that have one hash.
    """
    if isinstance(key, tuple):
        if len(key) > _KEY_TUPLE or any(isinstance(part, tuple) for part in key):
            raise UnexpectedArgumentsError("expected plain dictionary keys, got a nested tuple")
        return tuple(quoted(part) if isinstance(part, (int, float)) else dictionary_key(part) for part in key)
    if isinstance(key, (list, dict, set, Storage)):
        raise UnexpectedArgumentsError(f"expected plain dictionary keys, got a {type(key).__name__}")
    if isinstance(key, int) and not -_KEY_INTEGER < key < _KEY_INTEGER:
        raise UnexpectedArgumentsError("expected dictionary keys of at most 62 bits")
    return key


def make_inert(cls: Any, arguments: Any) -> Any:
    """The object that a class makes of arguments, inert; a dictionary for the ordered kind."""
    if not isinstance(cls, Global) or not isinstance(arguments, tuple):
        raise UnexpectedArgumentsError("expected a class and a tuple of arguments to make an object of")
    return {} if cls == Global("collections", "OrderedDict") else InertObject(cls)


def is_integer(value: Any) -> bool:
    """Whether the value is an int and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _dictionary(arguments: Arguments) -> Any:
    result: dict[Any, Any] = {}
    if not arguments:
        return result
    pairs = arguments[0]
    if isinstance(pairs, dict):
        return dict(pairs)
    if not isinstance(pairs, (list, tuple)):
        raise UnexpectedArgumentsError("expected a list of pairs")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise UnexpectedArgumentsError("expected a list of pairs")
        result[dictionary_key(pair[0])] = pair[1]
    return result


def _default_dictionary(arguments: Arguments) -> Any:
    return _dictionary(arguments[1:])


def _elements(arguments: Arguments) -> list[Any]:
    if not arguments:
        return []
    if not isinstance(arguments[0], (list, tuple, set, frozenset)):
        raise UnexpectedArgumentsError("expected one list")
    return list(arguments[0])


def _set(arguments: Arguments) -> Any:
    return {dictionary_key(element) for element in _elements(arguments)}


def _tuple(arguments: Arguments) -> Any:
    return tuple(_elements(arguments))


def _path(arguments: Arguments) -> Any:
    if not all(isinstance(part, str) for part in arguments):
        raise UnexpectedArgumentsError("expected the parts of a path as text")
    return "/".join(arguments)


def _latin1(arguments: Arguments) -> Any:
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
        raise UnexpectedArgumentsError("expected text and 'latin1'")
    return arguments[0].encode("latin1")


def _reconstructed(arguments: Arguments) -> Any:
    if len(arguments) != 3:
        raise UnexpectedArgumentsError("expected a class, its base and a state")
    return make_inert(arguments[0], ())


def _size(value: Any, *, name: str) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > MAX_DIMENSIONS or not all(map(is_integer, value)):
        raise UnexpectedArgumentsError(f"expected the {name} of a tensor as a tuple of at most 16 integers")
    if any(side < 0 for side in value):
        raise UnexpectedArgumentsError(f"expected the {name} of a tensor not to be negative")
    if any(side.bit_length() > _SIZE_BITS for side in value):
        raise UnexpectedArgumentsError(f"expected the {name} of a tensor within {_SIZE_BITS} bits")
    return tuple(value)


def _tensor(arguments: Arguments) -> Any:
    if len(arguments) < 4 or not isinstance(arguments[0], Storage) or not is_integer(arguments[1]):
        raise UnexpectedArgumentsError("expected a storage, an offset, a shape and strides")
    shape, strides = _size(arguments[2], name="shape"), _size(arguments[3], name="strides")
    if len(shape) != len(strides):
        raise UnexpectedArgumentsError(f"expected {len(shape)} strides, got {len(strides)}")
    if arguments[1] < 0:
        raise UnexpectedArgumentsError("expected the offset of a tensor not to be negative")
    return StridedTensor(arguments[0], arguments[1], shape, strides)


def _parameter(arguments: Arguments) -> Any:
    if not arguments or not isinstance(arguments[0], StridedTensor):
        raise UnexpectedArgumentsError("expected a tensor")
    return arguments[0]


def _typed_tensor(arguments: Arguments) -> Any:
    if len(arguments) < 3 or not isinstance(arguments[2], tuple):
        raise UnexpectedArgumentsError("expected a function, a type and a tuple of arguments")
    rebuild = _REBUILDS.get(arguments[0]) if isinstance(arguments[0], Global) else None
    if rebuild is None:
        raise UnexpectedArgumentsError("expected one of torch's own functions that make tensors")
    return rebuild(arguments[2])


def _inert(module: str, name: str) -> Call:
    return lambda arguments: InertObject(Global(module, name))


_REBUILDS: dict[Global, Call] = {
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}

# Values such as a learning rate as a numpy scalar, or a date: allowed in a file, not needed by the import.
_UNNEEDED = (
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("torch", "device"),
    ("datetime", "datetime"),
    ("datetime", "date"),
    ("datetime", "timedelta"),
    ("types", "SimpleNamespace"),
)

_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")

CALLS: dict[Global, Call] = {
    **_REBUILDS,
    Global("torch._tensor", "_rebuild_from_type_v2"): _typed_tensor,
    Global("torch", "Size"): _tuple,
    Global("collections", "OrderedDict"): _dictionary,
    Global("collections", "Counter"): _dictionary,
    Global("collections", "defaultdict"): _default_dictionary,
    Global("collections", "deque"): _elements,
    Global("_codecs", "encode"): _latin1,
    **{Global(module, "set"): _set for module in ("builtins", "__builtin__")},
    **{Global(module, "frozenset"): _set for module in ("builtins", "__builtin__")},
    **{Global(module, "list"): _elements for module in ("builtins", "__builtin__")},
    **{Global(module, "dict"): _dictionary for module in ("builtins", "__builtin__")},
    **{Global(module, "slice"): _inert(module, "slice") for module in ("builtins", "__builtin__")},
    **{Global(module, "_reconstructor"): _reconstructed for module in ("copyreg", "copy_reg")},
    **{Global(module, name): _path for module in ("pathlib", "pathlib._local") for name in _PATHS},
    **{Global(*name): _inert(*name) for name in _UNNEEDED},
}
