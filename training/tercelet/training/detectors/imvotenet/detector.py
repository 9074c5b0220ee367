"""ImVoteNet: oriented boxes from a cloud and the boxes that a 2D detector finds in its picture.

Paper: Qi et al., "ImVoteNet: Boosting 3D Object Detection in Point Clouds with Image Votes", CVPR 2020.
Compatible with: weights of mmdetection3d 1.0 (Apache-2.0), one file of both stages or the files of each, and
the names of facebookresearch/imvotenet (MIT).
Nothing is copied; written from the facts of the architecture. Deliberate differences: seeds with votes are
taken in ascending order where upstream draws them at random, so that the same input gives the same boxes; at
the edges of the projection the op VoteFusion is safe unless asked for parity; what the picture says of a
point is looked up for the whole cloud before the network, so that its inputs have fixed sizes whatever the
picture has; the Faster R-CNN may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.ops.bindings.torch import torch_op
from tercelet.ops.vote_fusion.spec import CLASSES, ROWS
from tercelet.training.detectors.faster_rcnn.detector import Parts, detect, make_parts
from tercelet.training.detectors.imvotenet.options import PIXELS, ImVoteNetOptions, Pixels
from tercelet.training.detectors.imvotenet.seed_selection import selected_columns
from tercelet.training.detectors.imvotenet.upstream_names import options_of_names, renamed_state
from tercelet.training.detectors.imvotenet.view import PictureView
from tercelet.training.detectors.point_detector import PointDetector, Proposals
from tercelet.training.detectors.point_layers import Level, PointNet2, conv_norms
from tercelet.training.detectors.point_ops import gather_features, gather_points
from tercelet.training.detectors.votenet.options import SUNRGBD_SIZES
from tercelet.training.detectors.votenet.predictions import Predictions, decoded_proposals
from tercelet.training.detectors.votenet.proposal_head import ProposalHead, Sampling

_COLUMNS = 4
_IMAGE_CHANNELS = 256
_HIDDEN = 256
_PROBE_POINTS = 64
_INPUTS = (
    ("cloud", (_COLUMNS,), "N"),
    ("texture", (3,), "N"),
    ("boxes", (6,), "K"),
    ("depth2img", (3, 4), ""),
    ("picture", (2, 3), ""),
)
IMAGE_PARTS = ("img_backbone", "img_neck", "img_rpn_head", "img_roi_head")


class ImageMLP(nn.Module):
    """Cues (B, 18, n) -> features (B, 256, n)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (_IMAGE_CHANNELS, _IMAGE_CHANNELS)
        self.mlp = conv_norms(ROWS, widths, dimensions=1, bias=True)

    def forward(self, cues: Tensor) -> Tensor:
        found: Tensor = self.mlp(cues)
        return found


class FusedSeeds(NamedTuple):
    """Seeds after the picture has had its say, n of each of B clouds, as the towers take them.

    points: a `Level` with 256 features of the cloud. image: (B, 256, n) features of the picture. cues
    (B, 18, 3n) and mask (B, 3n) of all votes, columns (B, n) int64: which of them went on.
    """

    points: Level
    image: Tensor
    cues: Tensor
    mask: Tensor
    columns: Tensor


class TowerPredictions(NamedTuple):
    """What the three towers predict. pts and img help in training only."""

    joint: Predictions
    pts: Predictions
    img: Predictions


