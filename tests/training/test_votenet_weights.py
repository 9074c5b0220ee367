"""Published VoteNet weights: three ways to name them, and what they find in real rooms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tercelet.contract.box3d import SUNRGBD_CLASSES, SUNRGBD_MEAN_SIZES, yaw_from_heading
from tercelet.contract.errors import InputError
from tercelet.runtime.boxes3d_selection import select_boxes
from tercelet.training import build, load_upstream, read_weights

KERAS = "votenet_sunrgbd_v2_keras.h5"
TORCH_NAMES = "votenet_sunrgbd_v2_torchnames.safetensors"
# What votenet_sunrgbd_v2_variant.json says, which tensors with facebookresearch's names cannot tell.
VARIANT: dict[str, Any] = {
    "proposal_radius": 0.8,
    "proposal_samples": 64,
    "proposal_sampling": "vote",
    "normalised_votes": False,
    "interpolation": "squared",
}
FILES = {KERAS: {}, TORCH_NAMES: VARIANT}
# Raw numbers reach 179 and come from float64; the same forward pass in float64 is 1.1e-4 away at -38.
SAME_RAW = 1e-4
SAME_METRES = 1e-3
SAME_SCORE = 1e-3
SCENES = {
    "000002": "000002/votenet_reference",
    "demo": "votenet_demo/keras_weights_reference",
}


def with_height(points: np.ndarray) -> Tensor:
    """x, y, z and the height above the 0.99 percentile (of 100)."""
    xyz = points.astype(np.float32)
    height = xyz[:, 2:] - np.percentile(xyz[:, 2], 0.99)
    return torch.from_numpy(np.concatenate((xyz, height.astype(np.float32)), 1))[None]


@pytest.fixture(scope="module")
def clouds(shared: Path) -> dict[str, Tensor]:
    folder = shared / "data" / "sunrgbd"
    with np.load(folder / "000002" / "votenet_v1_pc.npz") as stored:
        points = stored["pc"][:, :3]
    chosen = points[(np.arange(20_000) * len(points)) // 20_000]
    demo = np.loadtxt(folder / "votenet_demo" / "input_pc_sunrgbd.ply", skiprows=8)
    assert demo.shape == (20_000, 3)
    return {"000002": with_height(chosen), "demo": with_height(demo)}


@pytest.fixture(scope="module", params=FILES)
def network(request: pytest.FixtureRequest, shared: Path) -> Any:
    state = read_weights(shared / "data" / "weights" / request.param).state
    return load_upstream("votenet", state, **FILES[request.param])


def numbers_of_upstream(raw: np.ndarray) -> np.ndarray:
    """Raw numbers (P, 79) in the order and with the heading of facebookresearch/votenet."""
    scores, centre, yaw, left, sizes = np.split(raw, [12, 15, 27, 39], axis=1)
    back = -np.arange(12) % 12
    return np.concatenate((scores[:, :2], centre, yaw[:, back], -left[:, back], sizes, scores[:, 2:]), 1)


def test_an_empty_state_is_refused() -> None:
    with pytest.raises(InputError, match="votenet: expected named tensors, got an empty mapping"):
        load_upstream("votenet", {})


@pytest.mark.parametrize("scene", SCENES)
def test_real_weights_find_in_real_rooms_what_the_reference_finds(
    shared: Path, network: Any, clouds: dict[str, Tensor], scene: str
) -> None:
    place = shared / "data" / "sunrgbd" / SCENES[scene]
    with np.load(f"{place}_raw.npz") as stored:
        raw, points = stored["scores79"], stored["proposal_xyz"]
    with torch.inference_mode():
        numbers = network.predictions(clouds[scene])
        found = network.decoded(numbers)
    assert np.abs(numbers.proposal_points[0].numpy() - points).max() <= SAME_METRES
    apart = np.abs(numbers_of_upstream(found.raw[0].numpy()) - raw)
    assert (apart / np.maximum(1, np.abs(raw))).max() <= SAME_RAW
    boxes, objectness, class_scores = (part[0].numpy() for part in found[:3])
    # The reference keeps proposals by objectness alone, whether points lie inside or not.
    kept = select_boxes(
        boxes, objectness, class_scores, clouds[scene][0].numpy(), score_threshold=0.5, least_points=0
    )
    expected = json.loads(Path(f"{place}_detections.json").read_text())["detections"]
    assert len(kept) == len(expected) > 5
    by_objectness = np.argsort(-objectness[kept.proposals], kind="stable")
    for row, wanted in zip(by_objectness, expected, strict=True):
        assert SUNRGBD_CLASSES[kept.class_ids[row]] == wanted["cls"]
        box, proposal = kept.boxes[row], kept.proposals[row]
        assert np.abs(box[:3] - wanted["center"]).max() <= SAME_METRES
        assert np.abs(box[3:6] - wanted["size_full"]).max() <= SAME_METRES
        turn = box[6] - yaw_from_heading(np.float64(wanted["heading"]))
        assert abs((turn + np.pi) % (2 * np.pi) - np.pi) <= SAME_METRES
        assert abs(objectness[proposal] - wanted["objectness"]) <= SAME_SCORE
        assert abs(class_scores[proposal].max() - wanted["cls_prob"]) <= SAME_SCORE


def test_both_files_hold_the_same_network(shared: Path) -> None:
    folder = shared / "data" / "weights"
    keras, torch_names = (
        load_upstream("votenet", read_weights(folder / name).state, **options)
        for name, options in FILES.items()
    )
    assert {**keras.options, "norm_eps": 1e-5} == torch_names.options
    assert keras.options["norm_eps"] == 1e-3
    state = torch_names.state_dict()
    for name, value in keras.named_parameters():
        assert torch.equal(value, state[name]), name
    for name, value in keras.named_buffers():
        shift = 1e-3 - 1e-5 if name.endswith("running_var") else 0.0
        assert torch.allclose(value.double() + shift, state[name].double(), rtol=1e-6, atol=1e-7), name


def test_mmdetection3d_names_are_taken_with_its_prefixes_and_with_those_here() -> None:
    torch.manual_seed(0)
    made = build("votenet", points=5000)
    own = {name: value.clone() for name, value in made.state_dict().items()}
    upstream = {
        name.replace("pts_backbone.", "backbone.").replace("pts_bbox_head.", "bbox_head."): value
        for name, value in own.items()
    }
    assert "backbone.SA_modules.0.mlps.0.layer0.conv.weight" in upstream
    for state in (own, upstream, {f"module.{name}": value for name, value in upstream.items()}):
        loaded = load_upstream("votenet", state, points=5000)
        assert loaded.options == made.options
        assert not loaded.training
        assert all(torch.equal(value, own[name]) for name, value in loaded.state_dict().items())


def test_a_scannet_head_is_recognised_by_its_one_bin() -> None:
    sizes = [1.0] * 54
    made = build("votenet", classes=18, mean_sizes=sizes, yaw_bins=1)
    loaded = load_upstream("votenet", made.state_dict(), mean_sizes=sizes)
    assert (loaded.classes, loaded.options["yaw_bins"]) == (18, 1)
    with pytest.raises(InputError, match="the weights do not fit|mean_sizes: expected 54 numbers"):
        load_upstream("votenet", made.state_dict())


def test_what_the_file_tells_cannot_be_asked_otherwise(shared: Path) -> None:
    state = read_weights(shared / "data" / "weights" / KERAS).state
    with pytest.raises(InputError, match=r"proposal_radius=0\.3 was asked for, but the weights have .*0\.8"):
        load_upstream("votenet", state, proposal_radius=0.3)
    with pytest.raises(InputError, match="classes=5 was asked for, but the weights have classes=10"):
        load_upstream("votenet", state, classes=5)


def _without(state: dict[str, Any]) -> None:
    del state["pnet.bn2.running_var"]


def _with_another(state: dict[str, Any]) -> None:
    state["pnet.conv4.weight"] = np.zeros((1, 1, 1), np.float32)


def _misshapen(state: dict[str, Any]) -> None:
    state["vgen.conv3.weight"] = state["vgen.conv3.weight"][:-1]


def _cut(state: dict[str, Any]) -> None:
    state["pnet.conv3.weight"] = state["pnet.conv3.weight"][:-1]


def _not_finite(state: dict[str, Any]) -> None:
    state["pnet.conv3.bias"] = np.full(79, np.nan, np.float32)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_without, r"1 of \d+ names missing, first pts_bbox_head\.conv_pred\.shared_convs\.layer1\.bn\.run"),
        (_with_another, r"1 unexpected, first pnet\.conv4\.weight"),
        (_misshapen, r"1 misshapen, first pts_bbox_head\.vote_module\.conv_out\.weight: .*259.*258"),
        (_cut, r"expected 5 \+ 2H \+ 5C numbers a proposal, .* got 78; the weights are of another head"),
        (_not_finite, r"pnet\.conv3\.bias: expected finite numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(shared: Path, change: Any, match: str) -> None:
    state = dict(read_weights(shared / "data" / "weights" / TORCH_NAMES).state)
    change(state)
    with pytest.raises(InputError, match=match):
        load_upstream("votenet", state, **VARIANT)


def test_a_keras_file_that_lacks_a_layer_is_refused(shared: Path) -> None:
    state = dict(read_weights(shared / "data" / "weights" / KERAS).state)
    state = {name: value for name, value in state.items() if not name.startswith("conv2d_7.")}
    with pytest.raises(InputError, match="names missing, first pts_backbone"):
        load_upstream("votenet", state)


def test_weights_of_another_network_are_sent_to_votenet(shared: Path) -> None:
    state = read_weights(shared / "data" / "weights" / KERAS).state
    with pytest.raises(InputError, match="yolov8n: the weights do not fit: .*; they fit votenet"):
        load_upstream("yolov8n", state)


def test_mean_sizes_are_those_of_the_contract() -> None:
    rows = np.reshape(build("votenet").options["mean_sizes"], (10, 3))
    assert np.array_equal(rows, np.array(SUNRGBD_MEAN_SIZES))
