"""From a checkpoint's inert data to its tensors by upstream name; modules are walked, never asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from tercelet.contract.errors import InputError
from tercelet.training.importing.inert import InertObject, StridedTensor, quoted
from tercelet.training.importing.tensors import MAX_NAME, StorageBlocks, array_from_tensor, check_tensor_name

MAX_PARTS = 20_000
MAX_DEPTH = 64
# Half precision doubles in float32; tied weights may occur more than once.
_MAX_GROWTH = 8
_GROWTH_FLOOR = 1 << 20

# Where a checkpoint keeps its model, the averaged weights first: they are the ones that were validated.
MODEL_KEYS = ("ema", "ema_state_dict", "model", "state_dict", "model_state_dict")


def model_of(checkpoint: Any, *, where: str) -> Any:
    """The module or state dict that a checkpoint holds. Raises InputError if there is none."""
    if _is_module(checkpoint) or _is_state_dict(checkpoint):
        return checkpoint
    if not isinstance(checkpoint, dict):
        raise InputError(
            f"{where}: expected a checkpoint with a model or a state dict, got {_described(checkpoint)}"
        )
    for key in MODEL_KEYS:
        model = checkpoint.get(key)
        if model is None:
            continue
        if _is_module(model) or _is_state_dict(model):
            return model
        raise InputError(f"{where}: {key}: expected a module or a state dict, got {_described(model)}")
    keys = ", ".join(quoted(key) for key in list(checkpoint)[:8]) or "nothing"
    raise InputError(f"{where}: expected one of {', '.join(MODEL_KEYS)} or plain tensors in it, got {keys}")


def state_of(model: Any, blocks: StorageBlocks, *, file_bytes: int, where: str) -> dict[str, NDArray[Any]]:
    """Parameters and persistent buffers by name, as arrays of their own (see array_from_tensor).

    Raises InputError if there are none, for a module tree without end, and if the tensors together are much
    larger than the file.
    """
    named = model.items() if isinstance(model, dict) else _walk(model, where)
    arrays: dict[str, NDArray[Any]] = {}
    copied = 0
    for name, tensor in named:
        if check_tensor_name(name, where=where) in arrays:
            raise InputError(f"{where}: the tensor {quoted(name)} occurs twice; the file is made by hand")
        array = array_from_tensor(tensor, blocks, where=where)
        copied += array.nbytes
        if copied > _MAX_GROWTH * file_bytes + _GROWTH_FLOOR:
            raise InputError(
                f"{where}: its tensors unpack to many times the {file_bytes} bytes of the file; refused"
            )
        arrays[name] = array
    if not arrays:
        raise InputError(f"{where}: the model in it has no weights")
    return arrays


def _is_module(value: Any) -> bool:
    return isinstance(value, InertObject) and isinstance(value.attributes.get("_modules"), dict)


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict) and bool(value) and all(isinstance(v, StridedTensor) for v in value.values())
    )


def _described(value: Any) -> str:
    if isinstance(value, InertObject):
        return f"an object of {value.cls} without modules"
    if isinstance(value, dict):
        stray = next((key for key, v in value.items() if not isinstance(v, StridedTensor)), None)
        return f"a dictionary whose {quoted(stray)} is no tensor" if value else "an empty dictionary"
    return f"a {type(value).__name__}"


def _walk(root: InertObject, where: str) -> Iterator[tuple[str, StridedTensor]]:
    """Tensors of a module tree in upstream order: a module's parameters, its buffers, then its children."""
    pending: list[tuple[str, int, Any]] = [("", 0, root)]
    visited = 0
    while pending:
        prefix, depth, module = pending.pop()
        if not isinstance(module, InertObject):
            raise InputError(f"{where}: {quoted(prefix)}: expected a module, got {_described(module)}")
        # Counted before they are looked at: shared parts make a small file stand for an endless tree.
        parts = [module.attributes.get(kind) for kind in ("_parameters", "_buffers", "_modules")]
        visited += 1 + sum(len(part) for part in parts if isinstance(part, dict))
        if visited > MAX_PARTS or depth > MAX_DEPTH or len(prefix) > MAX_NAME:
            raise InputError(
                f"{where}: the module tree has more than {MAX_PARTS} parts or {MAX_DEPTH} levels; refused"
            )
        yield from _own_tensors(prefix, module, where)
        children = _dictionary(module, "_modules", where)
        pending += [
            (f"{prefix}{n}.", depth + 1, child)
            for n, child in reversed(children.items())
            if child is not None
        ]


def _own_tensors(prefix: str, module: InertObject, where: str) -> Iterator[tuple[str, StridedTensor]]:
    passing = module.attributes.get("_non_persistent_buffers_set", ())
    skipped = passing if isinstance(passing, set) else set()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _dictionary(module, kind, where).items():
            if tensor is None or (kind == "_buffers" and name in skipped):
                continue
            if not isinstance(tensor, StridedTensor):
                raise InputError(f"{where}: {quoted(prefix + name)}: expected a tensor")
            yield f"{prefix}{name}", tensor


def _dictionary(module: InertObject, kind: str, where: str) -> dict[str, Any]:
    found = module.attributes.get(kind, {})
    if not isinstance(found, dict) or not all(isinstance(n, str) and len(n) <= MAX_NAME for n in found):
        raise InputError(f"{where}: {module.cls}: {kind}: expected a dictionary by name")
    return found
