"""Export of detectors of clouds: checkpoint in, bundle of pipeline `rgbd` out, compared with torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tercelet.contract.artefact import finish_artefact, new_artefact
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import CloudRecord, Golden, Manifest, Postprocess, Target
from tercelet.contract.session import SessionOptions
from tercelet.export.onnx_from_points import onnx_from_points
from tercelet.export.op_lowering import inline_ops, lower_ops
from tercelet.export.point_parity import check_point_parity
from tercelet.ops.furthest_point_sample.cases import room_points
from tercelet.runtime.clouds import checked_cloud, detector_points, read_cloud, refuse_camera_frame
from tercelet.runtime.golden import GOLDEN_FILE
from tercelet.runtime.point_golden import write_point_golden
from tercelet.runtime.rgbd_opening import open_point_session
from tercelet.training.checkpoint import Stored
from tercelet.training.detectors.point_detector import PointDetector
from tercelet.training.detectors.votenet.detector import VoteNet

MODEL_FILE = "model.onnx"
LEAST_CLOUDS = 3
# The golden pair must also hold on another CPU and another version of the engine: metres and radians, score.
GOLDEN_BOX = 0.01
GOLDEN_SCORE = 0.01


@dataclass(frozen=True)
class PointRequest:
    """points: of a cloud; None takes what the network recommends. opset: None takes 18. op_form, inline_ops:
    see lower_ops. frames: files of upright clouds to compare on. stored: how large weights lie in the file,
    "fp32" or "fp16"."""

    points: int | None
    opset: int | None
    op_form: str
    inline_ops: bool
    frames: Sequence[str | Path]
    stored: Stored = "fp32"


def export_points(
    detector: PointDetector,
    source: Manifest,
    output: str | Path,
    request: PointRequest,
    *,
    overwrite: bool,
    say: Callable[[str], object],
) -> Path:
    """Write the bundle of a checkpoint's eval-mode detector of clouds; returns its folder.

    Raises InputError for a detector that needs more than a cloud, and for clouds that cannot be read;
    CheckFailedError where the graph differs from torch (point_parity); then nothing is left on disk.
    """
    if not isinstance(detector, VoteNet):
        raise InputError(
            f"{source.detector.name}: expected a detector of clouds alone, such as votenet, got one that "
            "needs a picture too; run it from Python (load_checkpoint)"
        )
    output, cloud = Path(output), CloudRecord(detector.points if request.points is None else request.points)
    clouds = parity_clouds(request.frames, cloud)
    say(f"exporting {source.detector.name} for clouds of {cloud.points} points")
    with new_artefact(output, kind="bundle", overwrite=overwrite) as folder:
        path = folder / MODEL_FILE
        network = onnx_from_points(detector, path, cloud=cloud, opset=request.opset, stored=request.stored)
        lowering = lower_ops(path, clouds[0], form=request.op_form)
        assert lowering is not None  # every detector of clouds samples points
        spent = ", ".join(f"{form} {spent:.0f} ms" for form, spent in lowering.milliseconds.items())
        say(f"custom ops {', '.join(lowering.forms)} equal their references ({spent} on {lowering.engine})")
        say(f"comparing with torch on {len(clouds)} clouds")
        parity = check_point_parity(detector, path, clouds)
        say(
            f"99.9 % of {parity.proposals} proposals within {parity.boxes_p999:.2g} m and "
            f"{parity.scores_p999:.2g} of score; torch alone would take {parity.changed} of "
            f"{parity.decisions} indices otherwise"
        )
        if request.inline_ops:  # the comparison needs the nodes
            inline_ops(path)
        manifest = replace(
            source,
            kind="bundle",
            pipeline="rgbd",
            network=replace(network, ops=()) if request.inline_ops else network,
            lowering=lowering,
            postprocess=source.postprocess or Postprocess(),
            cloud=cloud,
            cloud_parity=parity,
            target=Target(backend="onnxruntime", precision="fp32", versions=_versions()),
            stored=None if request.stored == "fp32" else request.stored,
        )
        _finish(folder, manifest, clouds[0])
    say(f"wrote {output}")
    return output


def refuse_picture_options(network: str, **given: bool) -> None:
    """InputError naming the first option that was given and that only a network of pictures has."""
    for name, is_given in given.items():
        if is_given:
            raise InputError(f"{network}: {name}: a detector of clouds has none; leave it out")


def parity_clouds(frames: Sequence[str | Path], cloud: CloudRecord) -> list[NDArray[np.float32]]:
    """Clouds (1, N, 4) to compare on, from files of upright clouds; rooms are drawn until there are three.

    Raises InputError for a file that holds no cloud a detector could use.
    """
    found = []
    for frame in frames:
        read = checked_cloud(read_cloud(frame))
        refuse_camera_frame(read)
        found.append(detector_points(read.points, cloud.points)[None])
    for number in range(LEAST_CLOUDS - len(found)):
        room = room_points(np.random.default_rng(number), (1, cloud.points))[0]
        found.append(detector_points(room, cloud.points)[None])
    return found


def _finish(folder: Path, manifest: Manifest, cloud: NDArray[np.float32]) -> None:
    """Write the golden pair, of the session that a runtime opens, and the complete manifest."""
    manifest = finish_artefact(folder, manifest)
    session = open_point_session(folder, manifest, SessionOptions())
    try:
        write_point_golden(folder, cloud, session.run(cloud))
    finally:
        session.close()
    golden = Golden(GOLDEN_FILE, tolerance_px=GOLDEN_BOX, tolerance_score=GOLDEN_SCORE)
    finish_artefact(folder, replace(manifest, golden=golden))


def _versions() -> dict[str, str]:
    names = ("tercelet", "onnx", "onnxscript", "onnxruntime")
    return {**{name: version(name) for name in names}, "torch": str(torch.__version__)}
