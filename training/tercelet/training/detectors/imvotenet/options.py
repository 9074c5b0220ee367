"""What can be chosen when an ImVoteNet is built, and the checks on it."""

from __future__ import annotations

from dataclasses import dataclass

from tercelet.contract.errors import InputError
from tercelet.ops.vote_fusion.spec import MODES
from tercelet.training.detectors.votenet.options import VoteNetOptions, check_choice


@dataclass(frozen=True)
class ImVoteNetOptions(VoteNetOptions):
    """Those of VoteNet. fusion: mode of the op VoteFusion, "safe" or "parity" for upstream's numbers at the
    edges, too. image_branch: whether the network holds a Faster R-CNN of its own; without it boxes come from
    another 2D detector.
    """

    fusion: str = "safe"
    image_branch: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("fusion", self.fusion, MODES)
        if not isinstance(self.image_branch, bool):
            raise InputError(f"image_branch: expected true or false, got {self.image_branch!r}")
