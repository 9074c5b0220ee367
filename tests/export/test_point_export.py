"""Export of detectors of clouds: the same boxes from the bundle, by standard operators and by native ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tercelet.contract.artefact import read_manifest
from tercelet.contract.errors import CheckFailedError, InputError, MissingDependencyError
from tercelet.contract.manifest import Provenance
from tercelet.contract.session import Proposals, SessionOptions
from tercelet.export import build_ops, export
from tercelet.export.point_parity import BOX_GATE, SCORE_GATE, check_point_parity
from tercelet.ops.furthest_point_sample.cases import room_points
from tercelet.runtime.command_line import main
from tercelet.runtime.rgbd_opening import open_point_session
from tercelet.training import build, load_checkpoint, write_checkpoint

POINTS = 1200
PROPOSALS = 24
OPS = tuple(
    f"tercelet::{name}" for name in ("BallQuery", "FurthestPointSample", "SetAbstraction", "ThreeInterpolate")
)


def cloud_of(count: int, seed: int = 9) -> np.ndarray:
    room = room_points(np.random.default_rng(seed), (1, count))
    return np.concatenate((room, room[..., 2:]), 2)


def lively_votenet(**options: Any) -> Any:
    """Seeded weights, normalised by one pass over drawn rooms, so that features do not die out."""
    torch.manual_seed(0)
    network = build("votenet", points=POINTS, proposals=PROPOSALS, **options)
    norms = [
        part for part in network.modules() if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
    ]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(cloud_of(POINTS)))
    for norm in norms:
        norm.momentum = 0.1
        norm.running_var.clamp_(min=1e-3)
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("points") / "votenet-checkpoint"
    provenance = Provenance(source="seeded", sha256="0" * 64, format="none")
    network = lively_votenet(proposal_sampling="vote", normalised_votes=False)
    write_checkpoint(folder, network, labels=network.default_labels, provenance=provenance)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    return export(checkpoint, output=checkpoint.parent / "votenet-bundle")


def proposals_of(bundle: Path, points: np.ndarray, **options: Any) -> Proposals:
    session = open_point_session(bundle, read_manifest(bundle), SessionOptions(threads=1, **options))
    try:
        return session.run({"points": points})
    finally:
        session.close()


def test_a_cloud_of_no_points_cannot_be_exported_for(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="points: expected at least 1000, got 0: the runtime takes no"):
        export(checkpoint, output=tmp_path / "b", points=0)
    assert not list(tmp_path.iterdir())


def test_the_bundle_says_what_cloud_it_takes_and_how_near_to_torch_it_is(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert (manifest.kind, manifest.pipeline) == ("bundle", "rgbd")
    network, cloud = manifest.cloud_parts()
    assert (cloud.points, cloud.features) == (POINTS, ("x", "y", "z", "height"))
    assert network.ops == OPS
    assert [item.shape for item in (*network.inputs, *network.outputs)] == [
        (1, POINTS, 4),
        (1, PROPOSALS, 7),
        (1, PROPOSALS),
        (1, PROPOSALS, 10),
    ]
    parity = manifest.cloud_parity
    assert parity is not None
    assert (parity.clouds, parity.proposals) == (3, 3 * PROPOSALS)
    assert 0 < parity.boxes_p999 <= parity.gate_box == BOX_GATE
    assert 0 < parity.scores_p999 <= parity.gate_score == SCORE_GATE
    assert parity.decisions > 3 * 2048 * 64
    assert manifest.lowering is not None
    assert manifest.lowering.ops_difference is not None
    assert manifest.lowering.ops_difference < 3e-6  # of SetAbstraction, whose sums are float32
    assert manifest.golden is not None


def test_the_graph_gives_what_torch_gives(bundle: Path, checkpoint: Path) -> None:
    network, _ = load_checkpoint(checkpoint)
    points = cloud_of(POINTS, 3)
    with torch.inference_mode():
        expected = network(torch.from_numpy(points))
    found = proposals_of(bundle, points)
    assert float(expected.objectness.std()) > 0
    for got, wanted in zip(found, expected[:3], strict=True):
        assert np.abs(got - wanted.numpy()).max() <= 1e-4


def test_no_shape_in_the_graph_depends_on_the_data(bundle: Path, tmp_path: Path, checkpoint: Path) -> None:
    model = onnx.load(export(checkpoint, output=tmp_path / "b", opset=17, points=1000) / "model.onnx")
    assert model.opset_import[0].version == 17
    for graph in (onnx.load(bundle / "model.onnx").graph, model.graph):
        kinds = {node.op_type for node in graph.node}
        assert kinds.isdisjoint({"NonZero", "Loop", "If", "Compress", "Unique", "BatchNormalization"})
        for value in (*graph.input, *graph.output, *graph.value_info):
            assert all(side.dim_value > 0 for side in value.type.tensor_type.shape.dim), value.name


def test_inline_ops_leave_no_custom_node(bundle: Path, checkpoint: Path, tmp_path: Path) -> None:
    made = export(checkpoint, output=tmp_path / "b", inline_ops=True)
    model = onnx.load(made / "model.onnx")
    assert read_manifest(made).cloud_parts()[0].ops == ()
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    points = cloud_of(POINTS, 3)
    for got, wanted in zip(proposals_of(made, points), proposals_of(bundle, points), strict=True):
        assert np.abs(got - wanted).max() <= 3e-5  # seen 1.8e-5: sums in another order


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 64}, "votenet: size: a detector of clouds has none"),
        ({"candidates": 10}, "votenet: candidates: a detector of clouds"),
        ({"batch": 2}, "votenet: batch: a detector of clouds"),
        ({"gate_px": 1.0}, "votenet: gate_px: a detector of clouds"),
        ({"boxes": 10}, "votenet: boxes: it has no votes of a picture and takes none; leave it out"),
        ({"points": 999}, "points: expected at least 1000, got 999: the runtime takes no smaller cloud"),
        ({"opset": 16}, "opset: expected one of 17, 18, 19, 20, got 16"),
        ({"op_form": "deform_conv"}, "op form: expected auto, standard, got 'deform_conv'"),
        ({"frames": ["nowhere.ply"]}, "nowhere.ply: expected a cloud, nothing is there"),
    ],
)
def test_what_a_detector_of_clouds_cannot_do_is_refused(
    options: dict[str, Any], match: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=match):
        export(checkpoint, output=tmp_path / "b", **options)
    assert not list(tmp_path.iterdir())


def test_a_detector_of_pictures_takes_no_number_of_points_or_boxes(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("points", "boxes"):
        with pytest.raises(InputError, match=f"{name}: it looks at pictures and takes none"):
            export(tiny_checkpoint, output=tmp_path / "b", **{name: 2000})


def test_a_graph_of_other_weights_fails_the_check(bundle: Path, checkpoint: Path) -> None:
    network, _ = load_checkpoint(checkpoint)
    with torch.no_grad():
        network.pts_bbox_head.conv_pred.conv_cls.bias[1] += 0.5
    with pytest.raises(CheckFailedError, match=r"scores by 0\.\d+ \(99\.9 %\)"):
        check_point_parity(network, bundle / "model.onnx", [{"points": cloud_of(POINTS)}])
    with torch.no_grad():
        network.pts_bbox_head.conv_pred.conv_cls.bias[1] -= 0.5
        network.pts_bbox_head.vote_module.conv_out.bias[0] += 0.01
    with pytest.raises(CheckFailedError, match=r"points that decide by 0\.0\d+"):
        check_point_parity(network, bundle / "model.onnx", [{"points": cloud_of(POINTS)}])


def test_a_node_that_looks_in_another_ball_than_torch_fails_the_check(
    bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    model = onnx.load(bundle / "model.onnx")
    last = [node for node in model.graph.node if node.op_type == "BallQuery"][-1]
    next(item for item in last.attribute if item.name == "radius").f = 0.31
    onnx.save(model, tmp_path / "m.onnx")
    network, _ = load_checkpoint(checkpoint)
    with pytest.raises(CheckFailedError, match=r"expected {'radius': 0\.3\d*, .* got {'radius': 0\.31"):
        check_point_parity(network, tmp_path / "m.onnx", [{"points": cloud_of(POINTS)}])


def test_rounding_that_tips_a_decision_does_not_count_as_a_difference(
    bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """Votes stay on their seeds, which lie on a lattice: a shift of all by a little breaks ties otherwise."""
    model = onnx.load(bundle / "model.onnx")
    network, _ = load_checkpoint(checkpoint)
    out = network.pts_bbox_head.vote_module.conv_out
    for item in model.graph.initializer:
        if ".conv_out." in item.name:
            array = onnx.numpy_helper.to_array(item).copy()
            array[:3] = 0
            item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    onnx.save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        out.weight[:3] = 0
        out.bias[:3] = 1e-4
    lattice = np.round(cloud_of(POINTS) * 4) / 4
    parity = check_point_parity(network, tmp_path / "m.onnx", [{"points": lattice.astype(np.float32)}])
    assert 1e-5 < parity.points_max <= BOX_GATE
    assert 0 < parity.changed < parity.decisions / 10


def test_the_command_exports_for_a_number_of_points(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "room.npy"
    np.save(place, cloud_of(3000)[0, :, :3])
    output = tmp_path / "b"
    command = ["export", str(checkpoint), "-o", str(output), "--points", "1000", "--frames", str(place)]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "votenet, clouds of 1000 points, 10 classes" in shown.out
    assert "equal their references" in shown.err
    assert main([*command, "--overwrite", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["cloud"]["points"] == 1000


def test_native_ops_give_the_same_proposals(bundle: Path, tmp_path: Path) -> None:
    try:
        made = build_ops(bundle, output=tmp_path / "native").bundle
    except MissingDependencyError as error:
        pytest.skip(f"no native library: {error}")
    assert made is not None
    points = cloud_of(POINTS, 3)
    native = proposals_of(made, points)
    for got, wanted in zip(native, proposals_of(made, points, native_ops=False), strict=True):
        assert np.abs(got - wanted).max() <= 1e-4
