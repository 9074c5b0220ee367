"""VoteNet: oriented boxes from a point cloud alone.

Paper: Qi et al., "Deep Hough Voting for 3D Object Detection in Point Clouds", ICCV 2019.
Compatible with: weights of mmdetection3d 1.0 (Apache-2.0), of facebookresearch/votenet (MIT) and of
lilanxiao/VoteNet-Keras (MIT, HDF5). Nothing is copied; written from the facts of the architecture.
Deliberate differences: what the published weights differ in are options; names are mmdetection3d's with the
prefixes of its ImVoteNet (`pts_backbone`, `pts_bbox_head`), so that one part serves both; headings, which
facebookresearch/votenet counts clockwise, are turned into yaw when weights are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.training.detectors.point_detector import PointDetector, Proposals
from tercelet.training.detectors.point_layers import PointNet2
from tercelet.training.detectors.votenet.options import SUNRGBD_SIZES, VoteNetOptions
from tercelet.training.detectors.votenet.predictions import Predictions, decoded_proposals
from tercelet.training.detectors.votenet.proposal_head import ProposalHead
from tercelet.training.detectors.votenet.upstream_names import options_of_names, renamed_state

_COLUMNS = 4
_PROBE_POINTS = 64


class VoteNet(PointDetector):
    """votenet: module(cloud), cloud (B, N, 4) float32 x, y, z, height above the floor, metres.

    Frame: upright depth (x right, y forward, z up). In eval mode the result is `Proposals`, in training mode
    `Predictions`. Height is z less its 0.99 percentile (of 100) in the cloud.
    """

    options_type = VoteNetOptions

    def __init__(self, detector: str, scale: str, options: VoteNetOptions) -> None:
        super().__init__(detector, scale, options)
        self._sizes = options.size_rows()
        self._yaw_bins = options.yaw_bins
        self.pts_backbone = PointNet2(
            _COLUMNS - 3,
            gatherings=options.gatherings(),
            ties=options.ties,
            weighting=options.interpolation,
            norm_eps=options.norm_eps,
        )
        self.pts_bbox_head = ProposalHead(
            self.pts_backbone.channels,
            classes=options.classes,
            yaw_bins=options.yaw_bins,
            rules=options.rules(),
            norm_eps=options.norm_eps,
        )

    @property
    def default_labels(self) -> tuple[str, ...] | None:
        return SUNRGBD_CLASSES if tuple(self.options["mean_sizes"]) == SUNRGBD_SIZES else None

    def forward(self, cloud: Tensor) -> Predictions | Proposals:
        found = self.predictions(cloud)
        return found if self.training else self.decoded(found)

    def predictions(self, cloud: Tensor) -> Predictions:
        """The numbers before decoding, in the form that losses read."""
        if cloud.ndim != 3 or cloud.shape[2] != _COLUMNS or not cloud.is_floating_point():
            raise InputError(
                f"{self.detector}: expected a cloud (B, N, 4) of floats x, y, z, height in metres, "
                f"got {tuple(cloud.shape)} of {cloud.dtype}"
            )
        if cloud.shape[1] == 0:
            raise InputError(f"{self.detector}: expected at least one point, got an empty cloud")
        found: Predictions = self.pts_bbox_head(self.pts_backbone(cloud))
        return found

    def decoded(self, found: Predictions) -> Proposals:
        """Boxes and scores of what `predictions` gave."""
        return decoded_proposals(
            found.raw, found.proposal_points, mean_sizes=self._sizes, yaw_bins=self._yaw_bins
        )

    def probe(self) -> tuple[Tensor, ...]:
        """Points of a wave, (1, 64, 4)."""
        place = torch.linspace(0, 1, _PROBE_POINTS)
        height = (place * 40).sin().abs()
        return (torch.stack((place * 2 - 1, 2 + (place * 70).cos(), height - 1, height), 1)[None],)

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return options_of_names(state)

    @classmethod
    def upstream_state(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        return renamed_state(state)
