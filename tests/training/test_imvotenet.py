"""ImVoteNet against upstream's numbers, its deterministic choice of seeds, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from reference_cases import keys_of, load_case, seeded_weights
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.runtime.boxes3d_selection import select_boxes
from tercelet.training import build, load_upstream, read_weights
from tercelet.training.detectors.faster_rcnn.detector import BGR_MEAN, FasterRCNN
from tercelet.training.detectors.imvotenet.detector import IMAGE_PARTS, ImVoteNet, TowerPredictions
from tercelet.training.detectors.imvotenet.options import ImVoteNetOptions
from tercelet.training.detectors.imvotenet.seed_selection import selected_columns
from tercelet.training.detectors.imvotenet.view import CloudMotion, PictureView
from tercelet.training.detectors.point_detector import Proposals
from tercelet.training.detectors.point_layers import GATHERINGS, PointNet2

# The tolerance that the fixtures' page gives.
TOLERANCE = 2e-4
# A backbone with the channels of the real one that takes a fraction of the time.
FEW_POINTS = tuple(
    replace(level, points=points, samples=4)
    for level, points in zip(GATHERINGS, (48, 32, 16, 8), strict=True)
)
CAMERA = np.array([[529.5, 365, 0], [0, 265, -529.5], [0, 1, 0]])


class Scene(NamedTuple):
    """The stored scene with the whole detector's weights."""

    state: dict[str, Tensor]
    cloud: Tensor
    image: Tensor
    boxes: Tensor
    view: PictureView
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def scene(shared: Path) -> Scene:
    """imv_stage2_full."""
    case, weights, inputs, expected = load_case(shared, "imv_stage2_full")
    scale, meta = case["weight_scale"], case["metas"]
    state = {
        name: torch.from_numpy(np.asarray(value * scale.get(name, 1), value.dtype))
        for name, value in weights.items()
    }
    drawn = seeded_weights(shared).image_for(meta["img_tag"], (1, 3, *meta["pad_shape"][:2])) * 255
    image = torch.from_numpy((drawn - np.reshape(BGR_MEAN, (1, 3, 1, 1))).astype(np.float32))[0]
    height, width = meta["img_shape"][:2]
    view = PictureView(inputs["depth2img"], (height, width), scale=tuple(meta["scale_factor"][:2]))
    cloud, boxes = torch.from_numpy(inputs["points"])[0], torch.from_numpy(inputs["boxes2d"])
    return Scene(state, cloud, image, boxes, view, expected)


def network_of(scene: Scene, **options: Any) -> ImVoteNet:
    with torch.device("meta"):
        network = ImVoteNet("imvotenet", "", ImVoteNetOptions(**options))
    network.load_state_dict(scene.state, strict=True, assign=True)
    return network.eval()


def inputs_of(scene: Scene, boxes: Tensor | None = None) -> tuple[Tensor, ...]:
    """What the network takes, a batch of one."""
    texture = scene.view.texture(scene.cloud, scene.image)
    listed = scene.boxes if boxes is None else boxes
    tensors = (scene.cloud, texture, listed, scene.view.matrix(), scene.view.picture())
    return tuple(tensor[None] for tensor in tensors)


def assert_close(got: Tensor | np.ndarray, expected: np.ndarray) -> None:
    assert tuple(got.shape) == expected.shape
    largest = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(np.asarray(got) - expected).max()) <= TOLERANCE * largest


def small(**options: Any) -> ImVoteNet:
    """A network without Faster R-CNN, weights drawn."""
    torch.manual_seed(0)
    network = ImVoteNet("imvotenet", "", ImVoteNetOptions(image_branch=False, proposals=16, **options))
    network.pts_backbone = PointNet2(1, gatherings=FEW_POINTS)
    return network.eval()


def test_it_is_built_by_name_and_its_options_rebuild_it() -> None:
    with torch.device("meta"):
        made = build("imvotenet", image_branch=False, ties="mmcv", fusion="parity")
        again = build("imvotenet", **made.options)
    assert isinstance(again, ImVoteNet)
    assert again.options == made.options
    assert list(again.state_dict()) == list(made.state_dict())


