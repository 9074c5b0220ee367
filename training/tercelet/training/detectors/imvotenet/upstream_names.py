"""Published ImVoteNet weights under the names of the detector here.

mmdetection3d has these names already. Its first stage, a Faster R-CNN trained alone, may be in a file of its
own under mmdetection's names: `backbone.`, `neck.`, `rpn_head.`, `roi_head.` get `img_` before them where the
state does not hold that part under its full name.

facebookresearch/imvotenet (MIT) has three VoteNets side by side (`pc_img_`, `pc_only_`, `img_only_`), a
narrower joint tower, no 2D detector, and centred pixels. Its votes differ in details that no weight tells: it
divides both ways in the picture by the focal length across alone, and takes boxes in the order of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tercelet.contract.errors import InputError
from tercelet.ops.vote_fusion.spec import ROWS
from tercelet.training.detectors.votenet import upstream_names as votenet_names

_FIRST_STAGE = ("backbone.", "neck.", "rpn_head.", "roi_head.")
_PREFIX = "img_"
_SCORES = "pts_bbox_head_joint.conv_pred.conv_cls.weight"
_PLACES = "pts_bbox_head_joint.conv_pred.conv_reg.weight"
_FIRST = "img_backbone.conv1.weight"
_BACKBONE = "backbone_net."
_TOWERS = {"pc_img_": "joint", "pc_only_": "pts", "img_only_": "img"}
_HIDDEN = "pc_img_vgen.conv1.weight"
_CUES = "image_mlp.img_feat_conv1.weight"
_IMAGE_LAYERS = {
    f"image_mlp.img_feat_{part}{number}.": f"img_mlp.mlp.layer{number - 1}.{part}."
    for part in ("conv", "bn")
    for number in (1, 2)
}


def options_of_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a state tells of the options of `ImVoteNetOptions`; empty if it is none of ImVoteNet's.

    A state without a Faster R-CNN is one of a network without image branch.
    """
    variant = _variant(state)
    named = renamed_state(state)
    scores, places = named.get(_SCORES), named.get(_PLACES)
    if scores is None or places is None or scores.ndim != 3 or places.ndim != 3:
        return {}
    classes = len(scores) - 2
    bins, left = divmod(len(places) - 3 - 4 * classes, 2)
    if classes < 1 or bins < 1 or left:
        raise InputError(
            f"imvotenet: expected 2 + C scores and 3 + 2H + 4C places of C classes and H bins of yaw, got "
            f"{len(scores)} and {len(places)}; the weights are of another head"
        )
    return {"classes": classes, "yaw_bins": bins, "image_branch": _FIRST in named, **variant}


def renamed_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state, of tensors or arrays, under the names here; what is none of ImVoteNet's stays as it is."""
    if _is_facebook(state):
        return _named_facebook(state)
    named: dict[str, Any] = {}
    for name, value in state.items():
        is_first_stage = name.startswith(_FIRST_STAGE)
        named[_PREFIX + name if is_first_stage and _PREFIX + name not in state else name] = value
    return named


def _is_facebook(state: Mapping[str, Any]) -> bool:
    return _HIDDEN in state and _CUES in state


def _variant(state: Mapping[str, Any]) -> dict[str, Any]:
    """What facebook's network differs in; InputError for one that takes other cues."""
    if not _is_facebook(state):
        return {}
    cues = state[_CUES]
    if cues.ndim != 3 or cues.shape[1] != ROWS:
        raise InputError(
            f"imvotenet: {_CUES}: expected {ROWS} cues a vote (5 of its place, 10 of its class, 3 of its "
            f"pixel), got a weight of {tuple(cues.shape)}; the weights are of another network"
        )
    return {"joint_hidden": len(state[_HIDDEN]), "pixels": "bgr_centred"}


def _named_facebook(state: Mapping[str, Any]) -> dict[str, Any]:
    """Each tower is a VoteNet's head: its names, its order of rows and its heading are those of VoteNet."""
    parts: dict[str, dict[str, Any]] = {prefix: {} for prefix in ("", *_TOWERS)}
    named: dict[str, Any] = {}
    for name, value in state.items():
        tower = next(
            (prefix for prefix in _TOWERS if name.startswith((f"{prefix}vgen.", f"{prefix}pnet."))), ""
        )
        layer = next((old for old in _IMAGE_LAYERS if name.startswith(old)), None)
        if tower or name.startswith(_BACKBONE):
            parts[tower][name.removeprefix(tower)] = value
        elif layer is not None:
            named[_IMAGE_LAYERS[layer] + name.removeprefix(layer)] = value
        else:
            named[name] = value
    for prefix, part in parts.items():
        for name, value in votenet_names.renamed_state(part).items():
            head = f"pts_bbox_head_{_TOWERS[prefix]}." if prefix else "pts_bbox_head."
            named[name.replace("pts_bbox_head.", head, 1)] = value
    return named
