"""Export of ImVoteNet: with the rule weights the graph gives torch's and upstream's proposals, by standard
operators and by native ones."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from reference_cases import load_case, seeded_weights
from torch import Tensor

from tercelet.contract.artefact import finish_artefact, read_manifest
from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import CloudRecord, PictureVotesRecord, Provenance
from tercelet.contract.session import PointSession, Proposals, SessionOptions
from tercelet.export import build_ops, export
from tercelet.export.onnx_from_points import point_tower
from tercelet.export.point_parity import BOX_GATE
from tercelet.export.point_scenes import parity_scenes
from tercelet.ops import OPS
from tercelet.runtime.boxes3d_selection import select_boxes
from tercelet.runtime.command_line import main
from tercelet.runtime.point_golden import check_point_golden
from tercelet.runtime.rgbd_opening import open_point_session
from tercelet.training import write_checkpoint
from tercelet.training.detectors.faster_rcnn.detector import BGR_MEAN
from tercelet.training.detectors.imvotenet.detector import IMAGE_PARTS, ImVoteNet
from tercelet.training.detectors.imvotenet.options import ImVoteNetOptions
from tercelet.training.detectors.imvotenet.view import PictureView

POINTS = 5000
BOXES = 12
# The tolerance that the fixtures' page gives, of the largest value.
TOLERANCE = 2e-4
SAME = 1e-5
# Of proposals that must be the same where the last bit of a vote may put another point into a ball.
MOST = 0.97
INPUTS = {
    "points": (1, POINTS, 4),
    "texture": (1, POINTS, 3),
    "boxes": (1, BOXES, 6),
    "depth2img": (1, 3, 4),
    "picture": (1, 2, 3),
}
Floats = np.ndarray


class Scene(NamedTuple):
    """The stored scene: the network, what it takes, and upstream's numbers."""

    network: ImVoteNet
    inputs: dict[str, Floats]
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def scene(shared: Path) -> Scene:
    """imv_stage2_full, its nine boxes padded to twelve."""
    case, weights, given, expected = load_case(shared, "imv_stage2_full")
    scale, meta = case["weight_scale"], case["metas"]
    state = {
        name: torch.from_numpy(np.asarray(value * scale.get(name, 1), value.dtype))
        for name, value in weights.items()
        if not name.startswith(IMAGE_PARTS)
    }
    with torch.device("meta"):
        network = ImVoteNet("imvotenet", "", ImVoteNetOptions(ties="mmcv", image_branch=False, points=POINTS))
    network.load_state_dict(state, strict=True, assign=True)
    drawn = seeded_weights(shared).image_for(meta["img_tag"], (1, 3, *meta["pad_shape"][:2])) * 255
    image = torch.from_numpy((drawn - np.reshape(BGR_MEAN, (1, 3, 1, 1))).astype(np.float32))[0]
    height, width = meta["img_shape"][:2]
    view = PictureView(given["depth2img"], (height, width), scale=tuple(meta["scale_factor"][:2]))
    cloud = torch.from_numpy(given["points"])[0]
    boxes = torch.nn.functional.pad(torch.from_numpy(given["boxes2d"]), (0, 0, 0, BOXES - 9))
    tensors: tuple[Tensor, ...] = (cloud, view.texture(cloud, image), boxes, view.matrix(), view.picture())
    inputs = {name: tensor[None].numpy() for name, tensor in zip(INPUTS, tensors, strict=True)}
    return Scene(network.eval(), inputs, expected)


@pytest.fixture(scope="module")
def checkpoint(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imvotenet") / "imvotenet-checkpoint"
    provenance = Provenance(source="rule", sha256="0" * 64, format="none")
    write_checkpoint(folder, scene.network, labels=SUNRGBD_CLASSES, provenance=provenance)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    """Made by the command, whose words lie beside it."""
    folder, shown = checkpoint.parent / "imvotenet-bundle", io.StringIO()
    with redirect_stdout(shown):
        assert main(["export", str(checkpoint), "-o", str(folder), "--boxes", str(BOXES)]) == 0
    (folder.parent / "shown.txt").write_text(shown.getvalue())
    return folder


@pytest.fixture(scope="module", params=["bodies", "native"])
def session(request: pytest.FixtureRequest, bundle: Path) -> Any:
    opened, is_native = bundle, request.param == "native"
    if is_native:
        try:
            built = build_ops(bundle, output=bundle.parent / "native-bundle").bundle
        except MissingDependencyError as error:
            pytest.skip(f"no native library: {error}")
        assert built is not None
        assert "tercelet::VoteFusion" in read_manifest(built).plugins[0].ops
        opened = built
    made = open_point_session(opened, read_manifest(opened), SessionOptions(threads=1))
    assert made.backend.endswith("with native ops") == is_native
    yield made
    made.close()


def torch_proposals(network: ImVoteNet, inputs: dict[str, Floats]) -> list[Floats]:
    with torch.inference_mode():
        return [part.numpy() for part in network(*map(torch.from_numpy, inputs.values()))[:3]]


def assert_close(got: Floats, expected: Floats, tolerance: float = TOLERANCE) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))


