"""Published VoteNet weights under the names of the detector here.

Three sources: mmdetection3d (`backbone.`, `bbox_head.`), facebookresearch/votenet (`backbone_net.`, `vgen.`,
`pnet.`) and VoteNet-Keras (numbered layers of an HDF5 file). The last two predict with one convolution, in
another order, and a heading that counts clockwise: their rows are put in order, and the bins of the circle
run the other way round, so that what comes out is yaw.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tercelet.contract.errors import InputError

_BACKBONE = "pts_backbone."
_HEAD = "pts_bbox_head."
_PREDICTION = f"{_HEAD}conv_pred."
_PARTS = "(weight|bias|running_mean|running_var|num_batches_tracked)"
# What upstream's name is and what stands here instead; numbers that upstream counts from 1 are in _lowered.
_FACEBOOK = tuple(
    (re.compile(pattern + r"\." + _PARTS), template)
    for pattern, template in (
        (r"backbone_net\.sa(\d)\.mlp_module\.(layer\d)\.(conv|bn)(?:\.bn)?", "SA_modules.{}.mlps.0.{}.{}"),
        (r"backbone_net\.fp(\d)\.mlp\.(layer\d)\.(conv|bn)(?:\.bn)?", "FP_modules.{}.mlps.{}.{}"),
        (
            r"pnet\.vote_aggregation\.mlp_module\.(layer\d)\.(conv|bn)(?:\.bn)?",
            "vote_aggregation.mlps.0.{}.{}",
        ),
        (r"vgen\.(conv|bn)([12])", "vote_module.vote_conv.{1}.{0}"),
        (r"vgen\.(conv)3", "vote_module.conv_out"),
        (r"pnet\.(conv|bn)([12])", "conv_pred.shared_convs.layer{1}.{0}"),
    )
)
_FACEBOOK_LAST = "pnet.conv3."
_KERAS = re.compile(
    r"(?:model_weights\.)?(conv2d|batch_normalization)_(\d{1,6})\.[^.]+\."
    r"(kernel|bias|gamma|beta|moving_mean|moving_variance):0"
)
_KERAS_PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Layers of VoteNet-Keras that a batch norm follows, in the order of their numbers.
_BLOCKS = (
    *(f"{_BACKBONE}SA_modules.{level}.mlps.0.layer{layer}." for level in range(4) for layer in range(3)),
    *(f"{_BACKBONE}FP_modules.{level}.mlps.layer{layer}." for level in range(2) for layer in range(2)),
    *(f"{_HEAD}vote_module.vote_conv.{layer}." for layer in range(2)),
    *(f"{_HEAD}vote_aggregation.mlps.0.layer{layer}." for layer in range(3)),
    *(f"{_PREDICTION}shared_convs.layer{layer}." for layer in range(2)),
)
_VOTE_OUT = f"{_HEAD}vote_module.conv_out."
_LAST = "last."
_KERAS_CONVOLUTIONS = (
    *(f"{block}conv." for block in _BLOCKS[:18]),
    _VOTE_OUT,
    *(f"{block}conv." for block in _BLOCKS[18:]),
    _LAST,
)
_KERAS_NORMS = tuple(f"{block}bn." for block in _BLOCKS)
_WITH_BIAS = ("vote_conv", "shared_convs")
# What VoteNet-Keras differs in from the defaults.
_KERAS_VARIANT: Mapping[str, Any] = {
    "proposal_radius": 0.8,
    "proposal_samples": 64,
    "proposal_sampling": "vote",
    "normalised_votes": False,
    "interpolation": "squared",
    "norm_eps": 1e-3,
}
# Bins of the circle that published weights have: SUN RGB-D, ScanNet.
_KNOWN_BINS = (12, 1)


def options_of_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a state tells of the options of `VoteNetOptions`; empty if it is none of VoteNet's."""
    named = _named(state)
    last = named.get(f"{_LAST}weight")
    if last is not None and last.ndim > 1:
        classes, bins = _sizes_of_last(len(last))
        variant = _KERAS_VARIANT if _is_keras(state) else {}
        return {"classes": classes, "yaw_bins": bins, **variant}
    scores, places = (named.get(f"{_PREDICTION}{part}.weight") for part in ("conv_cls", "conv_reg"))
    if scores is None or places is None or scores.ndim != 3 or places.ndim != 3:
        return {}
    classes = len(scores) - 2
    bins, left = divmod(len(places) - 3 - 4 * classes, 2)
    if classes < 1 or bins < 1 or left:
        raise InputError(
            f"votenet: expected 2 + C scores and 3 + 2H + 4C places of C classes and H bins of yaw, got "
            f"{len(scores)} and {len(places)}; the weights are of another head"
        )
    return {"classes": classes, "yaw_bins": bins}


def renamed_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state, of tensors or arrays, under the names here; what is none of VoteNet's stays as it is."""
    named = _named(state)
    for part in ("weight", "bias"):
        last = named.pop(f"{_LAST}{part}", None)
        if last is not None:
            scores, places = _split_last(_array(last))
            named[f"{_PREDICTION}conv_cls.{part}"] = _like(last, scores)
            named[f"{_PREDICTION}conv_reg.{part}"] = _like(last, places)
    return named