def test_the_files_of_both_stages_are_loaded_as_one(scene: Scene) -> None:
    whole = load_upstream("imvotenet", scene.state)
    assert (whole.training, whole.options["image_branch"], whole.options["classes"]) == (False, True, 10)
    second = {name: value for name, value in scene.state.items() if not name.startswith(IMAGE_PARTS)}
    first = {name.removeprefix("img_"): value for name, value in scene.state.items() if name not in second}
    joined = load_upstream("imvotenet", {**first, **second})
    for name, value in joined.state_dict().items():
        assert torch.equal(value, scene.state[name]), name
    assert load_upstream("imvotenet", second).options["image_branch"] is False
    lacking = {name: value for name, value in second.items() if "head_pts" not in name}
    with pytest.raises(
        InputError, match="imvotenet: the weights do not fit: .* names missing, first pts_bbox"
    ):
        load_upstream("imvotenet", lacking)
    with pytest.raises(InputError, match="imvotenet: the weights do not fit: .* missing"):
        load_upstream("imvotenet", first)


def test_names_and_shapes_are_upstreams(shared: Path) -> None:
    with torch.device("meta"):
        network = ImVoteNet("imvotenet", "", ImVoteNetOptions())
    expected = keys_of(shared, "imv_stage2_full")
    assert list(network.state_dict()) == list(expected)
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    assert shapes == {name: shape for name, (shape, _) in expected.items()}
    assert sum(value.numel() for value in network.parameters()) == 43_398_136


@torch.inference_mode()
def test_what_the_picture_says_of_seeds_is_upstreams(scene: Scene) -> None:
    expected = scene.expected
    seeds = network_of(scene, ties="mmcv").fused_seeds(*inputs_of(scene))
    assert np.array_equal(seeds.mask[0].numpy() != 0, expected["fusion_mask"])
    assert_close(seeds.cues[0][:, expected["fusion_cols"]], expected["fusion_feat_cols"])
    assert np.array_equal(seeds.columns[0].numpy(), expected["sample_inds"])
    assert np.array_equal(seeds.points.indices.numpy(), expected["seed_indices"])
    assert_close(seeds.points.points, expected["seed_points"])
    fused = torch.cat((seeds.points.features, seeds.image), 1)
    assert_close(fused[:, :, ::32], expected["fused_feat_every32"])


@pytest.mark.parametrize("fusion", ["safe", "parity"])
@pytest.mark.parametrize("ties", ["mmcv", "lowest"])
@torch.inference_mode()
def test_proposals_and_boxes_are_upstreams(scene: Scene, ties: str, fusion: str) -> None:
    expected = {
        name.removeprefix(f"{ties}."): value
        for name, value in scene.expected.items()
        if name.startswith(f"{ties}.")
    }
    network = network_of(scene, ties=ties, fusion=fusion)
    found = network.joint_predictions(network.fused_seeds(*inputs_of(scene)))
    assert_close(found.vote_points, scene.expected["vote_points"])
    assert np.array_equal(found.proposal_indices.numpy(), expected["aggregated_indices"])
    assert_close(found.proposal_points, expected["aggregated_points"])
    assert_close(found.raw[..., :2], expected["obj_scores"])
    assert_close(found.raw[..., 2:12], expected["sem_scores"])
    proposals = network.decoded(found)
    assert_close(proposals.boxes, expected["bbox3d"])
    arrays = [tensor[0].numpy() for tensor in proposals[:3]]
    final = select_boxes(*arrays, scene.cloud.numpy(), per_class=True)
    bottoms = final.boxes.copy()
    bottoms[:, 2] -= bottoms[:, 5] / 2
    order, wanted = (
        _order(bottoms, final.class_ids),
        _order(expected["final_boxes"], expected["final_labels"]),
    )
    assert np.array_equal(final.class_ids[order], expected["final_labels"][wanted])
    assert_close(bottoms[order], expected["final_boxes"][wanted])
    assert_close(final.scores[order], expected["final_scores"][wanted])


def _order(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.lexsort((boxes[:, 0].round(4), labels))


@torch.inference_mode()
def test_boxes_of_another_detector_take_the_place_of_the_inner_ones(scene: Scene) -> None:
    network = network_of(scene, ties="mmcv")
    given = network.detect(scene.cloud, scene.image, scene.view, boxes=scene.boxes)
    assert_close(given.boxes, scene.expected["mmcv.bbox3d"])
    padded = torch.nn.functional.pad(scene.boxes, (0, 0, 0, 91))
    same = network.detect(scene.cloud, scene.image, scene.view, boxes=padded)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(given, same, strict=True))


@torch.inference_mode()
def test_the_inner_detector_is_the_faster_rcnn_with_its_weights(scene: Scene, shared: Path) -> None:
    scale = load_case(shared, "imv_frcnn_full")[0]["weight_scale"]
    state = {name: value * scale[name] if name in scale else value for name, value in scene.state.items()}
    scene = scene._replace(state=state)
    network = network_of(scene)
    view = PictureView(CAMERA, (90, 120))
    image = scene.image[:, :96, :128].contiguous()
    alone = FasterRCNN()
    alone.load_state_dict(
        {
            name.removeprefix("img_"): value
            for name, value in scene.state.items()
            if name.startswith(IMAGE_PARTS)
        }
    )
    boxes = alone(image[None], size=view.size)
    assert len(boxes)
    cloud = scene.cloud[:600]
    inner = network.detect(cloud, image, view)
    outer = network.detect(cloud, image, view, boxes=boxes)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(inner, outer, strict=True))