class ImVoteNet(PointDetector):
    """imvotenet: module(cloud, texture, boxes, depth2img, picture), all float32, B clouds at once.

    cloud (B, N, 4) x, y, z, height above the floor in metres, upright depth frame. texture (B, N, 3), boxes
    (B, K, 6) padded with zeros to any K, depth2img (B, 3, 4), picture (B, 2, 3): see the op VoteFusion and
    `PictureView`, which makes them. In eval mode the result is the `Proposals` of the joint tower, in
    training mode `TowerPredictions`. columns (B, n) replaces the choice of seeds, see `selected_columns`.
    """

    options_type = ImVoteNetOptions

    def __init__(self, detector: str, scale: str, options: ImVoteNetOptions) -> None:
        super().__init__(detector, scale, options)
        self._sizes = options.size_rows()
        self._options = options
        self.pts_backbone = PointNet2(
            _COLUMNS - 3,
            gatherings=options.gatherings(),
            ties=options.ties,
            weighting=options.interpolation,
            norm_eps=options.norm_eps,
        )
        channels = self.pts_backbone.channels
        self.pts_bbox_head_joint = self._tower(channels + _IMAGE_CHANNELS, (options.joint_hidden, _HIDDEN))
        self.pts_bbox_head_pts = self._tower(channels)
        self.pts_bbox_head_img = self._tower(_IMAGE_CHANNELS)
        if options.image_branch:
            parts = make_parts(CLASSES)
            self.img_backbone, self.img_neck = parts.backbone, parts.neck
            self.img_rpn_head, self.img_roi_head = parts.rpn_head, parts.roi_head
            for name in IMAGE_PARTS:
                self.get_submodule(name).requires_grad_(False)
        self.img_mlp = ImageMLP()
        self.train()

    def _tower(self, inputs: int, hidden: tuple[int, ...] = (_HIDDEN, _HIDDEN)) -> ProposalHead:
        options = self._options
        return ProposalHead(
            inputs,
            classes=options.classes,
            yaw_bins=options.yaw_bins,
            hidden=hidden,
            rules=options.rules(),
            norm_eps=options.norm_eps,
        )

    @property
    def default_labels(self) -> tuple[str, ...] | None:
        return SUNRGBD_CLASSES if self._options.mean_sizes == SUNRGBD_SIZES else None

    @property
    def pixels(self) -> Pixels:
        """How the network is told the pixels of points."""
        return PIXELS[self._options.pixels]

    @property
    def image_parts(self) -> Parts:
        """The Faster R-CNN inside. InputError if there is none."""
        if not self._options.image_branch:
            raise InputError(
                f"{self.detector}: expected a network with image_branch=True, got one without a 2D detector; "
                "give it boxes"
            )
        return Parts(self.img_backbone, self.img_neck, self.img_rpn_head, self.img_roi_head)

    def train(self, mode: bool = True) -> ImVoteNet:
        """The Faster R-CNN stays in eval mode."""
        super().train(mode)
        for name in IMAGE_PARTS:
            if hasattr(self, name):
                self.get_submodule(name).eval()
        return self

    def forward(
        self,
        cloud: Tensor,
        texture: Tensor,
        boxes: Tensor,
        depth2img: Tensor,
        picture: Tensor,
        columns: Tensor | None = None,
    ) -> TowerPredictions | Proposals:
        seeds = self.fused_seeds(cloud, texture, boxes, depth2img, picture, columns)
        return self.predictions(seeds) if self.training else self.decoded(self.joint_predictions(seeds))

    def fused_seeds(
        self,
        cloud: Tensor,
        texture: Tensor,
        boxes: Tensor,
        depth2img: Tensor,
        picture: Tensor,
        columns: Tensor | None = None,
    ) -> FusedSeeds:
        """Seeds of the cloud with what the picture says of them."""
        self._check((cloud, texture, boxes, depth2img, picture))
        seeds: Level = self.pts_backbone(cloud)
        of_seeds = gather_points(texture, seeds.indices)
        vote_fusion = torch_op("VoteFusion")
        found = [
            vote_fusion(points, colours, listed, matrix, view, self._options.fusion)
            for points, colours, listed, matrix, view in zip(
                seeds.points, of_seeds, boxes, depth2img, picture, strict=True
            )
        ]
        cues, mask = (torch.stack(parts) for parts in zip(*found, strict=True))
        if columns is None:
            columns = selected_columns(mask)
        rows = columns % seeds.points.shape[1]
        points = Level(
            gather_points(seeds.points, rows),
            gather_features(seeds.features, rows),
            seeds.indices.gather(1, rows),
        )
        image: Tensor = self.img_mlp(gather_features(cues, columns))
        return FusedSeeds(points, image, cues, mask, columns)

    def joint_predictions(self, seeds: FusedSeeds, *, sampling: Sampling | None = None) -> Predictions:
        """Of the tower that sees both."""
        features = torch.cat((seeds.points.features, seeds.image), 1)
        found: Predictions = self.pts_bbox_head_joint(
            seeds.points._replace(features=features), sampling=sampling
        )
        return found

    def predictions(self, seeds: FusedSeeds, *, sampling: Sampling | None = None) -> TowerPredictions:
        """Of all three towers, in the form that losses read."""
        image = seeds.points._replace(features=seeds.image)
        return TowerPredictions(
            self.joint_predictions(seeds, sampling=sampling),
            self.pts_bbox_head_pts(seeds.points, sampling=sampling),
            self.pts_bbox_head_img(image, sampling=sampling),
        )

    def decoded(self, found: Predictions) -> Proposals:
        """Boxes and scores of what a tower predicts."""
        return decoded_proposals(
            found.raw, found.proposal_points, mean_sizes=self._sizes, yaw_bins=self._options.yaw_bins
        )

    def detect(
        self, cloud: Tensor, image: Tensor, view: PictureView, *, boxes: Tensor | None = None
    ) -> Proposals:
        """Of one cloud (N, 4) and its picture (3, H, W): BGR, the mean of `faster_rcnn` taken off, padded.

        boxes: (K, 6) of any 2D detector in pixels of that picture, x1, y1, x2, y2, confidence, class of
        SUN RGB-D; None takes those of the Faster R-CNN inside. The network must be in eval mode.
        """
        if boxes is None:
            boxes = detect(self.image_parts, image[None], size=view.size)
        texture = view.texture(cloud, image)
        inputs = (cloud, texture, boxes, view.matrix().to(cloud.device), view.picture().to(cloud.device))
        found = self(*(tensor[None] for tensor in inputs))
        if not isinstance(found, Proposals):
            raise InputError(f"{self.detector}: expected a network in eval mode, got one in training")
        return found

    def probe(self) -> tuple[Tensor, ...]:
        """Points of a wave before a camera that looks along y, and a box in its picture."""
        place = torch.linspace(0, 1, _PROBE_POINTS)
        height = (place * 40).sin().abs()
        cloud = torch.stack((place * 2 - 1, 2 + (place * 70).cos(), height - 1, height), 1)
        texture = torch.stack((place, 1 - place, place * place), 1) - 0.5
        boxes = torch.tensor([[20.0, 10, 70, 90, 0.8, 3], [0, 0, 0, 0, 0, 0]])
        matrix = torch.tensor([[80.0, 50, 0, 0], [0, 50, -80, 0], [0, 1, 0, 0]])
        picture = torch.tensor([[1.0, 0, 100], [1, 0, 100]])
        return tuple(tensor[None] for tensor in (cloud, texture, boxes, matrix, picture))

    @classmethod
    def options_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return options_of_names(state)

    @classmethod
    def upstream_state(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        return renamed_state(state)

    def _check(self, inputs: tuple[Tensor, ...]) -> None:
        batch, count = inputs[0].shape[0], inputs[0].shape[1] if inputs[0].ndim > 1 else 0
        for (name, last, length), tensor in zip(_INPUTS, inputs, strict=True):
            sizes = {"N": (count,), "K": tuple(tensor.shape[1:2]), "": ()}[length]
            if tensor.shape != (batch, *sizes, *last) or tensor.dtype != torch.float32:
                wanted = ", ".join(map(str, ("B", *([length] if length else []), *last)))
                raise InputError(
                    f"{self.detector}: {name}: expected ({wanted}) of float32 with B={batch}, N={count}, got "
                    f"{tuple(tensor.shape)} of {tensor.dtype}"
                )
        if not count:
            raise InputError(f"{self.detector}: expected at least one point, got an empty cloud")
