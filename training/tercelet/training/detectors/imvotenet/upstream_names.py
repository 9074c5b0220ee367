"""Published ImVoteNet weights under the names of the detector here.

mmdetection3d has these names already. Its first stage, a Faster R-CNN trained alone, may be in a file of its
own under mmdetection's names: `backbone.`, `neck.`, `rpn_head.`, `roi_head.` get `img_` before them where the
state does not hold that part under its full name. Weights of facebookresearch/imvotenet do not fit: its joint
tower has other widths and takes 19 cues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tercelet.contract.errors import InputError

_FIRST_STAGE = ("backbone.", "neck.", "rpn_head.", "roi_head.")
_PREFIX = "img_"
_SCORES = "pts_bbox_head_joint.conv_pred.conv_cls.weight"
_PLACES = "pts_bbox_head_joint.conv_pred.conv_reg.weight"
_FIRST = "img_backbone.conv1.weight"


def options_of_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a state tells of the options of `ImVoteNetOptions`; empty if it is none of ImVoteNet's.

    A state without a Faster R-CNN is one of a network without image branch.
    """
    scores, places = state.get(_SCORES), state.get(_PLACES)
    if scores is None or places is None or scores.ndim != 3 or places.ndim != 3:
        return {}
    classes = len(scores) - 2
    bins, left = divmod(len(places) - 3 - 4 * classes, 2)
    if classes < 1 or bins < 1 or left:
        raise InputError(
            f"imvotenet: expected 2 + C scores and 3 + 2H + 4C places of C classes and H bins of yaw, got "
            f"{len(scores)} and {len(places)}; the weights are of another head"
        )
    return {"classes": classes, "yaw_bins": bins, "image_branch": _FIRST in renamed_state(state)}


def renamed_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state, of tensors or arrays, under the names here; what is none of ImVoteNet's stays as it is."""
    named: dict[str, Any] = {}
    for name, value in state.items():
        is_first_stage = name.startswith(_FIRST_STAGE)
        named[_PREFIX + name if is_first_stage and _PREFIX + name not in state else name] = value
    return named