@torch.inference_mode()
def test_a_scene_without_boxes_is_one_of_padding() -> None:
    network = small()
    cloud, texture, boxes, *rest = network.probe()
    none, padding = (network(cloud, texture, b, *rest) for b in (boxes[:, :0], boxes * 0))
    assert isinstance(none, Proposals)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(none, padding, strict=True))
    assert bool(none.raw.isfinite().all())
    assert not torch.equal(none.raw, network(*network.probe()).raw)


@torch.inference_mode()
def test_clouds_of_a_batch_do_not_touch_each_other() -> None:
    network = small()
    probe = network.probe()
    second = (probe[0] * 1.1, probe[1] * 0.5, probe[2] + 1, probe[3], probe[4])
    both = network(*(torch.cat(pair) for pair in zip(probe, second, strict=True)))
    alone = [network(*inputs) for inputs in (probe, second)]
    for row, single in enumerate(alone):
        assert torch.allclose(both.raw[row], single.raw[0], atol=1e-4)


def test_the_inner_detector_is_frozen_and_stays_in_eval_mode() -> None:
    with torch.device("meta"):
        network = ImVoteNet("imvotenet", "", ImVoteNetOptions()).train()
    for name, part in network.named_modules():
        assert part.training != name.startswith(IMAGE_PARTS), name
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert trained == {name for name, _ in network.named_parameters() if not name.startswith(IMAGE_PARTS)}


def test_in_training_all_towers_predict_and_learn() -> None:
    network = small().train()
    found = network(*network.probe())
    assert isinstance(found, TowerPredictions)
    sum(tower.raw.square().sum() for tower in found).backward()
    silent = [name for name, value in network.named_parameters() if value.grad is None]
    assert silent == []


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ((), [0, 1, 2, 3]),
        ((2,), [2, 0, 1, 3]),
        ((1, 5, 9), [1, 5, 9, 0]),
        ((0, 1, 2, 3), [0, 1, 2, 3]),
        ((0, 4, 8, 1, 5, 9), [0, 1, 4, 5]),
        (range(12), [0, 1, 2, 3]),
    ],
)
def test_seeds_with_votes_come_first_and_in_order(votes: Any, expected: list[int]) -> None:
    mask = torch.zeros(2, 12)
    mask[0, list(votes)] = 1
    chosen = selected_columns(mask)
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == [expected, [0, 1, 2, 3]]


@torch.inference_mode()
def test_a_choice_of_seeds_can_be_given(scene: Scene) -> None:
    network = network_of(scene, ties="mmcv")
    columns = torch.from_numpy(scene.expected["sample_inds"]).long()[None]
    given = network.fused_seeds(*inputs_of(scene), columns.flip(1))
    assert np.array_equal(given.points.indices[0].numpy()[::-1], scene.expected["seed_indices"][0])


def test_motion_of_the_cloud_is_undone_by_the_matrix() -> None:
    cosine, sine = np.cos(0.4), np.sin(0.4)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    motion = CloudMotion().then(np.diag([-1.0, 1, 1])).then(turn).then(1.1).then(shift=(0.2, -0.1, 0.3))
    points = np.random.default_rng(0).uniform((-2, 1, -1), (2, 5, 1), (50, 3))
    moved = (points @ np.diag([-1.0, 1, 1]) @ turn) * 1.1 + (0.2, -0.1, 0.3)
    still = PictureView(CAMERA, (530, 730))
    view = PictureView(CAMERA, (530, 730), motion=motion)
    ends = [
        v.matrix() @ torch.from_numpy(np.pad(p, ((0, 0), (0, 1)), constant_values=1)).float().T
        for v, p in ((still, points), (view, moved))
    ]
    assert torch.allclose(*ends, rtol=1e-4, atol=1e-2)


def test_a_point_without_a_place_takes_the_first_pixel_and_the_image_is_left_alone() -> None:
    image = torch.arange(3 * 64 * 96, dtype=torch.float32).reshape(3, 64, 96)
    before = image.clone()
    view = PictureView(CAMERA / [[10], [10], [1]], (53, 73))
    points = torch.tensor([[0.0, 0, 0], [torch.nan, 1, 0], [0, 2, 0], [50, 2, 0], [-50, 2, -50]])
    assert view.pixels(points).tolist() == [[0, 0], [0, 0], [36, 26], [72, 26], [0, 52]]
    texture = view.texture(points, image)
    assert torch.equal(image, before)
    assert torch.equal(texture[2], image[:, 26, 36] / 255)


