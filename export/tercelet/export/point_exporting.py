"""Export of detectors of clouds: checkpoint in, bundle of pipeline `rgbd` out, compared with torch.

Of a network with image votes the bundle holds the part that looks at points, whatever 2D detector finds the
boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

from tercelet.contract.artefact import finish_artefact, new_artefact
from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.contract.manifest import (
    CloudRecord,
    Golden,
    Manifest,
    PictureVotesRecord,
    Postprocess,
    Target,
)
from tercelet.contract.session import SessionOptions
from tercelet.export.onnx_from_points import POINTS_NAME, onnx_from_points, point_tower
from tercelet.export.op_lowering import inline_ops, lower_ops
from tercelet.export.point_parity import check_point_parity
from tercelet.export.point_scenes import Scene, parity_scenes
from tercelet.runtime.clouds import LEAST_POINTS
from tercelet.runtime.golden import GOLDEN_FILE
from tercelet.runtime.point_golden import write_point_golden
from tercelet.runtime.rgbd_opening import open_point_session
from tercelet.training.checkpoint import Stored
from tercelet.training.detectors.imvotenet.detector import ImVoteNet
from tercelet.training.detectors.point_detector import PointDetector

MODEL_FILE = "model.onnx"
# As many as the 2D detector of the published network gives at most.
DEFAULT_BOXES = 100
MOST_BOXES = 1000
# The golden pair must also hold on another CPU and another version of the engine: metres and radians, score.
GOLDEN_BOX = 0.01
GOLDEN_SCORE = 0.01


@dataclass(frozen=True)
class PointRequest:
    """points: of a cloud; None takes what the network recommends. opset: None takes 18. op_form, inline_ops:
    see lower_ops. frames: files of upright clouds to compare on. stored: how large weights lie in the file,
    "fp32" or "fp16". boxes: of the picture, for a network with image votes; None takes DEFAULT_BOXES."""

    points: int | None
    opset: int | None
    op_form: str
    inline_ops: bool
    frames: Sequence[str | Path]
    stored: Stored = "fp32"
    boxes: int | None = None


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

    Raises InputError for what cannot be exported as asked, and for clouds that cannot be read;
    CheckFailedError where the graph differs from torch (point_parity); then nothing is left on disk.
    """
    output, cloud = Path(output), _cloud_record(detector, request.points)
    votes = _votes_record(detector, request.boxes)
    detector = point_tower(detector)
    scenes = parity_scenes(request.frames, cloud, votes, name=POINTS_NAME)
    boxes = "" if votes is None else f" and {votes.boxes} boxes of a picture"
    say(f"exporting {source.detector.name} for clouds of {cloud.points} points{boxes}")
    with new_artefact(output, kind="bundle", overwrite=overwrite) as folder:
        path = folder / MODEL_FILE
        network = onnx_from_points(
            detector, path, cloud=cloud, votes=votes, opset=request.opset, stored=request.stored
        )
        lowering = lower_ops(path, scenes[0], form=request.op_form)
        assert lowering is not None  # every detector of clouds samples points
        spent = ", ".join(f"{form} {spent:.0f} ms" for form, spent in lowering.milliseconds.items())
        say(f"custom ops {', '.join(lowering.forms)} equal their references ({spent} on {lowering.engine})")
        say(f"comparing with torch on {len(scenes)} clouds")
        parity = check_point_parity(detector, path, scenes)
        say(
            f"99.9 % of {parity.proposals} proposals within {parity.boxes_p999:.2g} m and "
            f"{parity.scores_p999:.2g} of score; torch alone would take {parity.changed} of "
            f"{parity.decisions} decisions otherwise"
        )
        if request.inline_ops:  # the comparison needs the nodes
            inline_ops(path)
        manifest = replace(
            source,
            detector=replace(source.detector, options=detector.options),
            kind="bundle",
            pipeline="rgbd",
            network=replace(network, ops=()) if request.inline_ops else network,
            lowering=lowering,
            postprocess=source.postprocess or Postprocess(),
            cloud=cloud,
            cloud_parity=parity,
            picture_votes=votes,
            target=Target(backend="onnxruntime", precision="fp32", versions=_versions()),
            stored=None if request.stored == "fp32" else request.stored,
        )
        _finish(folder, manifest, scenes[0])
    say(f"wrote {output}")
    return output


def refuse_picture_options(network: str, **given: bool) -> None:
    """InputError naming the first option that was given and that only a network of pictures has."""
    for name, is_given in given.items():
        if is_given:
            raise InputError(f"{network}: {name}: a detector of clouds has none; leave it out")


def _cloud_record(detector: PointDetector, points: int | None) -> CloudRecord:
    """InputError for clouds that no runtime would take."""
    wanted = detector.points if points is None else points
    if wanted < LEAST_POINTS:
        raise InputError(
            f"points: expected at least {LEAST_POINTS}, got {wanted}: the runtime takes no smaller cloud"
            + ("; say how many with --points" if points is None else "")
        )
    return CloudRecord(wanted)


def _votes_record(detector: PointDetector, boxes: int | None) -> PictureVotesRecord | None:
    """What a network with image votes is shown of the picture, as it was trained; None for another.

    InputError for boxes that the network does not take.
    """
    if not isinstance(detector, ImVoteNet):
        if boxes is not None:
            raise InputError(
                f"{detector.detector}: boxes: it has no votes of a picture and takes none; leave it out"
            )
        return None
    wanted = DEFAULT_BOXES if boxes is None else boxes
    if not 1 <= wanted <= MOST_BOXES:
        raise InputError(f"boxes: expected 1 to {MOST_BOXES}, got {wanted}")
    channels, mean = detector.pixels
    return PictureVotesRecord(
        boxes=wanted, classes=SUNRGBD_CLASSES, channels=channels, mean=mean, scale=1 / 255
    )


def _finish(folder: Path, manifest: Manifest, scene: Scene) -> None:
    """Write the golden pair, of the session that a runtime opens, and the complete manifest."""
    manifest = finish_artefact(folder, manifest)
    session = open_point_session(folder, manifest, SessionOptions())
    try:
        write_point_golden(folder, manifest, scene, session.run(scene))
    finally:
        session.close()
    golden = Golden(GOLDEN_FILE, tolerance_px=GOLDEN_BOX, tolerance_score=GOLDEN_SCORE)
    finish_artefact(folder, replace(manifest, golden=golden))


def _versions() -> dict[str, str]:
    names = ("tercelet", "onnx", "onnxscript", "onnxruntime")
    return {**{name: version(name) for name in names}, "torch": str(torch.__version__)}