def _named(state: Mapping[str, Any]) -> dict[str, Any]:
    """Under the names here, but for the last convolution of the two upstreams that have but one."""
    if _is_keras(state):
        return _named_keras(state)
    return {_name_here(name): value for name, value in state.items()}


def _name_here(name: str) -> str:
    for prefix, here in (
        ("backbone.SA_", f"{_BACKBONE}SA_"),
        ("backbone.FP_", f"{_BACKBONE}FP_"),
        ("bbox_head.", _HEAD),
    ):
        if name.startswith(prefix):
            return here + name.removeprefix(prefix)
    if name in (f"{_FACEBOOK_LAST}weight", f"{_FACEBOOK_LAST}bias"):
        return name.replace(_FACEBOOK_LAST, _LAST)
    for pattern, template in _FACEBOOK:
        match = pattern.fullmatch(name)
        if match is not None:
            *groups, part = (_lowered(text) for text in match.groups())
            prefix = _BACKBONE if name.startswith("backbone_net.") else _HEAD
            return f"{prefix}{template.format(*groups)}.{part}"
    return name


def _lowered(text: str) -> str:
    return str(int(text) - 1) if text.isdigit() else text


def _is_keras(state: Mapping[str, Any]) -> bool:
    """Whether the layers are as many as VoteNet-Keras has; their numbers may start anywhere."""
    counts = {kind: len(numbers) for kind, numbers in _keras_numbers(state).items()}
    return counts == {"conv2d": len(_KERAS_CONVOLUTIONS), "batch_normalization": len(_KERAS_NORMS)}


def _keras_numbers(state: Mapping[str, Any]) -> dict[str, list[int]]:
    found: dict[str, set[int]] = {}
    for name in state:
        if match := _KERAS.fullmatch(name):
            found.setdefault(match[1], set()).add(int(match[2]))
    return {kind: sorted(numbers) for kind, numbers in found.items()}


def _named_keras(state: Mapping[str, Any]) -> dict[str, Any]:
    numbers = _keras_numbers(state)
    places = {"conv2d": _KERAS_CONVOLUTIONS, "batch_normalization": _KERAS_NORMS}
    named: dict[str, Any] = {}
    for name, value in state.items():
        match = _KERAS.fullmatch(name)
        if match is None:
            named[name] = value
            continue
        place = places[match[1]][numbers[match[1]].index(int(match[2]))]
        named[f"{place}{_KERAS_PARTS[match[3]]}"] = _kernel(value, place) if match[3] == "kernel" else value
    for block in _BLOCKS:
        # A batch norm follows, so Keras leaves the bias out and mmdetection3d does not.
        mean = named.get(f"{block}bn.running_mean")
        if mean is not None and any(part in block for part in _WITH_BIAS):
            named.setdefault(f"{block}conv.bias", _like(mean, np.zeros_like(_array(mean))))
    return named


def _kernel(value: Any, place: str) -> Any:
    """Keras' (1, 1, inputs, outputs) -> (outputs, inputs, 1), or (..., 1, 1) where the layer has groups."""
    if value.ndim != 4 or tuple(value.shape[:2]) != (1, 1):
        return value
    matrix = _array(value)[0, 0].T
    is_wide = place.startswith(_BACKBONE) or "vote_aggregation" in place
    return _like(value, matrix[:, :, None, None] if is_wide else matrix[:, :, None])


def _sizes_of_last(rows: int) -> tuple[int, int]:
    """Classes and bins of yaw of a convolution with so many outputs."""
    for bins in _KNOWN_BINS:
        classes, left = divmod(rows - 5 - 2 * bins, 5)
        if classes > 0 and not left:
            return classes, bins
    raise InputError(
        "votenet: expected 5 + 2H + 5C numbers a proposal, of C classes and H = 12 bins of heading "
        f"(SUN RGB-D) or 1 (ScanNet), got {rows}; the weights are of another head"
    )


def _split_last(last: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows objectness 2, centre 3, heading class H, heading left H, size class C, size left 3C, class C ->
    the rows of conv_cls and of conv_reg."""
    classes, bins = _sizes_of_last(len(last))
    ends = np.cumsum([2, 3, bins, bins, 4 * classes])
    objectness, centre, heading, left, sizes, semantic = np.split(last, ends)
    # Heading h is yaw -h: bin k of one is bin -k of the other.
    turned = -np.arange(bins) % bins
    return (
        np.concatenate((objectness, semantic)),
        np.concatenate((centre, heading[turned], -left[turned], sizes)),
    )


def _array(value: Any) -> NDArray[Any]:
    found: NDArray[Any] = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    return found


def _like(value: Any, array: NDArray[Any]) -> Any:
    """The array as what `value` is, a tensor or an array, with memory of its own."""
    owned = np.array(array, order="C")
    return torch.from_numpy(owned) if isinstance(value, Tensor) else owned
