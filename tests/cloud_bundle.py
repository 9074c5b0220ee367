"""A tiny bundle of pipeline rgbd whose answers can be told beforehand, and clouds of a room to give it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tercelet.contract.artefact import finish_artefact
from tercelet.contract.manifest import (
    CloudRecord,
    DetectorRecord,
    Golden,
    Manifest,
    Network,
    PictureVotesRecord,
    Postprocess,
    Provenance,
    Target,
    TensorRecord,
)
from tercelet.contract.preprocess import Preprocess
from tercelet.contract.session import SessionOptions
from tercelet.runtime.point_golden import write_point_golden
from tercelet.runtime.rgbd_opening import open_point_session

POINTS = 2000
LABELS = ("chair", "table")
# Where the room's only thing stands, and how large it is, metres.
THING = (0.4, 2.0, 0.4)
SIDE = 0.8
OBJECTNESS = np.array([[0.9, 0.8, 0.6, 0.85]], np.float32)
CLASS_SCORES = np.array([[[0.1, 0.9], [0.8, 0.2], [0.2, 0.8], [0.7, 0.3]]], np.float32)


def room(count: int = 4000, *, seed: int = 0) -> np.ndarray:
    """(count, 3) float32 upright points: half of them a floor at z = 0, a third a wall at y = 4, the rest a
    cube of 0.8 m on the floor."""
    draw = np.random.default_rng(seed).random
    floor, wall = count // 2, count // 3
    parts = (
        draw((floor, 3)) * (4, 4, 0.005) - (2, 0, 0),
        draw((wall, 3)) * (4, 0.005, 2.4) - (2, -4, 0),
        (draw((count - floor - wall, 3)) - 0.5) * SIDE + THING,
    )
    return np.random.default_rng(seed).permutation(np.concatenate(parts)).astype(np.float32)


def write_cloud_bundle(
    folder: Path, *, points: int = POINTS, votes: PictureVotesRecord | None = None
) -> Path:
    """A graph that gives four proposals, whatever the cloud: 0 a table round the room's thing, 1 a chair
    where there are no points, 2 a weaker table in the same place, 3 a chair in the same place.

    To the centre of 0 it adds a thousandth of the mean of all points, so that it has to read them. votes: it
    takes what a network with image votes does, and reads none of it.
    """
    folder.mkdir()
    inputs = {"points": (1, points, 4)}
    if votes is not None:
        inputs |= {"texture": (1, points, 3), "boxes": (1, votes.boxes, 6)}
        inputs |= {"depth2img": (1, 3, 4), "picture": (1, 2, 3)}
    onnx.save(_model(inputs), folder / "model.onnx")
    shapes = {"proposals": (1, 4, 7), "objectness": (1, 4), "class_scores": (1, 4, 2)}
    network = Network(
        file="model.onnx",
        inputs=tuple(TensorRecord(name, "float32", shape, name) for name, shape in inputs.items()),
        outputs=tuple(TensorRecord(name, "float32", shape, name) for name, shape in shapes.items()),
        candidates=0,
        opset=17,
        ir_version=8,
    )
    manifest = Manifest(
        kind="bundle",
        detector=DetectorRecord("votenet" if votes is None else "imvotenet"),
        labels=LABELS,
        preprocess=Preprocess(height=1, width=1),
        provenance=Provenance(source="made", sha256="0" * 64, format="none", licence="Apache-2.0"),
        files={},
        pipeline="rgbd",
        network=network,
        postprocess=Postprocess(score_threshold=0.5, iou_threshold=0.25),
        target=Target("onnxruntime", "fp32"),
        cloud=CloudRecord(points=points),
        picture_votes=votes,
    )
    manifest = finish_artefact(folder, manifest)
    write_golden(folder, manifest)
    return folder


def write_golden(folder: Path, manifest: Manifest) -> None:
    """Run the bundle once and store what it gave."""
    session = open_point_session(folder, manifest, SessionOptions(threads=1))
    assert manifest.network is not None
    generator = np.random.default_rng(5)
    inputs = {item.name: generator.random(item.shape, dtype=np.float32) for item in manifest.network.inputs}
    write_point_golden(folder, manifest, inputs, session.run(inputs))
    session.close()
    golden = Golden("golden.npy", tolerance_px=1e-3, tolerance_score=1e-3)
    finish_artefact(folder, Manifest(**{**vars(manifest), "golden": golden, "files": {}}))


def proposal_boxes() -> np.ndarray:
    """(1, 4, 7) float32, what the graph gives before it reads the cloud."""
    thing = (*THING, SIDE, SIDE, SIDE, 0.3)
    boxes = np.array([thing, (1.5, 1.0, 1.5, 0.2, 0.2, 0.2, 0.0), thing, thing], np.float32)
    boxes[3, 2] += 0.1
    return boxes[None]


def _model(inputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    shift = np.zeros((1, 4, 7), np.float32)
    shift[0, 0, :3] = 1e-3
    constants = {
        "base": proposal_boxes(), "shift": shift, "OBJECTNESS": OBJECTNESS, "CLASS_SCORES": CLASS_SCORES,
        "zeros": np.zeros((1, 1, 3), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["points"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "zeros"], ["wide"], axis=2),
        helper.make_node("Mul", ["shift", "wide"], ["moved"]),
        helper.make_node("Add", ["base", "moved"], ["proposals"]),
        helper.make_node("Identity", ["OBJECTNESS"], ["objectness"]),
        helper.make_node("Identity", ["CLASS_SCORES"], ["class_scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cloud",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [
            helper.make_tensor_value_info("proposals", TensorProto.FLOAT, (1, 4, 7)),
            helper.make_tensor_value_info("objectness", TensorProto.FLOAT, (1, 4)),
            helper.make_tensor_value_info("class_scores", TensorProto.FLOAT, (1, 4, 2)),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
