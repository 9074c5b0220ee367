"""What can be chosen when an ImVoteNet is built, and the checks on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tercelet.contract.errors import InputError
from tercelet.ops.vote_fusion.spec import MODES
from tercelet.training.detectors.faster_rcnn.detector import BGR_MEAN
from tercelet.training.detectors.options import check_count
from tercelet.training.detectors.votenet.options import VoteNetOptions, check_choice


class Pixels(NamedTuple):
    """How a network is told the pixel of a point: (value of 0 to 255 - mean) / 255, in this order."""

    channels: Literal["BGR", "RGB"]
    mean: tuple[float, float, float]


PIXELS: Mapping[str, Pixels] = {
    "bgr_mean": Pixels("BGR", BGR_MEAN),
    "bgr_centred": Pixels("BGR", (128.0, 128.0, 128.0)),
}


@dataclass(frozen=True)
class ImVoteNetOptions(VoteNetOptions):
    """Those of VoteNet. fusion: mode of the op VoteFusion, "safe" or "parity" for upstream's numbers at the
    edges, too. image_branch: whether the network holds a Faster R-CNN of its own; without it boxes come from
    another 2D detector. joint_hidden: channels of the joint tower's first vote layer, 256 in facebook's.
    pixels: "bgr_mean" as mmdetection3d tells the network the pixels of points, "bgr_centred" as facebook
    does.
    """

    fusion: str = "safe"
    image_branch: bool = True
    joint_hidden: int = 512
    pixels: str = "bgr_mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("fusion", self.fusion, MODES)
        check_choice("pixels", self.pixels, PIXELS)
        check_count("joint_hidden", self.joint_hidden)
        if not isinstance(self.image_branch, bool):
            raise InputError(f"image_branch: expected true or false, got {self.image_branch!r}")