def test_a_mirrored_picture_counts_from_the_other_side() -> None:
    plain, mirrored = (
        PictureView(CAMERA, (530, 730), is_mirrored=is_mirrored) for is_mirrored in (False, True)
    )
    points = torch.tensor([[0.3, 2.0, 0.1]])
    (column, row), (other, same) = (view.pixels(points)[0].tolist() for view in (plain, mirrored))
    assert (column + other, row) == (730, same)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"depth2img": np.ones((3, 3))}, r"depth2img: expected a \(3, 3\) matrix .* that can be inverted"),
        ({"depth2img": np.full((3, 3), np.nan)}, "depth2img: expected"),
        ({"depth2img": np.eye(4)}, "depth2img: expected"),
        ({"size": (0, 5)}, r"view: expected a size of at least one pixel .* got \(0, 5\)"),
        ({"scale": (1.0, -1.0)}, "scales above 0"),
    ],
)
def test_views_that_are_none_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        PictureView(**{"depth2img": CAMERA, "size": (530, 730), **change})


@pytest.mark.parametrize(
    ("index", "shape", "match"),
    [
        (0, (1, 64, 3), r"imvotenet: cloud: expected \(B, N, 4\) of float32 .* got \(1, 64, 3\)"),
        (0, (1, 0, 4), r"texture: expected \(B, N, 3\) of float32 with B=1, N=0"),
        (1, (1, 63, 3), r"texture: expected \(B, N, 3\) .* N=64, got \(1, 63, 3\)"),
        (2, (2, 5, 6), r"boxes: expected \(B, K, 6\) .* B=1, N=64, got \(2, 5, 6\)"),
        (3, (1, 3, 3), r"depth2img: expected \(B, 3, 4\)"),
        (4, (1, 3), r"picture: expected \(B, 2, 3\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(index: int, shape: tuple[int, ...], match: str) -> None:
    network = small()
    inputs = list(network.probe())
    inputs[index] = torch.zeros(shape)
    with pytest.raises(InputError, match=match):
        network(*inputs)


def test_what_cannot_be_done_is_refused() -> None:
    network = small()
    cloud, view = network.probe()[0][0], PictureView(CAMERA, (60, 90))
    image = torch.zeros(3, 64, 96)
    with pytest.raises(InputError, match="image_branch=True, got one without a 2D detector; give it boxes"):
        network.detect(cloud, image, view)
    with pytest.raises(InputError, match=r"image: expected \(3, H, W\) of at least 60x90 pixels"):
        network.detect(cloud, image[:, :32], view, boxes=torch.zeros(0, 6))
    with pytest.raises(InputError, match="expected a network in eval mode, got one in training"):
        network.train().detect(cloud, image, view, boxes=torch.zeros(0, 6))
    with pytest.raises(InputError, match="fusion: expected safe or parity, got 'fast'"):
        ImVoteNetOptions(fusion="fast")
    with pytest.raises(InputError, match="image_branch: expected true or false, got 1"):
        ImVoteNetOptions(image_branch=1)  # type: ignore[arg-type]


def test_a_state_tells_its_options_and_both_stages_may_be_in_one() -> None:
    with torch.device("meta"):
        state = ImVoteNet("imvotenet", "", ImVoteNetOptions(classes=10)).state_dict()
    assert ImVoteNet.options_from_state({}) == {}
    found = ImVoteNet.options_from_state(state)
    assert found == {"classes": 10, "yaw_bins": 12, "image_branch": True}
    second = {name: value for name, value in state.items() if not name.startswith(IMAGE_PARTS)}
    first = {name.removeprefix("img_"): value for name, value in state.items() if name not in second}
    assert ImVoteNet.options_from_state(second) == {**found, "image_branch": False}
    assert ImVoteNet.options_from_state({**second, **first}) == found
    assert ImVoteNet.upstream_state({**second, **first}).keys() == state.keys()
    both = ImVoteNet.upstream_state({**state, "backbone.conv1.weight": torch.zeros(1)})
    assert both["img_backbone.conv1.weight"].shape == (64, 3, 7, 7)
    broken = {**second, "pts_bbox_head_joint.conv_pred.conv_reg.weight": torch.zeros(66, 128, 1)}
    with pytest.raises(InputError, match="2 \\+ C scores and 3 \\+ 2H \\+ 4C places"):
        ImVoteNet.options_from_state(broken)


def facebook_state(shared: Path) -> dict[str, Tensor]:
    """The names and shapes of facebookresearch/imvotenet: real weights of VoteNet in every tower, where the
    joint one is as wide, and drawn ones where it is wider and in the image layers."""
    file = shared / "data" / "weights" / "votenet_sunrgbd_v2_torchnames.safetensors"
    state = dict(read_weights(file).state)
    wider = {
        "vgen.conv1.weight": (256, 512, 1),
        "vgen.conv3.weight": (515, 256, 1),
        "vgen.conv3.bias": (515,),
    }
    wider["pnet.vote_aggregation.mlp_module.layer0.conv.weight"] = (128, 515, 1, 1)
    torch.manual_seed(0)
    made = {name: value for name, value in state.items() if name.startswith("backbone_net.")}
    for name, value in state.items():
        if name.startswith(("vgen.", "pnet.")):
            made |= {f"{tower}_{name}": value for tower in ("pc_only", "img_only")}
            made[f"pc_img_{name}"] = torch.randn(wider[name]) if name in wider else value
    for number, inputs in ((1, 18), (2, 256)):
        made[f"image_mlp.img_feat_conv{number}.weight"] = torch.randn(256, inputs, 1)
        made[f"image_mlp.img_feat_conv{number}.bias"] = torch.randn(256)
        for part in ("weight", "bias", "running_mean", "running_var"):
            made[f"image_mlp.img_feat_bn{number}.{part}"] = torch.rand(256)
    return made


def test_facebooks_names_are_taken_tower_by_tower(shared: Path) -> None:
    state = facebook_state(shared)
    network = load_upstream("imvotenet", state)
    assert isinstance(network, ImVoteNet)
    told = ("joint_hidden", "pixels", "image_branch", "classes", "yaw_bins")
    assert [network.options[name] for name in told] == [256, "bgr_centred", False, 10, 12]
    assert network.pixels == ("BGR", (128.0, 128.0, 128.0))
    file = shared / "data" / "weights" / "votenet_sunrgbd_v2_torchnames.safetensors"
    votenet = load_upstream("votenet", read_weights(file).state)
    for tower in ("pts", "img"):
        mine = network.get_submodule(f"pts_bbox_head_{tower}").state_dict()
        for name, value in votenet.pts_bbox_head.state_dict().items():
            assert torch.equal(mine[name], value), name
    for name, value in votenet.pts_backbone.state_dict().items():
        assert torch.equal(network.pts_backbone.state_dict()[name], value), name
    joint = network.pts_bbox_head_joint.state_dict()
    assert torch.equal(joint["vote_module.vote_conv.0.conv.weight"], state["pc_img_vgen.conv1.weight"])
    # Rows in the order of mmdetection3d, bins of yaw the other way round, as VoteNet's own are put.
    for name in ("conv_pred.conv_reg.weight", "conv_pred.conv_cls.bias"):
        assert torch.equal(joint[name], votenet.pts_bbox_head.state_dict()[name]), name
    mlp = network.img_mlp.mlp.state_dict()
    assert torch.equal(mlp["layer1.bn.running_var"], state["image_mlp.img_feat_bn2.running_var"])
    assert torch.equal(mlp["layer0.conv.weight"], state["image_mlp.img_feat_conv1.weight"])


def test_facebooks_weights_of_other_cues_and_with_a_layer_missing_are_refused(shared: Path) -> None:
    state = facebook_state(shared)
    with pytest.raises(InputError, match="expected 18 cues a vote .* got a weight of .256, 19, 1."):
        load_upstream("imvotenet", state | {"image_mlp.img_feat_conv1.weight": torch.zeros(256, 19, 1)})
    del state["pc_img_pnet.bn1.weight"]
    with pytest.raises(InputError, match="pts_bbox_head_joint.conv_pred.shared_convs.layer0.bn.weight"):
        load_upstream("imvotenet", state)


def test_the_first_joint_layer_and_pixels_are_options() -> None:
    with torch.device("meta"):
        network = ImVoteNet("imvotenet", "", ImVoteNetOptions(joint_hidden=256, image_branch=False))
    assert network.pts_bbox_head_joint.vote_module.vote_conv[0].conv.out_channels == 256
    with pytest.raises(InputError, match="pixels: expected bgr_mean or bgr_centred, got 'rgb'"):
        ImVoteNetOptions(pixels="rgb")
    with pytest.raises(InputError, match="joint_hidden: expected a whole number of at least 1, got 0"):
        ImVoteNetOptions(joint_hidden=0)
