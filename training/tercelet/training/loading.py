"""Put the weights of an upstream project into a detector: strictly, under upstream's names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.training.building import build, check_option_names
from tercelet.training.detectors.families import Network, detector_names, find_family

# What wrapping a model in another (DataParallel; an owner that calls it `model`) puts before every name.
_WRAPPERS = (("module.", "module."), ("model.model.", "model."))
# Anchors of a state may have been stored in fp16, so an asked-for anchor agrees up to its rounding.
_SAME_ANCHOR = 1e-3
_COUNTER = "num_batches_tracked"
Value = TypeVar("Value")


def load_upstream(detector: str, state: Mapping[str, NDArray[Any] | Tensor], **options: Any) -> Network:
    """A `Detector`, `DensityNet` or `PointDetector` in eval mode with the tensors of `state`, named flatly as
    upstream does.

    Classes, anchors and head widths are taken from the state; an option that contradicts it is refused, one
    that the state cannot tell is taken as given. Floats of any precision become float32; tensors are copied.
    Also accepted: `module.` or `model.model.` before every name, the `anchor_grid` of YOLOv5 v6.0, absent
    `num_batches_tracked`. Anything else that does not fit raises InputError with the first missing,
    unexpected and misshapen name, and the detector that the state does fit, if there is one.
    """
    family, _ = find_family(detector)
    detector_type = family.load()
    check_option_names(detector, detector_type, options)
    tensors = _tensors_from_state(detector, state)
    found = detector_type.options_from_state(tensors)
    _check_options(detector, options, found)
    given, tensors = tensors, detector_type.upstream_state(tensors)
    try:
        with torch.device("meta"):
            model = build(detector, **{**options, **found})
    except InputError as error:
        advice = _advice(given, but=detector)
        if not advice:
            raise
        raise InputError(f"{detector}: the weights do not fit: {error}{advice}") from error
    problem = _misfit(model, tensors)
    if problem:
        raise InputError(f"{detector}: the weights do not fit: {problem}{_advice(given, but=detector)}")
    _assign(model, tensors)
    return model.eval()


def _tensors_from_state(detector: str, state: Mapping[str, NDArray[Any] | Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, floats as float32, wrappers' prefixes taken off the names."""
    if not state:
        raise InputError(
            f"{detector}: expected named tensors, got an empty mapping; is this the file of the weights?"
        )
    tensors = {name: _tensor_from(detector, name, value) for name, value in state.items()}
    return without_wrappers(tensors)


def without_wrappers(state: Mapping[str, Value]) -> dict[str, Value]:
    """The state with the prefix taken off that a wrapper put before every name, if one did."""
    named = dict(state)
    for prefix, kept in _WRAPPERS:
        if all(name.startswith(prefix) for name in named):
            kept = "" if kept == prefix else kept
            named = {kept + name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _tensor_from(detector: str, name: str, value: NDArray[Any] | Tensor) -> Tensor:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiu":
        value = torch.from_numpy(np.array(value, np.float32 if value.dtype.kind == "f" else None))
    if not isinstance(value, Tensor):
        kind = getattr(value, "dtype", type(value).__name__)
        raise InputError(f"{detector}: {name}: expected a tensor or an array of numbers, got {kind}")
    value = value.detach().cpu()
    value = value.to(torch.float32, copy=True) if value.is_floating_point() else value.clone()
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise InputError(
            f"{detector}: {name}: expected finite numbers, got nan or infinity; import other weights"
        )
    return value.contiguous()


def _check_options(detector: str, asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name, value in asked.items():
        if name in found and not _agrees(name, value, found[name]):
            raise InputError(
                f"{detector}: {name}={value!r} was asked for, but the weights have {name}={found[name]!r}; "
                f"leave {name} out, or import other weights"
            )


def _agrees(name: str, asked: Any, found: Any) -> bool:
    if asked is None:
        return True
    if name != "anchors":
        return bool(_listed(asked) == _listed(found))
    first, second = np.asarray(asked, np.float64), np.asarray(found, np.float64)
    return first.shape == second.shape and np.allclose(first, second, rtol=_SAME_ANCHOR, atol=0)


def _listed(value: Any) -> Any:
    """Lists in place of tuples, at every depth."""
    return [_listed(part) for part in value] if isinstance(value, (list, tuple)) else value


def _misfit(model: Network, tensors: Mapping[str, Tensor]) -> str:
    """What is wrong, empty if nothing is."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in tensors and not name.endswith(_COUNTER)]
    unexpected = [name for name in tensors if name not in expected]
    both = [name for name in expected if name in tensors]
    misshapen = [name for name in both if expected[name].shape != tensors[name].shape]
    mistyped = [name for name in both if expected[name].dtype != tensors[name].dtype]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(expected)} names missing, first {missing[0]}")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected, first {unexpected[0]}")
    if misshapen:
        name = misshapen[0]
        want, got = tuple(expected[name].shape), tuple(tensors[name].shape)
        parts.append(f"{len(misshapen)} misshapen, first {name}: expected {want}, got {got}")
    elif mistyped:
        name = mistyped[0]
        want_type, got_type = expected[name].dtype, tensors[name].dtype
        parts.append(f"{len(mistyped)} of another type, first {name}: expected {want_type}, got {got_type}")
    return "; ".join(parts)


def _advice(tensors: Mapping[str, Tensor], *, but: str) -> str:
    """Which other detector the tensors do fit; those whose head they hold are tried, without memory."""
    names = (*detector_names(), *detector_names("points"))
    fitting = [name for name in names if name != but and _fits(name, tensors)]
    return f"; they fit {' or '.join(fitting)}" if fitting else ""


def _fits(detector: str, tensors: Mapping[str, Tensor]) -> bool:
    family, _ = find_family(detector)
    detector_type = family.load()
    try:
        found = detector_type.options_from_state(tensors)
        if not found:
            return False
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = build(detector, **found)
    except InputError:
        return False
    return not _misfit(model, detector_type.upstream_state(tensors))


def _assign(model: Network, tensors: dict[str, Tensor]) -> None:
    """Replace the model's meta tensors; counters that the state lacks start at zero."""
    complete = {
        name: tensors[name] if name in tensors else torch.zeros(value.shape, dtype=value.dtype)
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(complete, strict=True, assign=True)