def share_of_same(found: Proposals, other: Sequence[Floats]) -> float:
    """How many proposals have the same box and the same scores, each within SAME of the largest value."""
    same = [
        (np.abs(one - two).reshape(256, -1) <= SAME * max(1.0, float(np.abs(two).max()))).all(axis=1)
        for one, two in ((part[0], wanted[0]) for part, wanted in zip(found, other, strict=True))
    ]
    return float(np.all(same, axis=0).mean())


def test_the_bundle_says_what_the_network_is_shown_of_the_picture(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    network, _ = manifest.cloud_parts()
    assert {item.name: item.shape for item in network.inputs} == INPUTS
    assert [item.name for item in network.outputs] == ["boxes3d", "objectness", "class_scores"]
    deciding = ("BallQuery", "FurthestPointSample", "ThreeInterpolate", "VoteFusion")
    assert {f"tercelet::{name}" for name in deciding} <= set(network.ops)
    votes = manifest.picture_votes
    assert votes == PictureVotesRecord(boxes=BOXES, classes=SUNRGBD_CLASSES, mean=BGR_MEAN, scale=1 / 255)
    parity = manifest.cloud_parity
    assert parity is not None
    assert (parity.clouds, parity.proposals) == (3, 3 * 256)
    assert 0 < parity.boxes_p999 <= 1e-4 < BOX_GATE
    assert 0 < parity.scores_p999 <= 1e-4
    assert parity.points_max <= 1e-4


def test_no_shape_in_the_graph_depends_on_the_data(bundle: Path) -> None:
    graph = onnx.load(bundle / "model.onnx").graph
    kinds = {node.op_type for node in graph.node}
    assert kinds.isdisjoint({"NonZero", "Loop", "If", "Compress", "Unique", "BatchNormalization", "RoiAlign"})
    for value in (*graph.input, *graph.output, *graph.value_info):
        assert all(side.dim_value > 0 for side in value.type.tensor_type.shape.dim), value.name


def test_it_is_compared_on_scenes_with_votes_and_without(scene: Scene) -> None:
    votes = PictureVotesRecord(boxes=BOXES, classes=SUNRGBD_CLASSES, mean=BGR_MEAN)
    shares, filled = [], []
    for made in parity_scenes((), CloudRecord(2048), votes, name="points"):
        assert [*made] == [*INPUTS]
        fused = OPS["VoteFusion"].reference(
            made["points"][0, ::2, :3].copy(),
            made["texture"][0, ::2].copy(),
            *(part[0] for part in [*made.values()][2:]),
        )
        shares.append(float((fused[1].reshape(3, -1).max(0) > 0).mean()))
        filled.append(int((made["boxes"][0, :, 4] > 0).sum()))
        assert made["texture"].std() > 0.1
    assert filled == [BOXES // 2, 0, BOXES]
    assert shares[0] > 0.1
    assert shares[1] == 0
    assert shares[2] > 0.25


def test_the_graph_gives_torchs_and_upstreams_proposals_and_boxes(
    scene: Scene, session: PointSession
) -> None:
    found = session.run(scene.inputs)
    for got, wanted in zip(found, torch_proposals(scene.network, scene.inputs), strict=True):
        assert_close(got, wanted, SAME)
    expected = {
        name.removeprefix("mmcv."): value
        for name, value in scene.expected.items()
        if name.startswith("mmcv.")
    }
    assert_close(found.boxes, expected["bbox3d"])
    logits = expected["obj_scores"]
    assert_close(found.objectness, 1 / (1 + np.exp(logits[..., 0] - logits[..., 1])))
    boxes, objectness, class_scores = (part[0] for part in found)
    final = select_boxes(boxes, objectness, class_scores, scene.inputs["points"][0], per_class=True)
    bottoms = final.boxes.copy()
    bottoms[:, 2] -= bottoms[:, 5] / 2
    order = np.lexsort((bottoms[:, 0].round(4), final.class_ids))
    wanted_order = np.lexsort((expected["final_boxes"][:, 0].round(4), expected["final_labels"]))
    assert np.array_equal(final.class_ids[order], expected["final_labels"][wanted_order])
    assert_close(bottoms[order], expected["final_boxes"][wanted_order])
    assert_close(final.scores[order], expected["final_scores"][wanted_order])


def test_it_gives_the_same_twice(scene: Scene, session: PointSession) -> None:
    first, second = session.run(scene.inputs), session.run(scene.inputs)
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_picture_has_a_part_in_the_boxes(scene: Scene, session: PointSession) -> None:
    none = {**scene.inputs, "boxes": np.zeros((1, BOXES, 6), np.float32)}
    blind, seeing = session.run(none), session.run(scene.inputs)
    assert share_of_same(blind, seeing) < 0.5
    assert share_of_same(blind, torch_proposals(scene.network, none)) > MOST


def _no_matrix(inputs: dict[str, Floats]) -> None:
    inputs["depth2img"][:] = 0


def _at_the_camera(inputs: dict[str, Floats]) -> None:
    """A third of the points lies where the depth is exactly 0."""
    inputs["depth2img"][0, 2] = (0, 1, 0, 0)
    inputs["points"][0, ::3, 1] = 0


def _broken_boxes(inputs: dict[str, Floats]) -> None:
    inputs["boxes"][0, 0] = np.nan
    inputs["boxes"][0, 1, 4] = np.inf
    inputs["boxes"][0, 2, :4] = (-9000, -9000, 9000, 9000)


@pytest.mark.parametrize("change", [_no_matrix, _at_the_camera, _broken_boxes])
def test_points_without_a_pixel_and_broken_boxes_leave_finite_numbers(
    scene: Scene, session: PointSession, change: Any
) -> None:
    inputs = {name: array.copy() for name, array in scene.inputs.items()}
    change(inputs)
    found = session.run(inputs)
    assert all(np.isfinite(part).all() for part in found)
    if change is _no_matrix:
        none = session.run({**scene.inputs, "boxes": np.zeros((1, BOXES, 6), np.float32)})
        assert all(np.array_equal(one, two) for one, two in zip(found, none, strict=True))
    assert share_of_same(found, torch_proposals(scene.network, inputs)) > MOST


def test_boxes_of_nothing_change_nothing(scene: Scene, session: PointSession) -> None:
    """Padding may stand anywhere among the boxes."""
    order = np.roll(np.arange(BOXES), BOXES - 9)
    moved = session.run({**scene.inputs, "boxes": scene.inputs["boxes"][:, order].copy()})
    found = session.run(scene.inputs)
    assert all(np.array_equal(one, two) for one, two in zip(found, moved, strict=True))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"boxes": np.zeros((1, BOXES + 1, 6), np.float32)}, r"expected inputs .* got .*\(1, 13, 6\)"),
        ({"texture": np.zeros((1, POINTS, 3))}, "got .*'texture': \\('float64'"),
        ({"hue": np.zeros(1, np.float32)}, "got .*'hue'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    scene: Scene, session: PointSession, change: dict[str, Floats], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        session.run({**scene.inputs, **change})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"boxes": 0}, "boxes: expected 1 to 1000, got 0"),
        ({"boxes": 1001}, "boxes: expected 1 to 1000, got 1001"),
        ({"points": 10}, "points: expected at least 1000, got 10: the runtime takes no smaller cloud"),
        ({"size": 640}, "imvotenet: size: a detector of clouds has none"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    options: dict[str, Any], match: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=match):
        export(checkpoint, output=tmp_path / "b", **options)
    assert not list(tmp_path.iterdir())


def test_a_golden_pair_of_another_picture_is_found(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "b"))
    session = open_point_session(folder, read_manifest(folder), SessionOptions(threads=1))
    check_point_golden(folder, read_manifest(folder), session)
    with (folder / "golden.npy").open("rb") as file:
        parts = [np.load(file) for _ in range(8)]
    assert [part.shape for part in parts[:5]] == [*INPUTS.values()]
    parts[2][:] = 0
    with (folder / "golden.npy").open("wb") as file:
        for part in parts:
            np.save(file, part)
    finish_artefact(folder, read_manifest(folder))
    with pytest.raises(CheckFailedError, match="does not reproduce the bundle's golden pair: .* of 256"):
        check_point_golden(folder, read_manifest(folder), session)
    session.close()


def test_a_faster_rcnn_is_no_part_of_the_graph() -> None:
    with torch.device("meta"):
        whole = ImVoteNet("imvotenet", "", ImVoteNetOptions()).eval()
    tower = point_tower(whole)
    assert tower.options == {**whole.options, "image_branch": False}
    assert not tower.training
    kept = {name for name in whole.state_dict() if not name.startswith(IMAGE_PARTS)}
    assert set(tower.state_dict()) == kept < set(whole.state_dict())
    assert point_tower(tower) is tower


def test_the_command_says_how_many_boxes_and_what_comes_next(bundle: Path) -> None:
    shown = (bundle.parent / "shown.txt").read_text()
    assert f"imvotenet, clouds of {POINTS} points, {BOXES} boxes of a picture, 10 classes" in shown
    assert "next: tercelet bundle-rgbd" in shown


def test_inspection_shows_the_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    said = "votes of up to 12 boxes, no 2D detector beside it"
    for word in ("imvotenet", "texture", "depth2img", "boxes3d", said, "next           tercelet bundle-rgbd"):
        assert word in shown
